#include "calm/io/module_file.hpp"

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;
using Catch::Contains;

namespace {

template <class Mode, class T = float>
struct Layer {
  Parameter<Mode, Tensor<T, Cpu, Two, Three>> weight;
  Parameter<Mode, Tensor<T, Cpu, Three>> bias;

  void visit(auto&& v) {
    v("weight", weight);
    v("bias", bias);
  }
};

template <class Mode, std::size_t Layers>
struct Stack {
  std::vector<Layer<Mode>> layers = std::vector<Layer<Mode>>(Layers);

  void visit(auto&& v) { v("layers", layers); }
};

/// A frozen base and a trainable part beside it.
struct Adapted {
  Layer<Frozen> base;
  Layer<Trainable> extra;

  void visit(auto&& v) {
    base.visit(v);
    v("extra", extra);
  }
};

/// The parameters of a `Layer` under another name, in another shape, of another extent; and one alone.
struct Renamed {
  Layer<Frozen>& layer;

  void visit(auto&& v) {
    v("weights", layer.weight);
    v("bias", layer.bias);
  }
};
struct Turned {
  FrozenParameter<Floats<Three, Two>> weight;
  FrozenParameter<Floats<Three>> bias;

  void visit(auto&& v) {
    v("weight", weight);
    v("bias", bias);
  }
};
struct Narrower {
  FrozenParameter<Floats<Two, Two>> weight;

  void visit(auto&& v) { v("weight", weight); }
};
struct Single {
  FrozenParameter<Floats<Two>> x;

  void visit(auto&& v) { v("x", x); }
};

template <class M>
void initialise(M& module, std::uint64_t seed) {
  nn::for_each_parameter(module, [&](const std::string&, auto& p) {
    using X = typename std::remove_cvref_t<decltype(p)>::tensor_type;
    p.assign(random_tensor<X>({}, seed++));
  });
}

}  // namespace

TEST_CASE("a module comes back bit for bit, frozen or trainable") {
  const TemporaryFolder folder;
  const std::string path = folder / "module.safetensors";
  Stack<Trainable, 3> saved, trainable;
  initialise(saved, 1);
  io::save_module(saved, path, {{"note", "three layers"}});
  auto metadata = io::SafetensorsFile::open(path).metadata();
  CHECK(metadata.extract("calm.sha256").mapped().size() == 64);
  CHECK(metadata == io::SafetensorsMetadata{{"format", "pt"}, {"note", "three layers"}});
  CHECK(io::SafetensorsFile::open(path).contains("layers.2.weight"));

  io::load_module(trainable, path);
  Stack<Frozen, 3> frozen;
  io::load_module(frozen, path);
  CHECK(io::weights_sha256(saved) == io::weights_sha256(trainable));
  CHECK(io::weights_sha256(saved) == io::weights_sha256(frozen));

  // A trainable parameter has memory of its own; the mapped file is read-only.
  trainable.layers[0].weight.mutable_value().mutable_data()[0] += 1;
  CHECK(io::weights_sha256(saved) != io::weights_sha256(trainable));
  Stack<Frozen, 3> again;
  io::load_module(again, path);
  CHECK(io::weights_sha256(saved) == io::weights_sha256(again));
}

TEST_CASE("the digest sees bits, paths, dtypes and extents") {
  Layer<Frozen> a;
  initialise(a, 1);
  const std::string digest = io::weights_sha256(a);
  CHECK(digest.size() == 64);
  Layer<Frozen> b;
  initialise(b, 1);
  CHECK(io::weights_sha256(b) == digest);
  auto bias = b.bias.value().clone();
  bias.mutable_data()[2] = std::nextafter(bias[2], 100.0f);
  b.bias.assign(bias);
  CHECK(io::weights_sha256(b) != digest);

  Renamed renamed{a};
  CHECK(io::weights_sha256(renamed) != digest);

  Turned turned;
  turned.weight.assign(Floats<Three, Two>::from({}, a.weight.value().data()));
  turned.bias.assign(a.bias.value());
  CHECK(io::weights_sha256(turned) != digest);
}

// By Python's hashlib, with c = lambda n: struct.pack("<Q", n):
// sha256(c(1) + b"x" + c(3) + b"F32" + c(1) + c(2) + struct.pack("<2f", 1, 2))
TEST_CASE("the digest is the documented one") {
  Single module;
  module.x.assign(Floats<Two>::from({}, {1, 2}));
  CHECK(io::weights_sha256(module) == "92fd9e380519262a3f0d3c02ca5de26db41e6fc91c878207ced4239586fd4756");
}

TEST_CASE("a file that does not fit is refused, and the module stays as it was") {
  const TemporaryFolder folder;
  const std::string path = folder / "module.safetensors";
  Stack<Frozen, 2> two;
  initialise(two, 1);
  io::save_module(two, path);

  Stack<Frozen, 3> three;
  initialise(three, 9);
  const std::string before = io::weights_sha256(three);
  CHECK_THROWS_WITH(io::load_module(three, path), Contains("expected a tensor 'layers.2.weight', found none"));
  CHECK(io::weights_sha256(three) == before);

  Stack<Frozen, 1> one;
  CHECK_THROWS_WITH(io::load_module(one, path), Contains("tensor 'layers.1.bias' has no place in the module"));
  io::load_module(one, path, {.allow_unused = true});
  CHECK(std::memcmp(one.layers[0].bias.value().data(), two.layers[0].bias.value().data(), 12) == 0);

  Layer<Frozen, double> wide;
  CHECK_THROWS_WITH(io::load_module(wide, path, {.prefix = "layers.0."}),
                    Contains("'layers.0.weight': expected dtype F64, found F32, and conversion was refused"));
  io::load_module(wide, path, {.prefix = "layers.0.", .conversion = io::Conversion::allow});
  CHECK(wide.bias.value()[1] == static_cast<double>(two.layers[0].bias.value()[1]));
  CHECK_THROWS_WITH(io::load_module(wide, path, {.prefix = "model."}), Contains("'model.weight'"));

  Narrower narrower;
  CHECK_THROWS_WITH(io::load_module(narrower, path, {.prefix = "layers.0.", .allow_unused = true}),
                    Contains("'layers.0.weight': axis 1 (calm::test::Two): expected 2, found 3"));
}

TEST_CASE("no altered byte of a module's file is loaded, and the module stays as it was") {
  const TemporaryFolder folder;
  const std::string path = folder / "module.safetensors";
  Layer<Trainable> layer;
  initialise(layer, 1);
  io::save_module(layer, path, {{"note", "original"}});
  const std::string original = contents_of(path);
  Layer<Trainable> other;
  initialise(other, 9);
  const std::string before = io::weights_sha256(other);
  std::size_t told = 0;
  const std::size_t key = original.find("calm.sha256");  // a file without this word is one that others wrote
  for (std::size_t at = 0; at < original.size(); ++at) {
    if (at >= key && at < key + 11) continue;
    std::string altered = original;
    altered[at] = static_cast<char>(altered[at] ^ 1);
    put_contents(path, altered);
    INFO("byte " << at);
    try {
      io::load_module(other, path);
      FAIL_CHECK("loaded");
    } catch (const Error& e) {
      const std::string what = e.what();
      told += what.find("altered after it was written: expected contents of SHA-256") != std::string::npos ? 1 : 0;
    }
  }
  CHECK(told > 36);  // the numbers, at least
  CHECK(io::weights_sha256(other) == before);
}

TEST_CASE("the frozen part of a module is loaded alone") {
  const TemporaryFolder folder;
  const std::string path = folder / "base.safetensors";
  Layer<Trainable> base;
  initialise(base, 1);
  io::save_module(base, path);
  Adapted adapted;
  CHECK_THROWS_WITH(io::load_module(adapted, path), Contains("extra.weight"));
  io::load_frozen(adapted, path);
  CHECK(io::weights_sha256(adapted.base) == io::weights_sha256(base));
  CHECK(!adapted.extra.weight.value().defined());
}

TEST_CASE("a module without memory is neither saved nor named by a digest") {
  const TemporaryFolder folder;
  Layer<Frozen> layer;
  CHECK_THROWS_WITH(io::save_module(layer, folder / "x"), Contains("'weight' has no memory"));
  CHECK_THROWS_WITH(io::weights_sha256(layer), Contains("weight has no memory"));
  CHECK(folder.files() == 0);
}
