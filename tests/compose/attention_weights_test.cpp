// The attention weights of a bridge, against what the bridge itself makes of them.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/compose/attention_weights.hpp"
#include "calm/compose/two_way.hpp"
#include "compose/models.hpp"

namespace {

using namespace calm;
using namespace calm::test;

struct Grouped {
  static constexpr BridgeConfig config{
      .recency = 0.5, .gate = BridgeGate::sigmoid, .bias = true, .kv_heads = 2, .normalise_keys = true, .mix = 1};
};
struct Mixed {
  static constexpr BridgeConfig config{.sink = false, .gate = BridgeGate::tanh_per_head, .width = 5, .mix = 2};
};
struct Prefix {
  static constexpr BridgeConfig config{.mask = BridgeMask::prefix};
};

/// Two texts with prompts of 3, the second padded on the left.
nn::Layout<Cpu> texts() {
  const std::vector<nn::TextPlace> places{{0, 0, 7, 3}, {1, 2, 5, 3}};
  return nn::packed<Cpu>(places, 2, 7);
}

/// Compares what each link adds with its weights times its values, written as the bridge writes what it reads.
struct Comparison : detail::Unobserved {
  double* worst;
  double* size;

  Comparison(double* w, double* s) : worst(w), size(s) {}

  template <class Bridge, class H, class From, class F>
  void added(std::size_t, const Bridge& bridge, const H& h, const From& source, const KeyIntervals<Cpu>& seen,
             const F& f) const {
    using Head = typename Bridge::Head;
    using Width = typename Bridge::Width;
    constexpr std::size_t group = Head::extent / Bridge::KeyHead::extent;
    const auto w = bridge_attention(bridge, h, source, seen);
    const auto v = value(bridge.keys_and_values(source).second);
    const std::size_t batch = w.keys.extent(0), time = w.keys.extent(2), keys = w.keys.extent(3);
    auto read = Tensor<double, Cpu, Batch, Time, Head, Width>::zeros(Shape<Batch, Time, Head, Width>(batch, time));
    for (std::size_t row = 0; row < batch * Head::extent * time; ++row) {
      const std::size_t t = row % time, head = row / time % Head::extent, b = row / time / Head::extent;
      double* to = read.mutable_data() + ((b * time + t) * Head::extent + head) * Width::extent;
      double sum = w.nothing[row];
      for (std::size_t s = 0; s < keys; ++s) {
        const double weight = w.keys[row * keys + s];
        sum += weight;
        const std::size_t at = ((b * keys + s) * Bridge::KeyHead::extent + head / group) * Width::extent;
        for (std::size_t c = 0; c < Width::extent; ++c) to[c] += weight * v[at + c];
      }
      CHECK(sum == Approx(seen.end[b * time + t] > 0 || w.has_sink ? 1 : 0).margin(1e-12));
    }
    const auto expected = value(bridge.write(h, read));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      *worst = std::max(*worst, std::abs(expected[i] - value(f)[i]));
      *size = std::max(*size, std::abs(expected[i]));
    }
  }
};

template <class Options>
void check_weights_make_the_output() {
  using Model = Compose<SmallAnchor<double>, SmallAugment<double>, LayerMap<Link<1, 1>, Link<3, 2>>, Options>;
  const auto m = make_small<Model>(true);
  if constexpr (Options::config.gate == BridgeGate::tanh_per_head) {
    for (auto& bridge : m->bridges) nn::detail::assign_constant(bridge.gate, 0.7);
  }
  double worst = 0, size = 0;
  m->observed_states(random_tokens(2, 7, 1), texts(), [&](auto) { return Comparison(&worst, &size); });
  CHECK(worst < 1e-12);
  CHECK(size > 1e-2);
}

}  // namespace

TEST_CASE("weights times values is what a bridge reads, whatever its parts") {
  check_weights_make_the_output<bridge::Normalised>();
  check_weights_make_the_output<bridge::Paper>();
  check_weights_make_the_output<Grouped>();
  check_weights_make_the_output<Mixed>();
  check_weights_make_the_output<Prefix>();
  check_weights_make_the_output<bridge::Encoder>();
}

TEST_CASE("attention weights of one link: those of its bridge in the whole pass, nothing of what is not seen") {
  const auto m = make_small<Small<double>>(true);
  const auto tokens = random_tokens(2, 7, 2);
  const auto layout = texts();
  const auto first = attention_weights(*m, 0, tokens, layout), second = attention_weights(*m, 1, tokens, layout);
  for (std::size_t b = 0; b < 2; ++b) {
    for (std::size_t row = b * 28; row < (b + 1) * 28; ++row) {
      const std::size_t t = row % 7;
      for (std::size_t s = 0; s < 7; ++s) {
        const bool seen = s <= t && !layout.is_padding(b, s) && !layout.is_padding(b, t);
        CHECK((first.keys[row * 7 + s] > 0) == seen);
      }
    }
  }
  m->scale[0] = 0;  // what the first adds is what the second's queries are made of; the first's are not
  const auto without = attention_weights(*m, 1, tokens, layout);
  double change = 0;
  for (std::size_t i = 0; i < second.keys.size(); ++i) {
    change = std::max(change, std::abs(second.keys[i] - without.keys[i]));
  }
  CHECK(change > 1e-3);
  CHECK_THROWS_WITH(attention_weights(*m, 0, tokens, layout), Catch::Contains("it is off"));
  CHECK_THROWS_WITH(attention_weights(*m, 2, tokens, layout), Catch::Contains("link 2 of augment 0"));
}

TEST_CASE("attention weights of a link back") {
  using Both = TwoWay<SmallAugment<double>, LayerMap<Link<2, 3>>, LayerMap<Link<1, 2>>>;
  const auto m = make_small<Compose<SmallAnchor<double>, Both>>(true);
  const auto tokens = random_tokens(2, 7, 3);
  const auto layout = texts();
  const auto found = attention_weights<0, Direction::back>(*m, 0, tokens, layout);
  const auto h = m->augment.run(m->augment.embed(tokens, layout), 0, 3, layout);
  const auto said = rename<Time, Source>(m->anchor.run(m->anchor.embed(tokens, layout), 0, 2, layout));
  const auto expected = bridge_attention(m->back[0], h, said, layout.keys);
  REQUIRE(found.keys.size() == expected.keys.size());
  for (std::size_t i = 0; i < found.keys.size(); ++i) CHECK(found.keys[i] == Approx(expected.keys[i]).margin(1e-12));
}
