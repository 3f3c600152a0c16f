/// \file  Cross-entropy fused with the projection to a vocabulary of 8192, fp32, 576 wide.
///
/// Useful FLOPs: 2·rows·width·vocab for the logits, as many again for each gradient that is asked for: that of the
/// input with a frozen projection (a composition), both with a trainable one. Argument: rows (tokens), all with a
/// target.
#include <cstddef>
#include <type_traits>

#include "calm/tensor/ops/cross_entropy.hpp"
#include "machine.hpp"

namespace {

struct Width {
  static constexpr std::size_t extent = 576;
};
struct Vocab {
  static constexpr std::size_t extent = 8192;
};
using Rows = calm::Tensor<float, calm::Cpu, calm::Batch, calm::Time, Width>;
using Targets = calm::Tensor<calm::Index, calm::Cpu, calm::Batch, calm::Time>;
template <class Mode>
using Weight = calm::Parameter<Mode, calm::Tensor<float, calm::Cpu, Vocab, Width>>;

template <class Mode, bool Gradients>
void cross_entropy(benchmark::State& state) {
  bench::machine();
  const auto rows = static_cast<std::size_t>(state.range(0));
  Weight<Mode> weight;
  weight.assign(Weight<Mode>::tensor_type::full({}, 0.01f));
  calm::TrainableParameter<Rows> x;
  x.assign(Rows::full(typename Rows::shape_type(1, rows), 0.5f));
  const Targets targets = Targets::full(typename Targets::shape_type(1, rows), 7);
  calm::Tape<calm::Cpu> tape;
  for (auto _ : state) {
    if constexpr (Gradients) {
      const auto recording = tape.record();
      calm::backward(calm::linear_cross_entropy(x(), weight(), targets));
    } else {
      benchmark::DoNotOptimize(calm::linear_cross_entropy(x.value(), weight(), targets)[0]);
    }
  }
  const double products = Gradients ? (std::is_same_v<Mode, calm::Trainable> ? 3 : 2) : 1;
  bench::report_flops(state, products * 2.0 * static_cast<double>(rows * Width::extent * Vocab::extent));
}

void shapes(benchmark::internal::Benchmark* b) { b->ArgName("rows")->Arg(256)->Arg(1024)->UseRealTime(); }

}  // namespace

BENCHMARK(cross_entropy<calm::Frozen, false>)->Name("loss")->Apply(shapes);
BENCHMARK(cross_entropy<calm::Frozen, true>)->Name("input_gradient")->Apply(shapes);
BENCHMARK(cross_entropy<calm::Trainable, true>)->Name("both_gradients")->Apply(shapes);
