/// \file  Attention's softmax, a register at a time. `attention_scores.hpp` has this included once for each
/// instruction set; hence no `#pragma once`.
#ifndef CALM_SET
#include "calm/tensor/cpu/attention_scores.hpp"
#else

namespace calm::kernel::CALM_SET {

struct Softmax {
  /// Turns the scores s [rows, key_block] of a few queries, still to be multiplied by `scale`, into weights, those of
  /// -∞ into 0, and adds them up; what was weighed before, acc [rows, width], shrinks where one of them is much larger.
  template <class A>
  static void weigh(std::size_t rows, A scale, std::size_t width, A* s, detail::RunningSoftmax<A>* soft, A* acc,
                    std::size_t acc_row) {
    for (std::size_t r = 0; r < rows; ++r, s += detail::key_block, ++soft, acc += acc_row)
      weigh_row(scale, width, s, *soft, acc);
  }

  /// The probabilities s [rows, key_block] of a few queries, from their scores still to be multiplied by `scale`, and
  /// the gradients dp of their products, from those of what they read. `steep`: how fast each score grows; null: by
  /// `scale`.
  template <class A>
  static void rebuild(std::size_t rows, A scale, const A* steep, const A* lse, const A* delta, A* s, A* dp) {
    using R = Register<A>;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t j = r * detail::key_block; j < (r + 1) * detail::key_block; j += R::count) {
        const RegisterOf<A> p = exp_of<A>(R::load(s + j) * scale - lse[r]);
        R::store(p, s + j);
        R::store(p * (R::load(dp + j) - delta[r]) * (steep ? R::load(steep + j) : RegisterOf<A>{} + scale), dp + j);
      }
    }
  }

 private:
  template <class A>
  [[gnu::always_inline]] static inline void weigh_row(A scale, std::size_t width, A* s, detail::RunningSoftmax<A>& soft,
                                                      A* acc) {
    using R = Register<A>;
    RegisterOf<A> most = R::load(s) * scale;
    for (std::size_t j = R::count; j < detail::key_block; j += R::count) {
      const RegisterOf<A> more = R::load(s + j) * scale;
      most = more > most ? more : most;
    }
    const A high = most_across<A>(most);
    RegisterOf<A> sum = R::load(soft.sum);
    if (high > soft.top + detail::RunningSoftmax<A>::slack) {
      const A shrink = fast_exp(soft.top - high);
      soft.top = high;
      sum *= shrink;
      for (std::size_t c = 0; c < width; ++c) acc[c] *= shrink;
    }
    const A top = std::max(soft.top, std::numeric_limits<A>::lowest());  // where nothing was seen yet, -∞ less it is -∞
    for (std::size_t j = 0; j < detail::key_block; j += R::count) {
      const RegisterOf<A> weight = exp_of<A>(R::load(s + j) * scale - top);
      R::store(weight, s + j);
      sum += weight;
    }
    R::store(sum, soft.sum);
  }
};

}  // namespace calm::kernel::CALM_SET

#endif
