/// \file  What packing costs and brings on the main job: key-value arithmetic, composed with the frozen models plain,
/// packed in fp32 and packed in bf16.
///
///     packed_arithmetic [STEPS]        from the repository's root; 1000 by default, as in examples/kv_arithmetic
///
/// One thread. Bridges are trained anew in a folder of their own, which is removed; seconds are of a processor.
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <filesystem>
#include <string>

#include "examples/kv_arithmetic/experiment.hpp"

namespace {

using Scale = kv::DefaultScale;

/// One line of the table: bridges between frozen models of a mode, trained and evaluated.
template <class Mode>
void measure(kv::Experiment<Scale>& experiment, const char* name) {
  using Model = calm::Compose<kv::Anchor<Scale, Mode>, kv::Augment<Scale, Mode>, kv::Links, calm::bridge::Local>;
  const auto& book = experiment.book();
  const kv::Row row =
      experiment.bridge_row<Model>(name, "augment", book.range(kv::Keys::held_in), book.range(kv::Keys::held_out));
  const auto steps = static_cast<double>(experiment.settings().composition.steps);
  fmt::print("{:<12} KV-Subst {:5.1f}  Numeric {:5.1f}  KV-Math {:5.1f}   {:5.1f} ms a step\n", name,
             row.scores.substitution, row.scores.numeric, row.scores.math, 1e3 * row.seconds / steps);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) try {
  kv::Settings settings;
  settings.bases = "examples/kv_arithmetic/bases";
  settings.out =
      (std::filesystem::temp_directory_path() / ("packed-arithmetic-" + std::to_string(std::time({})))).string();
  if (argc > 1) settings.composition.steps = std::strtoul(argv[1], nullptr, 10);
  kv::run_jobs({[&] {
    kv::Experiment<Scale> experiment(settings);
    measure<calm::Frozen>(experiment, "plain fp32");
    measure<calm::FrozenAs<float>>(experiment, "packed fp32");
    measure<calm::FrozenAs<calm::bf16>>(experiment, "packed bf16");
  }});
  std::filesystem::remove_all(settings.out);
} catch (const std::exception& e) {
  fmt::print(stderr, "{}\n", e.what());
  return 1;
}
