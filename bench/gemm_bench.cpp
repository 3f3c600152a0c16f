/// \file  The host's matrix product in the shapes of small models, fp32, and Eigen's beside it.
///
/// A product of m × n with an inner extent k takes 2·m·n·k FLOPs. Arguments: rows (tokens), width of the input, width
/// of the output. `forward` is x·Wᵀ, `input_gradient` dy·W, `weight_gradient` dyᵀ·x, as `calm::linear` calls them.
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

#include "calm/tensor/cpu/gemm.hpp"
#include "calm/tensor/eigen.hpp"
#include "machine.hpp"

namespace {

using calm::kernel::Op;

enum class Product { forward, input_gradient, weight_gradient };

template <Product Which>
void gemm(benchmark::State& state) {
  bench::machine();
  const auto rows = static_cast<std::size_t>(state.range(0)), in = static_cast<std::size_t>(state.range(1)),
             out = static_cast<std::size_t>(state.range(2));
  std::vector<float> x(rows * in, 0.5f), w(out * in, 0.25f), y(rows * out, 0.125f);
  for (auto _ : state) {
    if constexpr (Which == Product::forward)
      calm::kernel::gemm<float>(calm::Cpu{}, Op::none, Op::transpose, rows, out, in, 1, {x.data(), in}, {w.data(), in},
                                false, {y.data(), out});
    else if constexpr (Which == Product::input_gradient)
      calm::kernel::gemm<float>(calm::Cpu{}, Op::none, Op::none, rows, in, out, 1, {y.data(), out}, {w.data(), in},
                                false, {x.data(), in});
    else
      calm::kernel::gemm<float>(calm::Cpu{}, Op::transpose, Op::none, out, in, rows, 1, {y.data(), out}, {x.data(), in},
                                false, {w.data(), in});
    benchmark::ClobberMemory();
  }
  bench::report_flops(state, 2.0 * static_cast<double>(rows * in * out));
}

template <Product Which>
void eigen(benchmark::State& state) {
  bench::machine();
  const std::int64_t rows = state.range(0), in = state.range(1), out = state.range(2);
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Matrix x = Matrix::Constant(rows, in, 0.5f), w = Matrix::Constant(out, in, 0.25f),
         y = Matrix::Constant(rows, out, 0.125f);
  for (auto _ : state) {
    if constexpr (Which == Product::forward)
      y.noalias() = x * w.transpose();
    else if constexpr (Which == Product::input_gradient)
      x.noalias() = y * w;
    else
      w.noalias() = y.transpose() * x;
    benchmark::ClobberMemory();
  }
  bench::report_flops(state, 2.0 * static_cast<double>(rows * in * out));
}

void shapes(benchmark::internal::Benchmark* b, std::initializer_list<std::int64_t> rows) {
  for (std::int64_t r : rows) {
    for (auto [in, out] : {std::pair{576, 576}, {576, 1536}, {1536, 576}, {1024, 1024}, {2048, 2048}}) {
      b->Args({r, in, out});
    }
  }
  b->ArgNames({"rows", "in", "out"})->UseRealTime();
}

void all_rows(benchmark::internal::Benchmark* b) { shapes(b, {1, 2, 8, 16, 128, 1024}); }
void training_rows(benchmark::internal::Benchmark* b) { shapes(b, {128, 1024}); }

}  // namespace

BENCHMARK(gemm<Product::forward>)->Name("forward")->Apply(all_rows);
BENCHMARK(eigen<Product::forward>)->Name("eigen_forward")->Apply(all_rows);
BENCHMARK(gemm<Product::input_gradient>)->Name("input_gradient")->Apply(training_rows);
BENCHMARK(eigen<Product::input_gradient>)->Name("eigen_input_gradient")->Apply(training_rows);
BENCHMARK(gemm<Product::weight_gradient>)->Name("weight_gradient")->Apply(training_rows);
BENCHMARK(eigen<Product::weight_gradient>)->Name("eigen_weight_gradient")->Apply(training_rows);
