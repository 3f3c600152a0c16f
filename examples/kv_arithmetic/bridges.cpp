// The table of bridges: measured line by line, each kept in a file of its own, so that an interrupted table goes on.
#include "bridges.hpp"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <utility>

#include "bridges_report.hpp"

namespace kv {
namespace {

std::vector<BridgeRow> all_rows() {
  std::vector<BridgeRow> rows;
  for (auto make : {formulas, gates, places, mixes}) {
    for (auto& row : make()) rows.push_back(std::move(row));
  }
  return rows;
}

/// What must agree for a kept line to be of use.
nlohmann::json conditions(const Settings& settings) {
  return {{"anchor_seed", settings.anchor_seed},
          {"evaluated_expressions", settings.evaluated},
          {"steps", settings.composition.steps},
          {"batch_size", settings.composition.batch_size},
          {"learning_rate", settings.composition.learning_rate}};
}

std::optional<Row> read_line(const std::string& file, const nlohmann::json& wanted) {
  std::ifstream in(file);
  const auto found = nlohmann::json::parse(in, nullptr, false);
  if (!found.is_object() || found["conditions"] != wanted) return std::nullopt;
  const auto& r = found["row"];
  return Row{r["model"], {r["kv_substitution"], r["numeric_arithmetic"], r["kv_math"]}, r["trainable_parameters"],
             r["training_seconds"]};
}

/// One line of one seed, measured now or before.
Row line(const Settings& settings, const BridgeRow& row) {
  const std::string file = settings.out + "/" + row.file_name() + "-seed" + std::to_string(settings.seed) + ".json";
  const auto wanted = conditions(settings);
  if (is_kept(settings, file)) {
    if (const auto before = read_line(file, wanted)) return *before;
  }
  Experiment<DefaultScale> experiment(settings);
  std::filesystem::remove(experiment.result_file(row.file_name()) + ".safetensors");  // its seconds stand nowhere
  Row found = row.measure(experiment, row);
  found.model = row.name;
  calm::io::write_file_atomically(file, nlohmann::json{{"conditions", wanted}, {"row", to_json(found)}}.dump(2) + "\n");
  keep(settings, file);
  fmt::print("{:<20} seed {}   KV-Subst {:5.1f}  Numeric {:5.1f}  KV-Math {:5.1f}   ({:.0f} s)\n", row.name,
             settings.seed, found.scores.substitution, found.scores.numeric, found.scores.math, found.seconds);
  std::fflush(stdout);
  return found;
}

}  // namespace

void bridges(const Settings& settings) {
  const auto rows = all_rows();
  std::vector<std::vector<Row>> tables(settings.seeds, std::vector<Row>(rows.size()));
  std::vector<std::function<void()>> jobs;
  Settings kept_here = settings;
  kept_here.out += "/bridges";
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t s = 0; s < settings.seeds; ++s) {
      jobs.push_back([&, r, s] {
        Settings one = kept_here;
        one.seed += s;
        tables[s][r] = line(one, rows[r]);
      });
    }
  }
  std::exception_ptr stopped;
  try {
    run_jobs(jobs);
  } catch (...) {
    stopped = std::current_exception();  // what is whole is shown nevertheless
  }
  std::vector<BridgeRow> whole;
  std::vector<std::vector<Row>> of_seed(settings.seeds);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (std::any_of(tables.begin(), tables.end(), [&](const auto& table) { return table[r].model.empty(); })) continue;
    whole.push_back(rows[r]);
    for (std::size_t s = 0; s < settings.seeds; ++s) of_seed[s].push_back(tables[s][r]);
  }
  auto means = over_seeds(of_seed);
  for (Row& mean : means) mean.seconds /= static_cast<double>(settings.seeds);
  if (!whole.empty()) {
    print(means);
    write_bridges_report(settings, whole, means);
  }
  if (stopped) std::rethrow_exception(stopped);
}

}  // namespace kv
