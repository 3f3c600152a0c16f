/// \file  Where the links of a composition stand, and turning them off for a while.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "calm/tensor/error.hpp"

namespace calm {

/// Which way a link leads: from an augment to the anchor, or, in a TwoWay, back.
enum class Direction { forward, back };

/// One link of a composition.
struct LinkPlace {
  std::size_t branch = 0;  ///< which augment
  std::size_t link = 0;    ///< which entry of its layer map, or of its map back
  Direction direction = Direction::forward;
  std::size_t from = 0, to = 0;  ///< layers: of the augment and of the anchor; of a link back the other way round
};

/// "augment 0: 2 > 1", "augment 0, back: 1 > 3"
inline std::string to_string(const LinkPlace& p) {
  std::string text = "augment " + std::to_string(p.branch);
  if (p.direction == Direction::back) text += ", back";
  text += ": " + std::to_string(p.from) + " > " + std::to_string(p.to);
  return text;
}

namespace detail {

/// f(place, bridge, scale) for each link of a composition: branch by branch, links back behind the others.
template <class Model, class F>
void for_each_place(Model& model, const F& f) {
  model.for_each_branch([&](auto b, auto& branch) {
    using B = std::remove_cvref_t<decltype(branch)>;
    for (std::size_t i = 0; i < B::links; ++i) {
      f(LinkPlace{b, i, Direction::forward, B::map::source[i], B::map::target[i]}, branch.bridges[i], branch.scale[i]);
    }
    if constexpr (requires { B::backs; }) {
      for (std::size_t k = 0; k < B::backs; ++k) {
        f(LinkPlace{b, k, Direction::back, B::back_map::source[k], B::back_map::target[k]}, branch.back[k],
          branch.back_scale[k]);
      }
    }
  });
}

}  // namespace detail

/// A link that is off as long as this lives, and then as it was.
class [[nodiscard]] LinkOff {
 public:
  explicit LinkOff(double& scale) : scale_(&scale), before_(std::exchange(scale, 0)) {}
  LinkOff(LinkOff&& other) noexcept : scale_(std::exchange(other.scale_, nullptr)), before_(other.before_) {}
  LinkOff& operator=(LinkOff&&) = delete;
  ~LinkOff() {
    if (scale_) *scale_ = before_;
  }

 private:
  double* scale_;  // null once moved from
  double before_;
};

/// Turns one link of `model` off, as long as what it returns lives; the model must live longer. Throws `Error` if there
/// is no such link.
template <class Model>
LinkOff without_link(Model& model, std::size_t branch, std::size_t link, Direction direction = Direction::forward) {
  double* found = nullptr;
  std::string links;
  detail::for_each_place(model, [&](const LinkPlace& p, auto&, double& scale) {
    if (p.branch == branch && p.link == link && p.direction == direction) found = &scale;
    links += "; " + to_string(p);
  });
  detail::require(found != nullptr, [&] {
    return "calm::without_link: no link " + std::to_string(link) +
           (direction == Direction::back ? " back" : "") + " of augment " + std::to_string(branch) +
           "; the links, numbered from 0 for each augment, are" + links.substr(1);
  });
  return LinkOff(*found);
}

/// Turns all links off: the model is its anchor, bit for bit.
template <class Model>
[[nodiscard]] std::vector<LinkOff> without_links(Model& model) {
  std::vector<LinkOff> off;
  detail::for_each_place(model, [&](const LinkPlace&, auto&, double& scale) { off.emplace_back(scale); });
  return off;
}

}  // namespace calm
