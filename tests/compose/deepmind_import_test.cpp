#include "calm/compose/deepmind_import.hpp"

#include <cmath>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/io/module_file.hpp"
#include "compose/models.hpp"
#include "io/temporary_folder.hpp"

namespace {

using namespace calm;
using namespace calm::test;
using Catch::Contains;

struct TwoHeads {
  static constexpr BridgeConfig config = [] {
    BridgeConfig c = bridge::DeepMind::config;
    c.heads = 2;
    return c;
  }();
};
template <class T>
using Model = Small<T, TwoHeads>;

const std::string fixture = CALM_FIXTURES "/deepmind";

/// The fixture's folder with another config.json, and its tensors if there are to be some.
std::string message(const std::string& from, const std::string& to, bool has_tensors = true) {
  const TemporaryFolder folder;
  std::string config = contents_of(fixture + "/config.json");
  const std::size_t at = config.find(from);
  REQUIRE(at != config.npos);
  put_contents(folder / "config.json", config.replace(at, from.size(), to));
  if (has_tensors) std::filesystem::copy(fixture + "/model.safetensors", folder / "model.safetensors");
  const auto m = make_small<Model<float>>(true);
  const std::string before = io::weights_sha256(*m);
  try {
    import_deepmind_bridges(*m, folder / "");
  } catch (const Error& error) {
    CHECK(io::weights_sha256(*m) == before);
    return error.what();
  }
  return "read";
}

/// The largest difference between what a bridge adds and what the fixture says, at positions from `first` on.
template <class T, class B>
double error_of(const B& bridge, const std::string& hook, const std::string& expected, std::size_t first) {
  const auto file = io::SafetensorsFile::open(fixture + "/expected.safetensors");
  const auto h = file.load<Tensor<T, Cpu, Batch, Time, nn::Hidden<AnchorSpec>>>(hook + ".anchor");
  const auto a = file.load<Tensor<T, Cpu, Batch, Time, nn::Hidden<AugmentSpec>>>(hook + ".augment");
  const auto wanted = file.load<Tensor<T, Cpu, Batch, Time, nn::Hidden<AnchorSpec>>>(hook + "." + expected);
  const auto found = value(bridge(h, a, whole(2, 7).keys));
  double worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (i / AnchorSpec::config.hidden % 7 >= first) worst = std::max(worst, std::abs(double(found[i] - wanted[i])));
  }
  return worst;
}

}  // namespace

TEMPLATE_TEST_CASE("bridges of google-deepmind/calm compute what they computed there", "", float, double) {
  const auto m = make_small<Model<TestType>>(false);
  import_deepmind_bridges(*m, fixture);
  const double tolerance = sizeof(TestType) == 4 ? 1e-5 : 5e-7;  // the fixture is rounded to fp32
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(error_of<TestType>(m->bridges[i], std::to_string(i), "causal", 0) < tolerance);
    CHECK(error_of<TestType>(m->bridges[i], std::to_string(i), "open", 6) < tolerance);  // the last position sees all
    CHECK(error_of<TestType>(m->bridges[i], std::to_string(i), "open", 0) > 0.1);   // others there see what is to come
    CHECK(value(tanh(m->bridges[i].gate()))[0] == 1);
  }
}

TEST_CASE("what the original was not is named, and the bridges stay as they were") {
  CHECK_THAT(message("calm", "gemma"), Contains("'model_type': expected 'calm', found 'gemma'"));
  CHECK_THAT(message("\"num_heads\": 2", "\"num_heads\": 1"), Contains("'num_heads': expected 2"));
  CHECK_THAT(message("1e-06", "1e-05"), Contains("'anchor_config.rms_norm_eps': expected 1e-6"));
  CHECK_THAT(message("\"connections\"", "\"other\""), Contains("num_connections"));
  CHECK_THAT(message("\"connections\": [", "\"connections\": [[0, 0],"),
             Contains("anchor layer 1 with augment layer 0"));
  CHECK_THAT(message("\"connections\": [", "\"connections\": [7,"), Contains("expected pairs of an anchor layer"));
  CHECK_THAT(message("\"calm\"", "\"calm\"", false), Contains("torch.load('pytorch_model.bin', weights_only=True)"));
}

TEST_CASE("a number of connections stands for layers at even distances, as numpy spaces them") {
  const auto links = [](std::size_t n) {
    const nlohmann::json json{{"num_connections", n}};
    io::JsonFields fields("config.json", json);
    return detail::deepmind_links(fields, 18, 26);
  };
  using Pairs = std::vector<std::pair<std::size_t, std::size_t>>;
  CHECK(links(1) == Pairs{{0, 0}});
  CHECK(links(2) == Pairs{{0, 0}, {17, 25}});
  CHECK(links(5) == Pairs{{0, 0}, {4, 6}, {8, 12}, {12, 18}, {17, 25}});
}
