#include "calm/compose/retokenized.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/compose/compose.hpp"
#include "calm/generate/beam.hpp"
#include "calm/generate/generate.hpp"
#include "compose/models.hpp"
#include "compose/owed.hpp"
#include "compose/toy_retokenizer.hpp"

using namespace calm;
using namespace calm::test;

namespace {

/// Llama's kind: rotary positions, and a window that is shorter than the texts in its first block.
struct WindowedSpec {
  static constexpr nn::TransformerConfig config{.vocab = 16, .hidden = 16, .layers = 3, .heads = 2, .context = 48,
                                                .window = 3, .local_layers = 1};
};
using Anchor = SmallAnchor<double>;
using Windowed = nn::Transformer<WindowedSpec, double, Cpu>;
using Links = LayerMap<Link<0, 1>, Link<2, 2>>;
struct Prefix {
  static constexpr BridgeConfig config{.recency = 1, .mask = BridgeMask::prefix};
};

template <class Options>
using Reads = Compose<Anchor, Retokenized<Windowed, Links, Options>>;
using Alone = Reads<bridge::Local>;

/// The first `prompt` tokens of a text as the prompt, the others one by one: what the augment has read at each place.
std::vector<std::vector<Index>> readings(const Text& text) {
  ToyText follower;
  const std::span<const Index> tokens(text.tokens);
  const auto ends = follower.begin(tokens.first(text.prompt));
  std::vector<std::vector<Index>> all;
  for (const Index end : ends) all.emplace_back(follower.tokens().begin(), follower.tokens().begin() + end);
  for (const Index token : tokens.subspan(text.prompt)) {
    follower.push(token);
    all.push_back(follower.tokens());
  }
  return all;
}

/// Keeps what the first link reads.
template <class Source>
struct Looking : calm::detail::Unobserved {
  Source* source;
  KeyIntervals<Cpu>* seen;
  explicit Looking(Source* s, KeyIntervals<Cpu>* k) : source(s), seen(k) {}
  template <class Bridge, class H, class From, class F>
  void added(std::size_t i, const Bridge&, const H&, const From& from, const KeyIntervals<Cpu>& intervals,
             const F&) const {
    if (i == 1) *source = from, *seen = intervals;
  }
};

}  // namespace

TEST_CASE("an augment with its own tokenizer, under each mask and beside others, owes what every augment does") {
  check_owed<Alone>();
  check_owed<Reads<Prefix>>();
  check_owed<Reads<bridge::Encoder>>();
  check_owed<Compose<Anchor, Retokenized<SmallAugment<double>, SmallLinks>,
                     With<SmallAugment<double>, LayerMap<Link<1, 2>>>>>();
}

TEST_CASE("what the anchor sees at a place is the augment's reading of the text up to there, and nothing else") {
  const auto s = subject<Alone>(true);
  const Texts texts = random_texts(6, 12, 16, 21);
  for (const Arrangement how : {Arrangement::right, Arrangement::left, Arrangement::packed}) {
    const Arranged a = arrange(texts, how);
    using Source = Tensor<double, Cpu, Batch, Source, nn::Hidden<WindowedSpec>>;
    Source source;
    KeyIntervals<Cpu> seen;
    s->model.observed_states(a.tokens, a.layout, [&](auto) { return Looking<Source>(&source, &seen); });
    std::size_t forks = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto expected = readings(texts[i]);
      for (std::size_t t = 0; t < texts[i].tokens.size(); ++t) {
        const std::size_t at = a.first(i) + t, row = at / a.layout.time();
        std::vector<std::size_t> columns;
        for (Index c = seen.begin[at]; c < seen.end[at]; ++c) {
          if (c < seen.hole_begin[at] || c >= seen.hole_end[at]) columns.push_back(static_cast<std::size_t>(c));
        }
        forks += seen.hole_end[at] > seen.hole_begin[at];
        INFO("text " << i << ", token " << t);
        REQUIRE(columns.size() == expected[t].size());
        const nn::Tokens<Cpu> tokens = nn::Tokens<Cpu>::from(Shape<Batch, Time>(1, columns.size()), expected[t].data());
        const auto states = calm::detail::linked_states(s->model.branch<0>(), tokens, whole(1, columns.size()))[1];
        for (std::size_t c = 0; c < columns.size(); ++c) {
          for (std::size_t d = 0; d < 16; ++d) {
            const double found = source[(row * source.extent(1) + columns[c]) * 16 + d];
            CHECK(std::abs(found - states[c * 16 + d]) < 1e-12);
          }
        }
      }
    }
    CHECK(forks > 3);  // else the texts above would show nothing
  }
}

TEST_CASE("decoding with two tokenizers: batches, slots and beams give what each text gives alone") {
  const auto s = subject<Alone>(true);
  std::vector<std::vector<Index>> prompts;
  for (const Text& text : random_texts(8, 8, 16, 31)) prompts.push_back(text.tokens);
  const GenerateOptions options{.max_new_tokens = 12};
  const auto together = generate(s->model, prompts, options);
  for (std::size_t b = 0; b < prompts.size(); ++b) {
    CHECK(generate(s->model, prompts[b], options) == together[b]);
    CHECK(beam_search(s->model, prompts[b], {.max_new_tokens = 12, .beams = 1})[0].tokens == together[b]);
    // The same by whole passes.
    Text text{prompts[b], prompts[b].size()};
    for (const Index expected : together[b]) {
      const Arranged a = arrange({text}, Arrangement::right);
      const auto logits = s->logits(a.tokens, a.layout);
      CHECK(std::max_element(logits.end() - 16, logits.end()) - (logits.end() - 16) == expected);
      text.tokens.push_back(expected);
    }
  }
  Decoder<Alone> decoder(s->model, {.slots = 3, .capacity = 20});
  for (const auto& prompt : prompts) decoder.submit(prompt, options);
  const auto whole_prompt = decoder.submit_behind(decoder.read(prompts[1]), {}, options);
  decoder.run();
  for (std::size_t b = 0; b < prompts.size(); ++b) CHECK(decoder.take(b)->tokens == together[b]);
  CHECK(decoder.take(whole_prompt)->tokens == together[1]);
  CHECK_THROWS_WITH(decoder.submit_behind(decoder.read(prompts[0]), prompts[1], options),
                    Catch::Contains("tokenizer of its own") && Catch::Contains("only whole prompts are shared"));
  const auto beams = beam_search(s->model, prompts, {.max_new_tokens = 6, .beams = 4});
  for (std::size_t b = 0; b < prompts.size(); ++b) {
    const auto alone = beam_search(s->model, prompts[b], {.max_new_tokens = 6, .beams = 4});
    for (std::size_t k = 0; k < alone.size(); ++k) CHECK(beams[b][k].tokens == alone[k].tokens);
  }
}

TEST_CASE("features of a composition with two tokenizers give its loss") {
  const auto s = subject<Alone>(true);
  const Arranged a = arrange(random_texts(5, 9, 16, 3), Arrangement::packed);
  const auto features = s->model.features(a.tokens, a.layout);
  CHECK(value(s->model.loss(features, a.layout, a.targets))[0] == s->loss(a.tokens, a.layout, a.targets));
}

TEST_CASE("what cannot be read with two tokenizers is refused") {
  const auto s = subject<Alone>(true);
  const Text text{{1, 2, 3, 4, 5}, 2};
  const auto part = [&](Index from, Index count) { return part_of({text}, {from}, {count}); };
  s->make_caches(1, 8);
  const auto last = nn::detail::per_text<Cpu>(std::vector<Index>{0});
  CHECK_THROWS_WITH(s->next_logits(part(0, 3).tokens, part(0, 3).layout, last),
                    "calm::Retokenized: text 0: 3 tokens from position 0 on, its prompt has 2; behind caches the "
                    "prompt is read at once and then one token at a time");
  s->next_logits(part(0, 2).tokens, part(0, 2).layout, last);
  CHECK_THROWS_WITH(s->next_logits(part(2, 2).tokens, part(2, 2).layout, last),
                    Catch::Contains("2 tokens from position 2"));
  CHECK_THROWS_WITH(s->logits(part(2, 1).tokens, part(2, 1).layout), Catch::Contains("begins at position 2"));
  s->model.retokenizer = nullptr;
  CHECK_THROWS_WITH(s->logits(part(0, 2).tokens, part(0, 2).layout),
                    Catch::Contains("the augment has no retokenizer") && Catch::Contains("calm::retokenizer"));
}
