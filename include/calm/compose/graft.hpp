/// \file  Grafting: an augment's states put into the anchor's stream without anything to train, as a baseline.
#pragma once

#include <cstddef>

#include "calm/nn/config.hpp"
#include "calm/tensor/ops/arithmetic.hpp"
#include "calm/tensor/ops/attention.hpp"  // KeyIntervals
#include "calm/tensor/ops/pick.hpp"
#include "calm/tensor/ops/reshape.hpp"

namespace calm {

namespace detail {

/// Each anchor position's own augment state: of the last position that it sees, and zero for padding.
///
/// a: [Batch, Source, Hidden<Augment>] -> [Batch, Time, Hidden<Anchor>]
template <class Anchor, class Augment, class A, class Device>
auto own_states(const A& a, const KeyIntervals<Device>& seen) {
  auto last = seen.end.clone();
  for (std::size_t i = 0; i < last.size(); ++i) --last.mutable_data()[i];
  return rename<nn::Hidden<Augment>, nn::Hidden<Anchor>>(pick(a, last));
}

/// What is common to grafts, which are bridges without parameters.
template <class Anchor, class Augment>
struct GraftBase {
  static_assert(Anchor::config.hidden == Augment::config.hidden,
                "calm::graft: nothing projects, so both models must have the same hidden width");
  static constexpr std::size_t parameter_count = 0;
  void visit(auto&&) {}
};

}  // namespace detail

/// Options in the place of a bridge's. The augment's state a stands at the position of the anchor's state h.
namespace graft {

/// h + a
struct Sum {
  template <class Anchor, class Augment, class T, class Device>
  struct Bridge : detail::GraftBase<Anchor, Augment> {
    template <Operand H, Operand A>
    auto operator()(const H&, const A& a, const KeyIntervals<Device>& seen) const {
      return detail::own_states<Anchor, Augment>(a, seen);
    }
  };
};

/// (h + a) / 2
struct Mean {
  template <class Anchor, class Augment, class T, class Device>
  struct Bridge : detail::GraftBase<Anchor, Augment> {
    template <Operand H, Operand A>
    auto operator()(const H& h, const A& a, const KeyIntervals<Device>& seen) const {
      return scale(detail::own_states<Anchor, Augment>(a, seen) + scale(h, -1), 0.5);
    }
  };
};

/// a, within the rounding of h + (a - h)
struct Replace {
  template <class Anchor, class Augment, class T, class Device>
  struct Bridge : detail::GraftBase<Anchor, Augment> {
    template <Operand H, Operand A>
    auto operator()(const H& h, const A& a, const KeyIntervals<Device>& seen) const {
      return detail::own_states<Anchor, Augment>(a, seen) + scale(h, -1);
    }
  };
};

}  // namespace graft
}  // namespace calm
