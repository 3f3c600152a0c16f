// Many links on one layer, and links that are scaled or off while the program runs.

#include <cmath>
#include <cstring>
#include <vector>

#include <catch2/catch.hpp>

#include "compose/models.hpp"

namespace {

using namespace calm;
using namespace calm::test;

template <class Map>
using Linked = Compose<SmallAnchor<double>, SmallAugment<double>, Map>;

using Grid = LayerMap<Link<0, 1>, Link<2, 1>, Link<0, 3>, Link<2, 3>>;
static_assert(Grid::stops == 2);
static_assert(LayerMap<Link<3, 1>, Link<0, 2>>::last_source == 3);
static_assert(!detail::is_last_taken<Grid>(0) && detail::is_last_taken<Grid>(1) && detail::is_last_taken<Grid>(3));
// A layer of the anchor has 1.4 times the parameters of the augment's.
template <class Map>
constexpr bool keeps_up = detail::keeps_up<SmallAnchor<double>, SmallAugment<double>, Map>();
static_assert(keeps_up<SmallLinks> && keeps_up<LayerMap<Link<1, 1>>> && keeps_up<LayerMap<Link<0, 0>, Link<3, 3>>>);
static_assert(!keeps_up<LayerMap<Link<1, 0>>> && !keeps_up<LayerMap<Link<0, 0>, Link<3, 1>>>);

template <class X>
bool same_bits(const X& a, const X& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
}

}  // namespace

TEST_CASE("bridges on one layer read the same state: what they add is a sum") {
  using Model = Linked<LayerMap<Link<0, 3>, Link<2, 3>>>;  // the anchor's last layer: nothing comes behind
  const auto m = make_small<Model>(true);
  const auto tokens = random_tokens(2, 7, 1);
  const auto states = [&](double first, double second) {
    m->scale = {first, second};
    return value(m->states(tokens, whole(2, 7)));
  };
  const auto none = states(0, 0), one = states(1, 0), other = states(0, 1), both = states(1, 1), half = states(0.5, -2);
  double worst = 0, effect = 0;
  for (std::size_t i = 0; i < none.size(); ++i) {
    const double a = one[i] - none[i], b = other[i] - none[i];
    worst = std::max({worst, std::abs(both[i] - none[i] - a - b), std::abs(half[i] - none[i] - 0.5 * a + 2 * b)});
    effect = std::max(effect, std::min(std::abs(a), std::abs(b)));
  }
  CHECK(worst < 1e-12);
  CHECK(effect > 1e-2);
}

TEST_CASE("each link of a grid reads its own augment layer") {
  const auto grid = make_small<Linked<Grid>>(true);
  const auto tokens = random_tokens(2, 7, 2);
  const auto check = [&](auto one, std::size_t link) {
    one->bridges[0] = grid->bridges[link];
    grid->scale.fill(0);
    grid->scale[link] = 1;
    CHECK(same_bits(value(grid->logits(tokens, whole(2, 7))), value(one->logits(tokens, whole(2, 7)))));
  };
  check(make_small<Linked<LayerMap<Link<0, 1>>>>(true), 0);
  check(make_small<Linked<LayerMap<Link<2, 1>>>>(true), 1);
  check(make_small<Linked<LayerMap<Link<0, 3>>>>(true), 2);
  check(make_small<Linked<LayerMap<Link<2, 3>>>>(true), 3);
}

TEST_CASE("with every link off, a trained composition is the anchor, bit for bit, in decoding too") {
  const auto m = make_small<Linked<Grid>>(true);
  const auto tokens = random_tokens(2, 7, 3);
  const auto layout = whole(2, 7);
  const auto alone = m->anchor.logits(tokens, layout);
  CHECK(!same_bits(alone, value(m->logits(tokens, layout))));
  m->scale.fill(0);
  CHECK(same_bits(alone, value(m->logits(tokens, layout))));

  auto caches = m->make_caches(2, 7);
  auto anchor_caches = SmallAnchor<double>::make_caches(2, 7);
  const std::vector<Index> start{0, 0}, counts{7, 7}, last{6, 6};
  const auto at = nn::continue_at<Cpu>(start, counts, 7);
  const auto rows = nn::detail::per_text<Cpu>(last);
  CHECK(same_bits(m->anchor.next_logits(tokens, at, rows, anchor_caches), m->next_logits(tokens, at, rows, caches)));

  Tape<Cpu> tape;
  const auto recording = tape.record();
  backward(m->loss(tokens, layout, tokens));  // nothing to learn, and nothing fails
  CHECK(gradient(m->bridges[0].o_proj.weight) == nullptr);
}

TEST_CASE("a link that is off has no gradient, the others have theirs") {
  const auto m = make_small<Linked<Grid>>(true);
  m->scale[1] = 0;
  Tape<Cpu> tape;
  {
    const auto recording = tape.record();
    backward(m->loss(random_tokens(2, 7, 4), whole(2, 7), random_tokens(2, 7, 5)));
  }
  CHECK(gradient(m->bridges[0].o_proj.weight) != nullptr);
  CHECK(gradient(m->bridges[1].o_proj.weight) == nullptr);
  CHECK(gradient(m->bridges[2].o_proj.weight) != nullptr);
}
