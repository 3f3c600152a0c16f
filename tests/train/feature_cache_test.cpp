#include "calm/train/feature_cache.hpp"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/train/fit.hpp"
#include "compose/models.hpp"
#include "io/full_disk.hpp"
#include "io/temporary_folder.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using Catch::Contains;
using train::Example;
using train::FeatureCache;
using train::KeptAs;

using Composed = Small<float>;
using OtherBridges = Small<float, bridge::Paper>;
using OtherLinks = Compose<SmallAnchor<float>, SmallAugment<float>, LayerMap<Link<1, 1>, Link<2, 2>>>;
/// The anchor's weights mean something else where positions turn faster.
struct FastSpec {
  static constexpr nn::TransformerConfig config = [] {
    nn::TransformerConfig c = AnchorSpec::config;
    c.rope_theta = 100;
    return c;
  }();
};
using OtherPositions = Compose<nn::Transformer<FastSpec, float, Cpu>, SmallAugment<float>, SmallLinks>;
/// Two augments of different kinds, links that read one layer, and a mix of layers.
struct Mixed {
  static constexpr BridgeConfig config{.mix = 2};
};
using Several = Compose<SmallAnchor<float>, With<SmallAugment<float>, LayerMap<Link<1, 0>, Link<1, 2>>>,
                        With<SmallAnchor<float>, LayerMap<Link<1, 1>, Link<2, 1>>, Mixed>>;

template <class T>
using InPanels = Compose<nn::Transformer<AnchorSpec, float, Cpu, FrozenAs<T>>,
                         nn::Transformer<AugmentSpec, float, Cpu, FrozenAs<T>>, SmallLinks>;

constexpr std::size_t texts = 12;  // an epoch

/// Text i of the epoch: 3 to 9 tokens.
void text(std::uint64_t i, Example& out) {
  out.tokens.resize(3 + random_below({4, 2}, i % texts, 7));
  for (std::size_t t = 0; t < out.tokens.size(); ++t) {
    out.tokens[t] = static_cast<Index>(random_below({4, 3 + i % texts}, t, 16));
  }
  out.prompt = 1;
}
train::FitOptions two_epochs() {
  return {.steps = 6, .batch_size = texts / 3, .learning_rate = 1e-2, .warmup_steps = 2, .progress = false};
}

template <class Model>
std::unique_ptr<Model> make(std::uint64_t seed = 1) {
  auto m = std::make_unique<Model>();
  nn::initialise(m->anchor, {.seed = seed, .deviation = 0.3});
  m->for_each_branch([&](auto i, auto& branch) {
    nn::initialise(branch.augment, {.seed = seed + 1 + i, .deviation = 0.3});
  });
  m->initialise_bridges(seed);
  return m;
}

/// The bridges' bits.
template <class Model>
std::vector<unsigned char> bits_of(Model& model) {
  std::vector<unsigned char> bits;
  nn::for_each_trainable(model, [&](const std::string&, auto& p) {
    const auto* from = reinterpret_cast<const unsigned char*>(p.value().data());
    bits.insert(bits.end(), from, from + p.value().size() * sizeof(p.value()[0]));
  });
  return bits;
}

/// Two epochs with a cache: the bridges' bits after them, and what the cache counted.
struct Run {
  std::vector<unsigned char> bits;
  std::uint64_t hits = 0, misses = 0, bytes = 0;
  std::string problem;
};
template <class Model = Composed>
Run run(const train::FeatureCacheOptions& options, std::uint64_t seed = 1,
        const train::FitOptions& how = two_epochs()) {
  const auto model = make<Model>(seed);
  FeatureCache cache(*model, options);
  train::fit(cache, text, how);
  return {bits_of(*model), cache.hits(), cache.misses(), cache.bytes(), cache.problem()};
}

/// Two epochs without a cache.
template <class Model>
std::vector<unsigned char> bits_without() {
  const auto model = make<Model>();
  train::fit(*model, text, two_epochs());
  return bits_of(*model);
}

train::Minibatch<Cpu> one_batch() {
  std::vector<Example> examples(texts);
  for (std::size_t i = 0; i < texts; ++i) text(i, examples[i]);
  return train::collate<Cpu>(examples);
}

}  // namespace

TEMPLATE_TEST_CASE("training has the same bits without a file, into a file, and from a file", "", Composed, Several) {
  const TemporaryFolder folder;
  const Run off = run<TestType>({});
  CHECK(off.hits == 0);
  CHECK(off.misses == 2 * texts);
  const std::string path = folder / "features";
  for (int time = 0; time < 2; ++time) {
    const Run on = run<TestType>({.path = path});
    CHECK((on.bits == off.bits));
    CHECK(on.misses == (time == 0 ? texts : 0));
    CHECK(on.hits == (time == 0 ? texts : 2 * texts));
    CHECK(on.problem.empty());
    CHECK(on.bytes == std::filesystem::file_size(path));
  }
}

TEMPLATE_TEST_CASE("a run has the composition's own bits, whatever of a file is there", "", Composed, Several,
                   InPanels<bf16>, InPanels<float>) {
  const auto plain = bits_without<TestType>();
  CHECK((run<TestType>({}).bits == plain));
  const TemporaryFolder folder;
  const std::string path = folder / "features";
  const Run on = run<TestType>({.path = path});
  CHECK((on.bits == plain));
  CHECK(on.misses == texts);
  CHECK(on.hits == texts);
  const std::string contents = contents_of(path);
  for (const std::size_t tenths : {4u, 8u, 10u}) {  // some of a batch's texts are there, and some are not
    put_contents(path, contents.substr(0, tenths * contents.size() / 10));
    const Run again = run<TestType>({.path = path});
    CHECK((again.bits == plain));
    CHECK((tenths == 10 ? again.misses == 0 : again.misses > 0 && again.misses < texts));
  }
}

TEMPLATE_TEST_CASE("batches of very few tokens have the same bits without a file, and from one that large batches made",
                   "", Composed, Small<bf16>, InPanels<bf16>) {
  train::FitOptions one_by_one = two_epochs();
  one_by_one.batch_size = 1;
  const Run off = run<TestType>({}, 1, one_by_one);
  const TemporaryFolder folder;
  const std::string path = folder / "features";
  const auto batch = one_batch();
  FeatureCache(*make<TestType>(), {.path = path}).features(batch.tokens, batch.layout);
  const Run on = run<TestType>({.path = path}, 1, one_by_one);
  CHECK(on.misses == 0);
  CHECK((on.bits == off.bits));
}

TEMPLATE_TEST_CASE("features are the composition's, to the bit; kept ones are zero where no text stands", "", Composed,
                   Several) {
  const TemporaryFolder folder;
  const auto model = make<TestType>();
  const FeatureCache cache(*model, {.path = folder / "features"});
  const auto batch = one_batch();
  REQUIRE(batch.layout.batch() < texts);  // some texts share a row
  const auto whole = model->features(batch.tokens, batch.layout);
  for (int time = 0; time < 2; ++time) {
    const auto own = cache.features(batch.tokens, batch.layout);
    std::vector<const float*> found;
    train::detail::for_each_feature(own, [&](const auto& x) { found.push_back(x.data()); });
    std::size_t part = 0;
    train::detail::for_each_feature(whole, [&](const auto& x) {
      for (std::size_t i = 0; i < x.size(); ++i) {
        const bool padding = batch.layout.keys.end[i / x.extent(2)] == 0;
        REQUIRE(found[part][i] == (padding ? 0 : x[i]));
      }
      ++part;
    });
    CHECK(part == found.size());
  }
  CHECK(cache.hits() == texts);
  Tape<Cpu> tape;
  const auto recording = tape.record();
  CHECK(cache.loss(batch.tokens, batch.layout, batch.targets).value[0] ==
        model->loss(batch.tokens, batch.layout, batch.targets).value[0]);
}

TEST_CASE("what two links read of one layer is kept once") {
  const auto model = make<Several>();
  const FeatureCache cache(*model), narrow(*model, {.kept_as = KeptAs::bf16});
  // The first augment's layer 1; the second's 0 and 1, then 1 and 2; the anchor's state.
  const std::size_t values = 16 + 3 * 24 + 24;
  CHECK(cache.bytes_per_token() == 4 * values);
  CHECK(narrow.bytes_per_token() == 2 * values);
}

TEST_CASE("features kept in bf16 are half as large, and the run has the same bits wherever they come from") {
  const TemporaryFolder folder;
  const Run exact = run({.path = folder / "exact"});
  const Run off = run({.kept_as = KeptAs::bf16});
  for (int time = 0; time < 2; ++time) {
    const Run on = run({.path = folder / "bf16", .kept_as = KeptAs::bf16});
    CHECK((on.bits == off.bits));
    CHECK((on.bits != exact.bits));
    CHECK(100 * on.bytes < 75 * exact.bytes);  // texts this short are mostly headers
  }
}

TEST_CASE("a file that was cut anywhere serves what is left of it, with the same bits") {
  const TemporaryFolder folder;
  const std::string path = folder / "features";
  const Run whole = run({.path = path});
  const std::string contents = contents_of(path);
  for (const std::size_t tenths : {0u, 1u, 4u, 8u}) {
    put_contents(path, contents.substr(0, tenths * contents.size() / 10 + 3));
    const Run on = run({.path = path});
    CHECK((on.bits == whole.bits));
    CHECK(on.misses > 0);
    CHECK(on.misses <= texts);
    CHECK((tenths < 2 || on.misses < texts));
  }
  std::string altered = contents;
  altered[contents.size() - 5] ^= 1;
  put_contents(path, altered);
  const Run on = run({.path = path});
  CHECK((on.bits == whole.bits));
  CHECK(on.misses == 1);
}

TEST_CASE("other bridges use the same file; other models, layers or types are refused, and the file is left alone") {
  const TemporaryFolder folder;
  const std::string path = folder / "features";
  run({.path = path});
  const std::string before = contents_of(path);
  CHECK(run<OtherBridges>({.path = path}).hits == 2 * texts);
  CHECK_THROWS_WITH(run({.path = path}, 2), Contains(path + ": it belongs to something else: anchor, weights"));
  CHECK_THROWS_WITH(run<OtherPositions>({.path = path}), Contains("anchor, configuration: expected"));
  CHECK_THROWS_WITH(run<OtherLinks>({.path = path}), Contains("augment 0, layers: expected 1 2 of 1 each, found 0 2 of "
                                                              "1 each"));
  CHECK_THROWS_WITH(run({.path = path, .kept_as = KeptAs::bf16}), Contains("kept as: expected BF16, found F32"));
  CHECK(contents_of(path) == before);
}

TEST_CASE("a disk that is full ends the keeping, not the run; bits are the same") {
  const TemporaryFolder folder;
  const Run off = run({});
  {
    const FileSizeLimit limit(4'000);
    const Run on = run({.path = folder / "features"});
    CHECK((on.bits == off.bits));
    CHECK(on.hits > 0);
    CHECK(on.misses > texts);
    CHECK(on.bytes <= 4'000);
    CHECK_THAT(on.problem, Contains("features: cannot write at byte 4000: File too large"));
  }
  CHECK(run({.path = folder / "features"}).problem.empty());
}

TEST_CASE("a layout that begins in the middle of a text is refused") {
  const auto model = make<Composed>();
  const FeatureCache cache(*model);
  const std::vector<Index> start{0, 4}, lengths{3, 3};
  const auto tokens = random_tokens(2, 3, 1);
  CHECK_THROWS_WITH(cache.features(tokens, nn::continue_at<Cpu>(start, lengths, 3)),
                    Contains("the text in row 1 begins at position 4; expected whole texts"));
}
