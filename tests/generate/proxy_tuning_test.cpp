#include "calm/generate/proxy_tuning.hpp"

#include <cstddef>
#include <span>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/generate/beam.hpp"
#include "generate/models.hpp"

namespace {

using namespace calm;
using namespace calm::test;

using Proxy = ProxyTuned<Llama, Gpt2>;
using OverComposed = ProxyTuned<Composed, Gpt2, Llama>;

template <class P>
P make_proxy() {
  P p{*make_model<decltype(P::large)>(), {}, {}};
  nn::initialise(p.tuned, {.seed = 7, .deviation = 0.3});
  nn::initialise(p.untuned, {.seed = 8, .deviation = 0.3});
  return p;
}

}  // namespace

TEMPLATE_TEST_CASE("logits of proxy-tuning are the large model's and what training changed in the small one", "",
                   Proxy, OverComposed) {
  auto p = make_proxy<TestType>();
  for (const double strength : {1.0, 0.5}) {
    p.strength = strength;
    for (const auto& text : ragged) {
      const auto l = next_of(p.large, text, text.size()), t = next_of(p.tuned, text, text.size()),
                 u = next_of(p.untuned, text, text.size()), found = next_of(p, text, text.size());
      for (std::size_t v = 0; v < found.size(); ++v) {
        CHECK(found[v] == Approx(l[v] + static_cast<float>(strength) * (t[v] - u[v])).margin(1e-5));
      }
    }
  }
}

TEST_CASE("with nothing changed, or at strength 0, proxy-tuning is the large model, bit for bit") {
  auto p = make_proxy<Proxy>();
  p.strength = 0;
  CHECK(next_of(p, ragged[1], 3) == next_of(p.large, ragged[1], 3));
  p.strength = 1;
  CHECK(next_of(p, ragged[1], 3) != next_of(p.large, ragged[1], 3));
  p.untuned = p.tuned;
  CHECK(next_of(p, ragged[1], 3) == next_of(p.large, ragged[1], 3));
}

TEMPLATE_TEST_CASE("proxy-tuning decodes: caches, ragged batches and beams give what full passes give", "", Proxy,
                   OverComposed) {
  const auto p = make_proxy<TestType>();
  const auto found = generate(p, std::span(ragged), {.max_new_tokens = 12});
  for (std::size_t b = 0; b < ragged.size(); ++b) {
    std::vector<Index> text = ragged[b];
    for (const Index token : found[b]) {
      const auto logits = next_of(p, text, ragged[b].size());
      CHECK(token == argmax(logits.data(), logits.size()));
      text.push_back(token);
    }
    CHECK(found[b].size() == 12);
  }
  const auto beams = beam_search(p, std::span(ragged), {.max_new_tokens = 12, .beams = 1});
  for (std::size_t b = 0; b < ragged.size(); ++b) CHECK(beams[b].at(0).tokens == found[b]);
}
