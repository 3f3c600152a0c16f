// The tests that a composition owes (every public implementation of CALM fails at least one of them).

#include <catch2/catch.hpp>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "calm/compose/bridge_file.hpp"
#include "calm/train/fit.hpp"
#include "compose/models.hpp"
#include "support/gradient_check.hpp"

namespace {

using namespace calm;
using namespace calm::test;

template <class A, class B>
double worst_difference(const A& a, const B& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(double(a[i]) - double(b[i])));
  return worst;
}

using Model = Small<float>;

TEST_CASE("a fresh composition is the anchor, bit for bit") {
  const auto m = make_small<Model>(false);
  const auto tokens = random_tokens(3, 11, 1);
  const auto layout = whole(3, 11);
  const auto alone = m->anchor.logits(tokens, layout);
  const auto composed = value(m->logits(tokens, layout));
  REQUIRE(alone.size() == composed.size());
  CHECK(std::memcmp(alone.data(), composed.data(), alone.size() * sizeof(float)) == 0);
}

TEST_CASE("what comes later changes no earlier logit") {
  const auto m = make_small<Model>(true);
  const auto layout = whole(1, 12);
  const auto before_tokens = random_tokens(1, 12, 2);
  const auto before = value(m->logits(before_tokens, layout));
  for (std::size_t cut = 1; cut < 12; ++cut) {
    auto tokens = before_tokens.clone();
    for (std::size_t t = cut; t < 12; ++t) tokens.mutable_data()[t] = (before_tokens[t] + 3) % 16;
    const auto after = value(m->logits(tokens, layout));
    for (std::size_t t = 0; t < cut; ++t) CHECK(row(before, 0, t) == row(after, 0, t));
    CHECK(row(before, 0, cut) != row(after, 0, cut));
  }
}

TEST_CASE("the composition reads its augment") {
  const auto m = make_small<Model>(true);
  const auto tokens = random_tokens(1, 8, 3);
  const auto before = value(m->logits(tokens, whole(1, 8)));
  nn::initialise(m->augment, {.seed = 77, .deviation = 0.3});
  CHECK(worst_difference(before, value(m->logits(tokens, whole(1, 8)))) > 1e-3);
}

TEST_CASE("cached decoding equals the full forward pass") {
  const auto m = make_small<Model>(true);
  const std::size_t time = 14;
  const auto tokens = random_tokens(2, time, 4);
  const auto full = value(m->logits(tokens, whole(2, time)));
  auto caches = m->make_caches(2, time);
  // A prompt of 5 tokens in one pass, then one token at a time.
  std::vector<Index> start{0, 0};
  for (std::size_t from = 0, count = 5; from < time; from += count, count = 1) {
    nn::Tokens<Cpu> part(Shape<Batch, Time>(2, count));
    for (std::size_t b = 0; b < 2; ++b) {
      std::copy_n(tokens.data() + b * time + from, count, part.mutable_data() + b * count);
      start[b] = static_cast<Index>(from);
    }
    const std::vector<Index> counts(2, static_cast<Index>(count)), last(2, static_cast<Index>(count - 1));
    const auto logits = m->next_logits(part, nn::continue_at<Cpu>(start, counts, count),
                                       nn::detail::per_text<Cpu>(last), caches);
    for (std::size_t b = 0; b < 2; ++b) {
      const auto expected = row(full, b, from + count - 1);
      for (std::size_t v = 0; v < 16; ++v) CHECK(logits[b * 16 + v] == Approx(expected[v]).epsilon(1e-4).margin(2e-5));
    }
  }
}

TEST_CASE("padding on either side and other texts of the batch change nothing") {
  const auto m = make_small<Model>(true);
  const std::vector<Index> text{3, 1, 4, 1, 5, 9, 2};
  const auto alone = value(m->logits(nn::Tokens<Cpu>::from(Shape<Batch, Time>(1, 7), text.data()), whole(1, 7)));
  const std::size_t time = 12;
  const std::vector<Index> lengths{12, 7, 2};
  const auto right_layout = nn::pad_right<Cpu>(lengths, time), left_layout = nn::pad_left<Cpu>(lengths, time);
  auto right = random_tokens(3, time, 6), left = random_tokens(3, time, 7);
  std::copy(text.begin(), text.end(), right.mutable_data() + time);
  std::copy(text.begin(), text.end(), left.mutable_data() + time + 5);
  const auto from_right = value(m->logits(right, right_layout)), from_left = value(m->logits(left, left_layout));
  for (std::size_t t = 0; t < 7; ++t) {
    const auto expected = row(alone, 0, t), r = row(from_right, 1, t), l = row(from_left, 1, t + 5);
    for (std::size_t v = 0; v < 16; ++v) {
      CHECK(r[v] == Approx(expected[v]).epsilon(1e-5).margin(1e-5));
      CHECK(l[v] == Approx(expected[v]).epsilon(1e-5).margin(1e-5));
    }
  }
}

TEST_CASE("f_proj folds into W_K and W_V") {
  const auto m = make_small<Small<double>>(true);
  const auto& bridge = m->bridges[0];
  const auto folded = bridge.folded<Frozen>();
  const auto& k = bridge.k_proj.weight.value();
  const auto& p = bridge.proj.weight.value();
  for (std::size_t o = 0; o < 24; ++o) {
    for (std::size_t i = 0; i < 16; ++i) {
      double sum = 0;
      for (std::size_t h = 0; h < 24; ++h) sum += k[o * 24 + h] * p[h * 16 + i];
      CHECK(folded.k_proj.weight()[o * 16 + i] == Approx(sum).epsilon(1e-12));
    }
  }
}

TEST_CASE("random tokens teach a composition nothing") {
  // Nothing can be predicted of fresh random tokens, so no honest loss falls below ln V.
  auto m = make_small<Model>(false);
  const auto stream = [](std::uint64_t i, train::Example& out) {
    out.tokens.resize(12);
    for (std::size_t t = 0; t < 12; ++t) {
      out.tokens[t] = static_cast<Index>(random_below({8, 1}, i * 12 + t, AnchorSpec::config.vocab));
    }
  };
  train::fit(*m, stream, {.steps = 300, .batch_size = 32, .learning_rate = 1e-2, .progress = false});
  std::vector<train::Example> unseen(200);
  for (std::size_t i = 0; i < unseen.size(); ++i) stream(1'000'000 + i, unseen[i]);
  const auto batch = train::collate<Cpu>(unseen);
  CHECK(value(m->loss(batch.tokens, batch.layout, batch.targets))[0] > std::log(16.0) - 0.01);
}

/// Texts of several lengths, random tokens.
std::vector<train::Example> ragged_texts() {
  std::vector<train::Example> texts;
  for (const std::size_t n : std::to_array<std::size_t>({5, 12, 3, 7, 4, 6, 2})) {
    train::Example e{.tokens = std::vector<Index>(n), .prompt = n / 2, .labels = {}};
    for (std::size_t t = 0; t < n; ++t) {
      e.tokens[t] = static_cast<Index>(random_below({9, n}, t, AnchorSpec::config.vocab));
    }
    texts.push_back(e);
  }
  return texts;
}

/// The mean loss of the texts, all in one batch against one by one.
template <class Options>
void check_packing() {
  const auto m = make_small<Small<double, Options>>(true);
  const auto texts = ragged_texts();
  const auto packed = train::collate<Cpu>(texts);
  CHECK(packed.tokens.extent(0) < texts.size());
  double sum = 0, count = 0;
  for (const auto& text : texts) {
    const auto alone = train::collate<Cpu>(std::span(&text, 1));
    const double n = static_cast<double>(text.tokens.size() - std::max<std::size_t>(text.prompt, 1));
    sum += n * value(m->loss(alone.tokens, alone.layout, alone.targets))[0];
    count += n;
  }
  CHECK(value(m->loss(packed.tokens, packed.layout, packed.targets))[0] == Approx(sum / count).epsilon(1e-12));
}

TEST_CASE("texts packed in one row do not see each other") {
  check_packing<bridge::Normalised>();
  check_packing<bridge::Local>();
  check_packing<bridge::Encoder>();
}

TEST_CASE("the gradient of every bridge parameter is that of central differences") {
  auto m = make_small<Small<double>>(true);
  const auto tokens = random_tokens(2, 7, 9);
  const std::vector<Index> lengths{7, 4};
  const auto layout = nn::pad_right<Cpu>(lengths, 7);
  auto targets = random_tokens(2, 7, 10);
  for (std::size_t t = 4; t < 7; ++t) targets.mutable_data()[7 + t] = ignored_target;
  Tape<Cpu> tape;
  {
    const auto recording = tape.record();
    backward(m->loss(tokens, layout, targets));
  }
  const auto loss = [&] { return value(m->loss(tokens, layout, targets))[0]; };
  double worst = 0;
  std::size_t checked = 0;
  nn::for_each_trainable(*m, [&](const std::string&, auto& p) {
    const auto* g = gradient(p);
    REQUIRE(g != nullptr);
    for (std::size_t i = 0; i < p.value().size(); ++i) {
      const double numeric = slope_at(p.mutable_value().mutable_data()[i], 1e-3, loss);
      worst = std::max(worst, std::abs(numeric - g[i]) / std::max(1e-2, std::abs(numeric)));
      ++checked;
    }
  });
  CHECK(checked == Small<double>::trainable_parameters);
  CHECK(worst < 1e-6);
}

TEST_CASE("training leaves both bases as they were") {
  auto m = make_small<Model>(false);
  const std::string anchor = io::weights_sha256(m->anchor), augment = io::weights_sha256(m->augment);
  const auto stream = [](std::uint64_t i, train::Example& out) {
    out.tokens = {static_cast<Index>(i % 16), static_cast<Index>((i + 1) % 16), static_cast<Index>((i + 2) % 16)};
    out.prompt = 1;
  };
  const auto before = value(m->bridges[0].o_proj.weight())[0];
  train::fit(*m, stream, {.steps = 20, .batch_size = 8, .progress = false});
  CHECK(value(m->bridges[0].o_proj.weight())[0] != before);
  CHECK(io::weights_sha256(m->anchor) == anchor);
  CHECK(io::weights_sha256(m->augment) == augment);
}

TEST_CASE("the augment ends at its last link, and nothing below the first link is recorded") {
  STATIC_REQUIRE(Model::augment_type::depth == 3);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Model>().anchor.logits({}, {})),
                                Tensor<float, Cpu, Batch, Time, nn::Vocab<AnchorSpec>>>);
  STATIC_REQUIRE(is_var<decltype(std::declval<Model>().logits({}, {}))>);
  constexpr std::size_t heads = Model::bridge_type::Head::extent;
  STATIC_REQUIRE(Model::trainable_parameters == 2 * (16 + 24 + 16 * 24 + 4 * 24 * 24 + heads));
  auto m = make_small<Model>(false);
  std::size_t counted = 0;
  nn::for_each_trainable(*m, [&](const std::string&, auto& p) { counted += p.value().size(); });
  CHECK(counted == Model::trainable_parameters);

  // Two links on layers 1 and 2 of 4: two bridges, and the blocks above the first link alone.
  Tape<Cpu> tape;
  const auto recording = tape.record();
  const auto linked = m->logits(random_tokens(1, 4, 1), whole(1, 4));
  const std::size_t nodes = tape.node_count();
  tape.clear();
  using Late = Compose<SmallAnchor<float>, SmallAugment<float>, LayerMap<Link<0, 2>, Link<2, 3>>>;
  auto late = make_small<Late>(false);
  const auto later = late->logits(random_tokens(1, 4, 1), whole(1, 4));
  CHECK(tape.node_count() < nodes);
  CHECK(later.value.size() == linked.value.size());
}

}  // namespace
