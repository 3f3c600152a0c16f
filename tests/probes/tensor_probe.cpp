// What the tensor's types promise, asked of them directly.
#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/linear.hpp"

namespace {

using namespace calm;

struct Hidden {
  static constexpr std::size_t extent = 8;
};
struct Inner {
  static constexpr std::size_t extent = 16;
};
struct Other {  // as wide as Hidden, and another axis
  static constexpr std::size_t extent = 8;
};

template <class... Axes>
using F32 = Tensor<float, Cpu, Axes...>;

// Only dynamic extents are stored.
static_assert(sizeof(View<float, Cpu, Hidden, Inner>) == sizeof(void*));
static_assert(sizeof(View<float, Cpu, Batch, Hidden>) == 2 * sizeof(void*));
static_assert(sizeof(F32<Hidden, Inner>) == 2 * sizeof(void*));
static_assert(Shape<Hidden, Inner>{}.size() == 128);

// linear: the weight's order is read off its axes; nothing else fits.
using States = F32<Batch, Time, Hidden>;
static_assert(Multipliable<States, F32<Inner, Hidden>>);
static_assert(Multipliable<States, F32<Hidden, Inner>>);
static_assert(Multipliable<Var<States>, F32<Inner, Hidden>>);
static_assert(Multipliable<States, Var<F32<Inner, Hidden>>>);
static_assert(!Multipliable<States, F32<Inner, Other>>);
static_assert(!Multipliable<States, F32<Hidden>>);
static_assert(!Multipliable<States, F32<Inner, Inner, Hidden>>);
static_assert(!Multipliable<States, Tensor<double, Cpu, Inner, Hidden>>);
static_assert(!Multipliable<States, Tensor<bf16, Cpu, Inner, Hidden>>);
static_assert(!Multipliable<Var<States>, Var<F32<Inner, Other>>>);

// Arithmetic: the same axes, or the last axis alone.
static_assert(Broadcastable<States, States>);
static_assert(Broadcastable<States, F32<Hidden>>);
static_assert(Broadcastable<Var<States>, F32<Hidden>>);
static_assert(!Broadcastable<States, F32<Other>>);
static_assert(!Broadcastable<States, F32<Time, Hidden>>);
static_assert(!Broadcastable<F32<Hidden>, States>);
static_assert(!Broadcastable<States, Tensor<double, Cpu, Hidden>>);

// A result has a gradient if and only if an operand has one, and the axes that the formula says.
template <class X, class W>
using Linear = decltype(linear(std::declval<X>(), std::declval<W>()));
template <class X, class Y>
using Sum = decltype(std::declval<X>() + std::declval<Y>());

using Result = F32<Batch, Time, Inner>;
static_assert(std::is_same_v<Linear<States, F32<Inner, Hidden>>, Result>);
static_assert(std::is_same_v<Linear<States, F32<Hidden, Inner>>, Result>);
static_assert(std::is_same_v<Linear<Var<States>, F32<Inner, Hidden>>, Var<Result>>);
static_assert(std::is_same_v<Linear<States, Var<F32<Inner, Hidden>>>, Var<Result>>);
static_assert(std::is_same_v<Sum<States, F32<Hidden>>, States>);
static_assert(std::is_same_v<Sum<Var<States>, F32<Hidden>>, Var<States>>);

// What the backward pass keeps: a frozen weight keeps no input alive, a frozen input no weight, a bias nothing.
using Weight = F32<Inner, Hidden>;
template <bool NeedX, bool NeedW, bool NeedB = false>
inline constexpr std::size_t node_size =
    sizeof(detail::LinearNode<detail::PlainProduct<float>, States, Weight, NeedX, NeedW, NeedB>);
inline constexpr std::size_t slot_and_rows = 2 * sizeof(std::size_t);
static_assert(node_size<true, false> == sizeof(Weight) + slot_and_rows);
static_assert(node_size<false, true> == sizeof(States) + slot_and_rows);
static_assert(node_size<true, true> == sizeof(Weight) + sizeof(States) + slot_and_rows);
static_assert(node_size<true, true, true> <= node_size<true, true> + sizeof(std::size_t));

// Parameters: frozen ones are tensors without a gradient; trainable ones are variables.
static_assert(!Parameter<Frozen, Weight>::trainable);
static_assert(Parameter<Trainable, Weight>::trainable);
static_assert(std::is_same_v<decltype(std::declval<Parameter<Frozen, Weight>>()()), const Weight&>);
static_assert(std::is_same_v<decltype(std::declval<Parameter<Trainable, Weight>>()()), Var<Weight>>);

}  // namespace

int main() {}
