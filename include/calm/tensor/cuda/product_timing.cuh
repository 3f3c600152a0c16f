/// \file  Which of the algorithms that cuBLASLt proposes is the fastest.
#pragma once

#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "calm/tensor/cuda/grid.cuh"
#include "calm/tensor/cuda/product_plan.cuh"

namespace calm::cuda {

/// found[0] = 1 where an element differs in a bit, found[1] = 1 if elements are not all zero (some are looked at).
template <class Word>
struct CompareBits {
  std::size_t cols, stride;
  const Word *a, *b;
  Index* found;
  CALM_KERNEL void operator()(std::size_t i) const {
    const std::size_t at = i / cols * stride + i % cols;
    if (a[at] != b[at]) found[0] = 1;  // all who write, write the same
    if (i % 61 == 0 && a[at] != 0 && found[1] == 0) found[1] = 1;
  }
};

/// Milliseconds between two points of the stream.
class Stopwatch {
 public:
  Stopwatch() {
    check(cudaEventCreate(&begin_), "cudaEventCreate");
    check(cudaEventCreate(&end_), "cudaEventCreate");
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  void start() { check(cudaEventRecord(begin_, stream()), "cudaEventRecord"); }
  float stop() {
    float milliseconds = 0;
    check(cudaEventRecord(end_, stream()), "cudaEventRecord");
    check(cudaEventSynchronize(end_), "cudaEventSynchronize");
    check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return milliseconds;
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

/// One product: operands and factors; `read` is the bias or the matrix that its epilogue reads.
template <class A, class T, class R>
struct Multiplication {
  const Product& p;
  A alpha;
  const T *a, *b;
  R* c;
  const R* read;

  cublasStatus_t run(const Plan& plan, const Algorithm& algorithm, R* to, R* second) const {
    plan.attach(p, p.does(CUBLASLT_EPILOGUE_BIAS) ? read : second, p.does(CUBLASLT_EPILOGUE_GELU) ? second : read);
    Context& context = Context::get();
    const A beta = p.accumulate ? A(1) : A(0);
    return cublasLtMatmul(context.blas, plan.product, &alpha, b, plan.first, a, plan.second, &beta, c, plan.result, to,
                          plan.result, &algorithm, context.workspace(), Context::workspace_bytes, stream());
  }
};

/// Times the proposed algorithms on these operands, into memory of its own; the fastest takes the first one's place if
/// it has its bits. Operands whose product is zero say nothing: then it is tried again with later ones, a few times.
template <class A, class T, class R>
void time_algorithms(const Multiplication<A, T, R>& m, Plan& plan) {
  using Word = std::conditional_t<sizeof(R) == 2, std::uint16_t,
                                  std::conditional_t<sizeof(R) == 4, std::uint32_t, std::uint64_t>>;
  const Product& p = m.p;
  // The second result stands behind the first one, aligned as any algorithm may want it.
  const std::size_t elements = (p.m * p.c_stride + 255) / 256 * 256, second = p.second();
  const Scratch<R> expected(elements + second), found(elements + second);
  const Scratch<Index> flags(2);
  const auto run = [&](const Algorithm& algorithm, const Scratch<R>& to) {
    return m.run(plan, algorithm, to.data(), to.data() + elements);
  };
  const auto compare = [&](const Scratch<R>& to) {
    Index seen[2] = {0, 0};
    kernel::copy_from_host(Cuda{}, sizeof(seen), seen, flags.data());
    const auto *a = reinterpret_cast<const Word*>(expected.data()), *b = reinterpret_cast<const Word*>(to.data());
    each("compare_bits", p.m * p.n, CompareBits<Word>{p.n, p.c_stride, a, b, flags.data()});
    each("compare_bits", second, CompareBits<Word>{second, second, a + elements, b + elements, flags.data()});
    kernel::copy_to_host(Cuda{}, sizeof(seen), flags.data(), seen);
    return std::pair(seen[0] == 0, seen[1] != 0);
  };
  const auto milliseconds = [&](const Algorithm& algorithm) {
    Stopwatch watch;
    float least = std::numeric_limits<float>::infinity();
    for (int i = 0; i < 3; ++i) {
      watch.start();
      run(algorithm, found);
      least = std::min(least, watch.stop());
    }
    return least;
  };
  check(run(plan.algorithm, expected), p.text());
  if (!compare(expected).second && ++plan.trials < 4) return;
  const auto candidates = std::exchange(plan.others, {});
  float least = milliseconds(plan.algorithm);
  for (const Algorithm& candidate : candidates) {
    if (run(candidate, found) != CUBLAS_STATUS_SUCCESS || !compare(found).first) continue;
    if (const float time = milliseconds(candidate); time < 0.98f * least) {
      least = time;
      plan.algorithm = candidate;
    }
  }
  ProductChoice choice{p.key(), {}};
  static_assert(sizeof(choice.algorithm) == sizeof(plan.algorithm));
  std::memcpy(&choice.algorithm, &plan.algorithm, sizeof(plan.algorithm));
  Plans::get().timed.push_back(std::move(choice));
}

}  // namespace calm::cuda
