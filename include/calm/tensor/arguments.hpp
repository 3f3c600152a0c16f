/// \file  What kernels are told, on whatever device.
#pragma once

#include <cstddef>

#include "calm/tensor/dtype.hpp"

namespace calm::kernel {

/// What stands between the products of an MLP (ops/activation.hpp).
enum class Activation { silu, gelu, gelu_tanh };

/// Functions with bounded values, for gates (ops/squash.hpp).
enum class Squash { tanh, sigmoid };

/// How a matrix enters a product.
enum class Op : bool { none, transpose };

/// A row-major matrix with `stride` elements from one row to the next.
template <class T>
struct MatrixRef {
  T* data;
  std::size_t stride;
};

/// What a product does beside itself, so that its result need not be read again.
enum class After {
  bias,                 ///< C = op(A)·op(B) + bias
  activation,           ///< before = op(A)·op(B) + bias, C = act(before)
  activation_backward,  ///< C = (op(A)·op(B)) * act'(before), sums[j] = Σ_i C[i, j]
  sums_of_a,            ///< C = Aᵀ·op(B) (+ C), sums[i] = Σ_l A[l, i]
  sums_of_b,            ///< C = op(A)·B (+ C), sums[j] = Σ_l B[l, j]
};
/// What is done after a product C: [m, n], and with what.
template <class T>
struct Epilogue {
  After after;
  Activation kind{};
  const T* bias = nullptr;  ///< [n]
  T* before = nullptr;      ///< [m, n], compact; null: not kept
  T* sums = nullptr;        ///< [n] ([m] of A), written; null with activation_backward: not wanted
};

/// `rows` rows of `width` elements; row r takes factor r mod `factors`.
struct RowFactors {
  std::size_t rows, factors, width;
};

/// What a norm normalises: x or, with a residual, the sum of both, which is written beside.
template <class T>
struct NormOperand {
  const T* x;
  const T* residual = nullptr;
  T* sum = nullptr;

  NormOperand(const T* alone) : x(alone) {}
  NormOperand(const T* a, const T* b, T* written) : x(a), residual(b), sum(written) {}
};

/// How many arrays a list may have: what a kernel works in stands on its stack.
inline constexpr std::size_t most_arrays = 32;

/// The scores that compete at each place: `n` arrays of `size` elements and one number per column of `cols`, whose
/// share goes to nobody.
template <class T>
struct Rivals {
  const T* const* scores;
  const T* null;  ///< [cols]; null: no such number
  std::size_t n, size, cols;
};

/// The extents of one attention: q and out [batch, queries, heads, width], k and v [batch, keys, kv_heads, width].
struct AttentionExtents {
  std::size_t batch, queries, keys, heads, kv_heads, width;
};

/// Which keys count and how scores are formed: score(i, j) = cap(scale · q_i·k_j) - slope[head] · |center_i - p(j)| for
/// begin_i <= j < end_i, with cap(s) = softcap · tanh(s / softcap). The [batch, queries] arrays bound the keys; begin =
/// null: 0, center = null: p(end - 1). Keys from hole_begin_i to hole_end_i, if these are given, do not count, and
/// p(j), the place of a key among those that do, leaves them out: p(j) = j before the hole, j - its length behind it.
template <class A>
struct AttentionRule {
  const Index* begin;
  const Index* end;
  const Index* center;
  const A* slope;  ///< [heads], or null: no bias
  A scale;
  A softcap;  ///< 0: none
  const Index* hole_begin = nullptr;
  const Index* hole_end = nullptr;
};

/// A rule by which the operands of products may be rounded to `R`; where they are not, the rule is the same.
template <class A, class R>
struct RoundedRule : AttentionRule<A> {};

/// The numbers of one AdamW step, in the type `A` of its arithmetic.
template <class A>
struct AdamWStep {
  A gradient_scale;     ///< what the gradient is multiplied by first (clipping)
  A beta1, beta2;       ///< decay of the two moments
  A decay;              ///< what the parameter is multiplied by: 1 - learning rate · weight decay
  A step_size;          ///< learning rate / (1 - beta1^t)
  A second_correction;  ///< sqrt(1 - beta2^t)
  A epsilon;
};

/// What a step of AdamW has of a parameter of `size` elements, of a type that the function it is given to says.
template <class A>
struct AdamWOperands {
  AdamWStep<A> step;
  std::size_t size;
  const void* g;  ///< its gradient; null: zero
  A *m, *v;       ///< its moments
  A* master;      ///< its exact value, where `x` is too coarse to add small steps to; else null
  void* x;
};

/// `count` row-major matrices, one behind the other.
struct Matrices {
  std::size_t count, rows, columns;
};

/// The numbers of one Adafactor step.
struct AdafactorStep {
  double gradient_scale;  ///< what the gradient is multiplied by first (clipping)
  double forget;          ///< 1 - β2
  double epsilon;         ///< added to squared gradients
  double clip_threshold;  ///< of the root mean square of the update
  double decay;           ///< what the parameter is multiplied by
  double step_size;
  double relative_floor;  ///< `relative`: step_size is multiplied by the parameter's root mean square, or this at least
  bool relative;
};

/// How a token is drawn from a row of logits: what is left of softmax(logits / temperature) after top-k, top-p and
/// min-p, in this order (generate/policies.hpp).
struct Draw {
  double temperature = 0;  ///< 0: the most likely token, of equals the first
  std::size_t top_k = 0;   ///< 0: all
  double top_p = 1;        ///< 1: all
  double min_p = 0;        ///< 0: all
  double uniform = 0;      ///< the random number, in [0, 1)

  constexpr bool keeps_most_likely(std::size_t vocab) const { return temperature > 0 && top_k > 0 && top_k < vocab; }
  constexpr bool keeps_nucleus() const { return temperature > 0 && top_p < 1; }
};

/// What was drawn.
struct Drawn {
  Index token;             ///< -1: some logit is no number, or none is finite
  double log_probability;  ///< under softmax(logits)
};

/// An array of `size` elements, of a type that the function it is given to says; null: it has none.
struct Elements {
  const void* data;
  std::size_t size;
};

/// Elements per partial sum of `sum_of_squares`: the cut does not depend on the number of threads.
inline constexpr std::size_t norm_chunk = std::size_t{1} << 14;

}  // namespace calm::kernel
