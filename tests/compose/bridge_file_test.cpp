#include "calm/compose/bridge_file.hpp"

#include <cstring>
#include <memory>
#include <string>

#include <catch2/catch.hpp>

#include "compose/models.hpp"
#include "io/full_disk.hpp"
#include "io/temporary_folder.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using Catch::Contains;

using Model = Small<float>;

/// The bases of `make_small<Model>(…)`, and bridges of another seed.
std::unique_ptr<Model> with_other_bridges() {
  auto m = make_small<Model>(false);
  nn::initialise_trainable(*m, {.seed = 99, .deviation = 0.3});
  return m;
}

template <class M>
Tensor<float, Cpu, Batch, Time, nn::Vocab<AnchorSpec>> logits_of(const M& m) {
  return value(m.logits(random_tokens(2, 9, 5), whole(2, 9)));
}

template <class X>
bool same_bits(const X& a, const X& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Loading `path` into `m` fails with a message that matches, and m's bridges stay as they were.
template <class M, class Matcher>
void check_refused(M& m, const std::string& path, const Matcher& message) {
  const std::string before = io::weights_sha256(m);
  CHECK_THROWS_WITH(load_bridges(m, path), message);
  CHECK_THROWS_AS(load_bridges(m, path), Error);
  CHECK(io::weights_sha256(m) == before);
}

}  // namespace

TEST_CASE("bridges that are saved and loaded give the same logits, bit for bit") {
  const TemporaryFolder folder;
  const std::string path = folder / "bridges.safetensors";
  const auto saved = make_small<Model>(true);
  save_bridges(*saved, path);
  const auto loaded = with_other_bridges();
  CHECK(!same_bits(logits_of(*saved), logits_of(*loaded)));
  load_bridges(*loaded, path);
  CHECK(same_bits(logits_of(*saved), logits_of(*loaded)));
  loaded->bridges[0].proj.weight.mutable_value().mutable_data()[0] += 1;  // memory of its own: training may go on
}

TEST_CASE("bridges of other models are refused, and what differs is named with both digests") {
  const TemporaryFolder folder;
  const std::string path = folder / "bridges.safetensors";
  const auto saved = make_small<Model>(true);
  save_bridges(*saved, path);

  const auto other = with_other_bridges();
  auto& weight = other->anchor.layers[2].mlp.up_proj.weight;
  auto changed = weight.value().clone();
  changed.mutable_data()[5] = -changed[5];
  weight.assign(changed);
  check_refused(*other, path,
                Contains(path) && Contains("the anchor's weights (SHA-256) differ") &&
                    Contains("expected " + io::weights_sha256(other->anchor)) &&
                    Contains("found " + io::weights_sha256(saved->anchor)));

  const auto another = with_other_bridges();
  nn::initialise(another->augment, {.seed = 1000});
  check_refused(*another, path,
                Contains("the augment's weights (SHA-256) differ") &&
                    Contains("expected " + io::weights_sha256(another->augment)) &&
                    Contains("found " + io::weights_sha256(saved->augment)));
}

TEST_CASE("bridges of other links or options are refused, with both") {
  const TemporaryFolder folder;
  const std::string path = folder / "bridges.safetensors";
  save_bridges(*make_small<Model>(true), path);
  const auto moved =
      make_small<Compose<SmallAnchor<float>, SmallAugment<float>, LayerMap<Link<1, 1>, Link<2, 2>>>>(true);
  check_refused(*moved, path,
                Contains("the links (augment layer > anchor layer) differ: expected 1>1,2>2, found 0>1,2>2"));
  const auto bare = make_small<Small<float, bridge::Paper>>(true);
  check_refused(*bare, path, Contains("the bridge's options differ") && Contains("normalise_query=0"));
}

TEST_CASE("what is no bridge file, or no longer the one that was saved, is refused") {
  const TemporaryFolder folder;
  const std::string path = folder / "bridges.safetensors";
  const auto m = make_small<Model>(true);
  io::save_module(m->anchor, path);
  check_refused(*m, path, Contains(path + ": not a bridge file of calm: its metadata lacks \"calm.anchor.sha256\""));
  check_refused(*m, folder / "none", Contains("none: cannot open: No such file"));

  save_bridges(*m, path);
  const std::string whole = contents_of(path);
  put_contents(path, whole.substr(0, whole.size() / 2));
  check_refused(*m, path, Contains(path));
  for (const std::size_t at : {whole.size() - 1, whole.size() / 2, whole.size() * 3 / 4}) {
    std::string altered = whole;
    altered[at] ^= 1;
    put_contents(path, altered);
    check_refused(*m, path, Contains(path + ": altered after it was written: expected contents of SHA-256"));
  }
  put_contents(path, whole);
  load_bridges(*m, path);
}

TEST_CASE("a full disk leaves the bridges of before") {
  const TemporaryFolder folder;
  const std::string path = folder / "bridges.safetensors";
  const auto m = make_small<Model>(true);
  save_bridges(*m, path);
  const std::string before = contents_of(path);
  const auto other = with_other_bridges();
  {
    const FileSizeLimit limit(before.size() - 1);
    CHECK_THROWS_WITH(save_bridges(*other, path), Contains(path + ": cannot write (after ") &&
                                                      Contains("the file of before is as it was"));
  }
  CHECK(contents_of(path) == before);
  CHECK(folder.files() == 1);
}
