#include "calm/train/fit_features.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "compose/models.hpp"
#include "io/temporary_folder.hpp"
#include "train/small_runs.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using Catch::Contains;

using InPanels = Compose<nn::Transformer<AnchorSpec, float, Cpu, FrozenAs<bf16>>,
                       nn::Transformer<AugmentSpec, float, Cpu, FrozenAs<bf16>>, SmallLinks>;

constexpr std::size_t epoch = 20;
void again(std::uint64_t i, train::Example& out) { counting(i % epoch, out); }

template <class Model>
std::vector<float> trained(const train::FitOptions& options) {
  const auto model = make_small<Model>(false);
  train::fit(*model, again, options);
  return parameters_of(*model);
}

struct Kept {
  std::vector<float> parameters;
  std::vector<std::string> said;
};
template <class Model>
Kept trained(const train::FitOptions& options, train::FeatureOptions features) {
  Kept kept;
  features.tell = [&](const std::string& what) { kept.said.push_back(what); };
  const auto model = make_small<Model>(false);
  train::fit(*model, again, options, features);
  kept.parameters = parameters_of(*model);
  return kept;
}

}  // namespace

TEST_CASE("features are kept where texts come again and the disk has room") {
  const TemporaryFolder folder;
  const std::string path = folder / "features";
  const auto two = train::choose_features(path, 224 << 10, 2);
  CHECK(two.kept);
  CHECK_THAT(two.why, Contains("kept in " + path + ": 2 epochs, 224 KiB on a disk with room for "));
  CHECK(!train::choose_features(path, 1000, 1).kept);
  CHECK_THAT(train::choose_features(path, 1000, 1).why, Contains("not kept: no text comes twice"));
  const auto large = train::choose_features(path, std::uint64_t{1} << 60, 2);
  CHECK(!large.kept);
  CHECK_THAT(large.why, Contains("not kept: 2 epochs, 1048576 TiB on a disk"));
  CHECK_THAT(train::choose_features(folder / "none/features", 1000, 2).why, Contains("with room for 0 B"));
  CHECK(train::detail::feature_bytes<InPanels>(train::KeptAs::exact) == 4 * (2 * 16 + 24));
  CHECK(train::detail::feature_bytes<InPanels>(train::KeptAs::bf16) == 2 * (2 * 16 + 24));
}

TEST_CASE("features are kept if the run has more than one epoch, and the file goes when it has finished") {
  const TemporaryFolder folder;
  const std::string path = folder / "features";
  std::size_t during = 0;
  train::FitOptions options = twelve_steps();
  options.after_step = [&](std::size_t, double) { during += std::filesystem::exists(path); };
  const Kept kept = trained<InPanels>(options, {.path = path, .examples = epoch});
  CHECK(same_bits(kept.parameters, trained<InPanels>(twelve_steps())));
  REQUIRE(kept.said.size() == 1);
  CHECK_THAT(kept.said[0], Contains("kept in " + path + ": 2.4 epochs"));
  CHECK(during == 12);
  CHECK(!std::filesystem::exists(path));

  const Kept left = trained<InPanels>(options, {.path = path, .examples = epoch, .leave = true});
  CHECK(same_bits(left.parameters, kept.parameters));
  CHECK(std::filesystem::exists(path));
  std::filesystem::remove(path);

  during = 0;
  for (const std::size_t examples : {0u, 48u, 1000u}) {
    const Kept none = trained<InPanels>(options, {.path = path, .examples = examples});
    CHECK(same_bits(none.parameters, kept.parameters));
    CHECK_THAT(none.said.at(0), Contains("not kept: no text comes twice"));
  }
  CHECK(during == 0);
}

TEST_CASE("an interrupted run leaves its file, and goes on with it to the same bits") {
  const TemporaryFolder folder;
  train::FitOptions options = twelve_steps();
  options.checkpoint = folder / "run";
  const train::FeatureOptions features{.path = folder / "features", .examples = epoch};
  std::size_t steps = 0;
  options.interrupted = [&] { return ++steps == 7; };
  const Kept first = trained<InPanels>(options, features);
  CHECK(std::filesystem::exists(features.path));
  const Kept second = trained<InPanels>(options, features);
  CHECK(same_bits(second.parameters, trained<InPanels>(twelve_steps())));
  CHECK(!std::filesystem::exists(features.path));
}

TEST_CASE("what has no features is trained without, and an empty path is refused") {
  const auto model = fresh<Trained>();
  std::string said;
  train::FitOptions options = twelve_steps();
  train::fit(*model, again, options, {.path = "features", .examples = epoch, .tell = [&](const auto& s) { said = s; }});
  CHECK_THAT(said, Contains("not kept: the model is no composition"));
  CHECK(!std::filesystem::exists("features"));
  const auto composed = make_small<InPanels>(false);
  CHECK_THROWS_WITH(train::fit(*composed, again, options, train::FeatureOptions{.examples = epoch}),
                    Contains("FeatureOptions::path is empty"));
}
