/// \file  Products with frozen weights in model shapes: packed in fp32 and bf16, unpacked, and, where it is found,
/// oneDNN's with weights packed by it.
///
/// Arguments: rows (tokens), width of the input, width of the output. Times are the process's processor time, so a busy
/// machine disturbs them little; each repetition measures the peak of its type, or for one row the bandwidth, just
/// before: `of_peak` is the part of it. Of one row the weights are more than caches hold.
///
///     OMP_NUM_THREADS=1 packed_bench --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

#include "calm/tensor/cpu/gemm.hpp"
#include "calm/tensor/cpu/packed.hpp"
#include "machine.hpp"
#ifdef CALM_BENCH_ONEDNN
#include <dnnl.hpp>
#endif

namespace {

using calm::bf16;
using calm::Cpu;
using calm::Storage;

/// What one repetition multiplies: x, a list of equal weights to read in turn, y.
struct Operands {
  explicit Operands(const benchmark::State& state)
      : rows(static_cast<std::size_t>(state.range(0))),
        in(static_cast<std::size_t>(state.range(1))),
        out(static_cast<std::size_t>(state.range(2))),
        x(rows * in, 0.5f),
        w(in * out, 0.25f),
        y(rows * out, 0.125f) {}

  std::size_t copies(std::size_t element) const {
    return rows > 1 ? 1 : 1 + (std::size_t{96} << 20) / (in * out * element);
  }

  std::size_t rows, in, out;
  std::vector<float> x, w, y;
};

/// Runs `multiply(copy)` and reports its part of what the processor can do.
template <class F>
void run(benchmark::State& state, const Operands& o, std::size_t element, const F& multiply) {
  const double peak = o.rows == 1    ? bench::one_thread::read_bandwidth()
                      : element == 2 ? bench::one_thread::bf16_flops()
                                     : bench::one_thread::flops();
  const std::size_t copies = o.copies(element);
  std::size_t copy = 0;
  for (auto _ : state) {
    multiply(copy);
    copy = (copy + 1) % copies;
    benchmark::ClobberMemory();
  }
  const auto products = static_cast<double>(o.rows * o.in * o.out) * static_cast<double>(state.iterations());
  const double work = o.rows == 1 ? products * static_cast<double>(element) : 2 * products;
  state.counters["per_s"] = benchmark::Counter(work, benchmark::Counter::kIsRate);
  state.counters["of_peak"] = benchmark::Counter(work / peak, benchmark::Counter::kIsRate);
}

template <class T>
std::vector<Storage<Cpu>> packed(const Operands& o) {
  using Word = calm::kernel::WordOf<T>;
  std::vector<Storage<Cpu>> weights;
  for (std::size_t c = 0; c < o.copies(sizeof(T)); ++c) {
    weights.emplace_back(calm::kernel::panels_in(o.out) * calm::kernel::panel_width * calm::kernel::words_in<T>(o.in) *
                         sizeof(Word));
    calm::kernel::pack_weight<T>(Cpu{}, o.out, o.in, o.w.data(), o.in, static_cast<Word*>(weights.back().data()));
  }
  return weights;
}

template <class T>
void forward(benchmark::State& state) {
  Operands o(state);
  const auto weights = packed<T>(o);
  run(state, o, sizeof(T), [&](std::size_t copy) {
    const auto* w = static_cast<const calm::kernel::WordOf<T>*>(weights[copy].data());
    calm::kernel::multiply_packed<T>(Cpu{}, o.rows, o.out, o.in, o.x.data(), w, false, o.y.data());
  });
}

template <class T>
void input_gradient(benchmark::State& state) {
  Operands o(state);
  const auto weights = packed<T>(o);
  run(state, o, sizeof(T), [&](std::size_t copy) {
    const auto* w = static_cast<const calm::kernel::WordOf<T>*>(weights[copy].data());
    calm::kernel::multiply_packed_transposed<T>(Cpu{}, o.rows, o.out, o.in, o.y.data(), w, false, o.x.data());
  });
}

void unpacked(benchmark::State& state) {
  Operands o(state);
  using calm::kernel::Op;
  std::vector<std::vector<float>> weights(o.copies(sizeof(float)), o.w);
  run(state, o, sizeof(float), [&](std::size_t copy) {
    calm::kernel::gemm<float>(Cpu{}, Op::none, Op::transpose, o.rows, o.out, o.in, 1, {o.x.data(), o.in},
                              {weights[copy].data(), o.in}, false, {o.y.data(), o.out});
  });
}

#ifdef CALM_BENCH_ONEDNN
/// x is rounded to the weight's type in the loop, as ours is; y stays in float.
template <class T>
void onednn(benchmark::State& state) {
  using dnnl::memory;
  Operands o(state);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  constexpr auto kind = sizeof(T) == 2 ? memory::data_type::bf16 : memory::data_type::f32;
  const auto n = [](std::size_t i) { return static_cast<memory::dim>(i); };
  const memory::dims x{n(o.rows), n(o.in)}, w{n(o.in), n(o.out)}, y{n(o.rows), n(o.out)};
  using Tag = memory::format_tag;
  const auto f32 = memory::data_type::f32;
  const memory::desc x_here({x, f32, Tag::ab}), w_here({w, f32, Tag::ba}), y_here({y, f32, Tag::ab}),
      x_kind({x, kind, Tag::ab});
  const dnnl::matmul::primitive_desc description({x_kind, memory::desc(w, kind, Tag::any), y_here}, engine);
  memory from(w_here, engine, o.w.data()), left(x_here, engine, o.x.data()), rounded(x_kind, engine),
      result(y_here, engine, o.y.data());
  std::vector<memory> weights;
  for (std::size_t c = 0; c < o.copies(sizeof(T)); ++c) {
    weights.emplace_back(description.weights_desc(), engine);
    dnnl::reorder(from, weights.back()).execute(stream, from, weights.back());
  }
  dnnl::reorder round(left, rounded);
  const dnnl::matmul product(description);
  run(state, o, sizeof(T), [&](std::size_t copy) {
    if (sizeof(T) == 2) round.execute(stream, left, rounded);
    product.execute(
        stream,
        {{DNNL_ARG_SRC, sizeof(T) == 2 ? rounded : left}, {DNNL_ARG_WEIGHTS, weights[copy]}, {DNNL_ARG_DST, result}});
    stream.wait();
  });
}
#endif

void shapes(benchmark::internal::Benchmark* b, std::initializer_list<std::int64_t> rows) {
  for (const auto& [in, out] :
       {std::pair{576, 576}, {576, 1536}, {1536, 576}, {1024, 1024}, {2048, 2048}, {4096, 4096}}) {
    for (const std::int64_t r : rows) b->Args({r, in, out});
  }
  b->ArgNames({"rows", "in", "out"})->MeasureProcessCPUTime()->MinTime(0.05);
}
void all_rows(benchmark::internal::Benchmark* b) { shapes(b, {1, 8, 16, 128, 1024}); }
void training_rows(benchmark::internal::Benchmark* b) { shapes(b, {128, 1024}); }

}  // namespace

BENCHMARK(forward<float>)->Apply(all_rows);
BENCHMARK(forward<bf16>)->Apply(all_rows);
BENCHMARK(input_gradient<float>)->Apply(training_rows);
BENCHMARK(input_gradient<bf16>)->Apply(training_rows);
BENCHMARK(unpacked)->Apply(all_rows);
#ifdef CALM_BENCH_ONEDNN
BENCHMARK(onednn<float>)->Apply(all_rows);
BENCHMARK(onednn<bf16>)->Apply(all_rows);
#endif
