#include "calm/compose/graft.hpp"

#include <cmath>
#include <vector>

#include <catch2/catch.hpp>

#include "compose/models.hpp"
#include "compose/owed.hpp"

namespace {

using namespace calm;
using namespace calm::test;

struct EquallyWide {  // as the anchor
  static constexpr nn::TransformerConfig config{.vocab = 16, .hidden = 24, .layers = 3, .heads = 2, .context = 32};
};

using Anchor = SmallAnchor<double>;
using Augment = nn::Transformer<EquallyWide, double, Cpu>;
template <class Graft, std::size_t AnchorLayer = 3>
using Grafted = Compose<Anchor, With<Augment, LayerMap<Link<1, AnchorLayer>>, Graft>>;

/// The anchor's states behind its last layer, where the graft is, are f(h, a) of its own and the augment's there.
template <class Graft, class F>
void check_values(const F& f) {
  const auto s = subject<Grafted<Graft>>(false);
  const Texts texts = random_texts(4, 9, s->vocab, 2);
  for (const Arrangement how : {Arrangement::right, Arrangement::left, Arrangement::packed}) {
    const Arranged batch = arrange(texts, how);
    const auto found = value(s->model.states(batch.tokens, batch.layout));
    const auto features = s->model.features(batch.tokens, batch.layout);
    const auto& a = std::get<0>(features.linked)[0];
    for (std::size_t i = 0; i < texts.size(); ++i) {
      for (std::size_t t = 0; t < texts[i].tokens.size(); ++t) {
        for (std::size_t k = 0; k < 24; ++k) {
          const std::size_t at = (batch.first(i) + t) * 24 + k;
          REQUIRE(std::abs(found[at] - f(features.anchor[at], a[at])) < 1e-12);
        }
      }
    }
  }
}

template <class Graft>
void check_graft() {
  const auto s = subject<Grafted<Graft, 1>>(false);
  STATIC_REQUIRE(Grafted<Graft, 1>::trainable_parameters == 0);
  const Texts texts = random_texts(4, 9, s->vocab, 5);
  const auto alone = logits_alone(*s, texts);
  for (const Arrangement how : {Arrangement::right, Arrangement::left, Arrangement::packed}) {
    check_causal(*s, texts, how, 1);
    check_batch(*s, texts, how, alone);
  }
  check_cached(*s, texts, 4, alone);
  s->set_scales(0);
  check_is_anchor(*s, arrange(texts, Arrangement::left));
}

}  // namespace

TEST_CASE("a graft is the sum, the mean or the augment's state, of one place each, whatever the padding") {
  check_values<graft::Sum>([](double h, double a) { return h + a; });
  check_values<graft::Mean>([](double h, double a) { return (h + a) / 2; });
  check_values<graft::Replace>([](double, double a) { return a; });
}

TEST_CASE("grafts are causal, blind to padding and to other texts, and decode exactly") {
  check_graft<graft::Sum>();
  check_graft<graft::Mean>();
  check_graft<graft::Replace>();
}

TEST_CASE("a graft stands beside a bridge, which alone is trained") {
  using Model =
      Compose<Anchor, With<Augment, LayerMap<Link<0, 1>>, graft::Mean>, With<SmallAugment<double>, SmallLinks>>;
  STATIC_REQUIRE(Model::trainable_parameters == Small<double>::trainable_parameters);
  check_owed<Model>(false);
}
