#include "calm/train/parameter_set.hpp"

#include <cmath>
#include <limits>
#include <string>

#include <catch2/catch.hpp>

#include "calm/train/adamw.hpp"
#include "train/hand_made.hpp"

using namespace calm;
using namespace calm::test;
using train::path_has;

namespace {

/// The same three parameters, listed in two orders.
template <bool Reversed>
struct Triple {
  Layer<float> a, b, c;
  void visit(auto&& v) {
    if constexpr (Reversed) {
      v("c", c);
      v("b", b);
      v("a", a);
    } else {
      v("a", a);
      v("b", b);
      v("c", c);
    }
  }
};

/// Values and gradients that depend on the path alone.
template <class M>
void by_path(M& module) {
  nn::for_each_trainable(module, [](const std::string& path, auto& p) {
    using X = typename std::remove_cvref_t<decltype(p)>::tensor_type;
    const std::uint64_t seed = static_cast<std::uint64_t>(path[0]) * 100 + path.size();
    p.assign(random_tensor<X>({}, seed));
    set_random_gradient(p, seed + 1);
  });
}

}  // namespace

TEST_CASE("the norm has the same bits in whatever order the parameters are listed") {
  Triple<false> forward;
  Triple<true> backward;
  by_path(forward);
  by_path(backward);
  train::AdamW<> a(forward), b(backward);
  CHECK(a.gradient_norm().value == b.gradient_norm().value);
  CHECK(a.gradient_norm().value > 0);
}

TEST_CASE("the first group that picks a parameter sets its rate and its decay") {
  Layer<double> grouped;
  grouped.weight.assign(Doubles<Two, Three>::full({}, 2.0));
  grouped.bias.assign(Doubles<Three>::full({}, 2.0));
  train::AdamW<double> optimizer(grouped, {.epsilon = 0, .weight_decay = 0.5},
                                 {{.contains = path_has("bias"), .rate_factor = 0.5, .weight_decay = 0.25},
                                  {.contains = path_has("i"), .rate_factor = 3}});
  const double g[] = {1, -1, 1, 1, 1, 1};
  set_gradient(grouped.weight, g);
  set_gradient(grouped.bias, g);
  optimizer.step(0.1);
  CHECK(grouped.bias.value()[0] == Approx(2.0 * (1 - 0.05 * 0.25) - 0.05));  // decayed, though it has one axis
  CHECK(grouped.bias.value()[1] == Approx(2.0 * (1 - 0.05 * 0.25) + 0.05));
  CHECK(grouped.weight.value()[0] == Approx(2.0 * (1 - 0.3 * 0.5) - 0.3));
}

TEST_CASE("a group that is frozen for a while is as if it were not there, then begins as a fresh one") {
  Layer<float> frozen, bare, late;
  for (Layer<float>* layer : {&frozen, &bare, &late}) initialise(*layer, 4);
  const auto start = frozen.weight.value().clone();
  train::AdamW<> optimizer(frozen, {}, {{.contains = path_has("weight"), .frozen_updates = 2}});
  train::AdamW<> without(bare), fresh(late);
  const float nan[6] = {std::numeric_limits<float>::quiet_NaN()};
  for (std::uint64_t step = 0; step < 2; ++step) {
    set_gradient(frozen.weight, nan);  // nobody looks at it
    set_random_gradient(frozen.bias, step);
    set_random_gradient(bare.bias, step);
    CHECK(optimizer.clip_gradients(0.5) == without.clip_gradients(0.5));
    optimizer.step(0.1);
    without.step(0.1);
  }
  CHECK(same_bits(frozen.weight.value(), start));
  CHECK(same_bits(frozen.bias.value(), bare.bias.value()));
  for (std::uint64_t step = 2; step < 4; ++step) {
    set_random_gradient(frozen.weight, step);
    set_random_gradient(late.weight, step);
    optimizer.step(0.1);
    fresh.step(0.1);
  }
  CHECK(same_bits(frozen.weight.value(), late.weight.value()));
  CHECK(!same_bits(frozen.weight.value(), start));
}

TEST_CASE("a group that picks nothing is a mistake") {
  Layer<float> layer;
  initialise(layer, 1);
  CHECK_THROWS_WITH(train::AdamW<>(layer, {}, {{.contains = path_has("weigth")}}),
                    "calm::train::AdamW: group 0 picks no parameter of its own among 2 (the first is weight); correct "
                    "its predicate");
  CHECK_THROWS_WITH(train::AdamW<>(layer, {}, {{.contains = path_has("weight")}, {.contains = path_has("weight")}}),
                    Catch::Contains("group 1 picks no parameter"));
}
