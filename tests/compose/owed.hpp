/// \file  What every composition owes, whatever its type.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "compose/subject.hpp"
#include "compose/texts.hpp"
#include "io/temporary_folder.hpp"
#include "support/gradient_check.hpp"

namespace calm::test {

inline bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

/// The logits of text i: [Time, Vocab]
inline std::vector<double> logits_of_text(const Subject& s, const Arranged& a, const std::vector<double>& logits,
                                          std::size_t i) {
  const auto from = logits.begin() + static_cast<std::ptrdiff_t>(a.first(i) * s.vocab);
  return {from, from + static_cast<std::ptrdiff_t>(a.places[i].length * s.vocab)};
}

/// With every link off, and while the bridges are fresh, the composition is the anchor, bit for bit.
inline void check_is_anchor(const Subject& s, const Arranged& a) {
  CHECK(same_bits(s.logits(a.tokens, a.layout), s.anchor_logits(a.tokens, a.layout)));
}

/// Fresh bridges can learn: the gradient of the loss reaches each link (those back: once the others say something).
inline void check_can_learn(Subject& s, const Arranged& a) {
  s.differentiate(a.tokens, a.layout, a.targets);
  std::set<std::string> reached;
  for (const ParameterView& p : s.parameters()) {
    const std::size_t bridge = p.path.find("bridges.");
    if (bridge == std::string::npos || !p.gradient) continue;
    if (std::any_of(p.gradient, p.gradient + p.size, [](double g) { return std::abs(g) > 1e-9; })) {
      reached.insert(p.path.substr(0, p.path.find('.', bridge + 8)));
    }
  }
  CHECK(reached.size() == s.links);
}

/// What the type says it trains is what it trains.
inline void check_counted(Subject& s) {
  std::size_t counted = 0;
  for (const ParameterView& p : s.parameters()) counted += p.size;
  CHECK(counted == s.trainable);
}

/// No token changes the logits of another text, nor those of its own text before it: not before the prompt's end, where
/// a bridge reads the prompt at once. It does change those at its own place.
inline void check_causal(const Subject& s, const Texts& texts, Arrangement how, std::uint64_t seed) {
  const Arranged a = arrange(texts, how);
  const auto before = s.logits(a.tokens, a.layout);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::size_t length = texts[i].tokens.size(), earliest = s.causal ? 0 : texts[i].prompt;
    if (earliest == length) continue;
    const std::size_t cut = earliest + below(seed, 21, i, length - earliest);
    auto changed = texts;
    for (std::size_t t = cut; t < length; ++t) {
      changed[i].tokens[t] = static_cast<Index>((static_cast<std::size_t>(texts[i].tokens[t]) + 3) % s.vocab);
    }
    const Arranged b = arrange(changed, how);
    const auto after = s.logits(b.tokens, b.layout);
    INFO("text " << i << " of length " << length << ", changed from token " << cut << " on");
    for (std::size_t j = 0; j < texts.size(); ++j) {
      auto x = logits_of_text(s, a, before, j), y = logits_of_text(s, a, after, j);
      if (j == i) {
        CHECK(!std::equal(x.begin() + static_cast<std::ptrdiff_t>(cut * s.vocab),
                          x.begin() + static_cast<std::ptrdiff_t>((cut + 1) * s.vocab),
                          y.begin() + static_cast<std::ptrdiff_t>(cut * s.vocab)));
        x.resize(cut * s.vocab);
        y.resize(cut * s.vocab);
      }
      // With two tokenizers another text is another number of rows, and products round otherwise.
      CHECK((s.one_by_one ? detail::largest_difference(x, y) < 1e-12 : same_bits(x, y)));
    }
  }
}

/// Each text's own logits, of a batch of its own without padding.
inline std::vector<std::vector<double>> logits_alone(const Subject& s, const Texts& texts) {
  std::vector<std::vector<double>> alone;
  for (const Text& text : texts) {
    const Arranged a = arrange({text}, Arrangement::right);
    alone.push_back(s.logits(a.tokens, a.layout));
  }
  return alone;
}

/// Neither padding nor the other texts of the batch change anything beyond rounding.
inline void check_batch(const Subject& s, const Texts& texts, Arrangement how,
                        const std::vector<std::vector<double>>& alone) {
  const Arranged a = arrange(texts, how);
  const auto together = s.logits(a.tokens, a.layout);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    INFO("text " << i << " of length " << texts[i].tokens.size());
    CHECK(detail::largest_difference(logits_of_text(s, a, together, i), alone[i]) < 1e-9);
  }
}

/// Decoding with caches, each text in steps of its own, gives the logits of the whole pass. A prompt comes in one step
/// where bridges read it at once.
inline void check_cached(Subject& s, const Texts& texts, std::uint64_t seed,
                         const std::vector<std::vector<double>>& alone) {
  const std::size_t batch = texts.size();
  std::vector<Index> done(batch, 0);
  s.make_caches(batch, longest(texts));
  for (std::uint64_t step = 0; step < 100; ++step) {
    std::vector<Index> counts(batch), last(batch, 0);
    bool any = false;
    for (std::size_t b = 0; b < batch; ++b) {
      const std::size_t left = texts[b].tokens.size() - static_cast<std::size_t>(done[b]);
      const bool at_once = done[b] == 0 && !s.causal;
      const std::size_t wanted = at_once ? texts[b].prompt + (s.one_by_one ? 0 : below(seed, 22, b, 2))
                                         : below(seed, 23, step * batch + b, s.one_by_one ? 2 : 4);
      counts[b] = static_cast<Index>(std::min(left, wanted));
      any |= left > 0;
      if (counts[b] > 0) last[b] = counts[b] - 1;
    }
    if (!any) return;
    const Step next = part_of(texts, done, counts);
    if (next.tokens.extent(1) == 0) continue;
    const auto logits = s.next_logits(next.tokens, next.layout, nn::detail::per_text<Cpu>(last));
    for (std::size_t b = 0; b < batch; ++b) {
      if (counts[b] == 0) continue;
      done[b] += counts[b];
      double worst = 0;
      for (std::size_t v = 0; v < s.vocab; ++v) {
        const double expected = alone[b][static_cast<std::size_t>(done[b] - 1) * s.vocab + v];
        worst = std::max(worst, std::abs(logits[b * s.vocab + v] - expected));
      }
      INFO("text " << b << ", token " << done[b] - 1 << " of " << texts[b].tokens.size());
      CHECK(worst < 1e-9);
    }
  }
  FAIL("texts do not end");
}

/// `other`, with bridges of its own, becomes s by s's file. Both have the same bases.
inline void check_file(Subject& s, Subject& other, const Arranged& a) {
  const TemporaryFolder folder;
  const std::string path = folder / "bridges.safetensors";
  s.save(path);
  CHECK(!same_bits(s.logits(a.tokens, a.layout), other.logits(a.tokens, a.layout)));
  other.load(path);
  CHECK(same_bits(s.logits(a.tokens, a.layout), other.logits(a.tokens, a.layout)));
}

/// Of each parameter, `samples` elements' gradients against central differences.
inline void check_gradients_of(Subject& s, const Arranged& a, std::uint64_t seed, std::size_t samples) {
  s.differentiate(a.tokens, a.layout, a.targets);
  const auto loss = [&] { return s.loss(a.tokens, a.layout, a.targets); };
  for (const ParameterView& p : s.parameters()) {
    for (std::size_t n = 0; n < std::min(samples, p.size); ++n) {
      const std::size_t i = samples < p.size ? below(seed, nn::detail::hash(p.path), n, p.size) : n;
      const double found = p.gradient ? p.gradient[i] : 0;
      const auto is_close = [&](double numeric) {
        return std::abs(numeric - found) < 1e-6 * std::max(1e-2, std::abs(numeric));
      };
      double numeric = slope_at(p.data[i], 3e-4, loss);
      if (!is_close(numeric)) numeric = slope_at(p.data[i], 3e-5, loss);  // a norm of nearly nothing bends sharply
      INFO(p.path << "[" << i << "]: " << found << ", numerically " << numeric);
      CHECK(is_close(numeric));
    }
  }
}

/// All of it, of bridges at random. `fresh` has the same bases and fresh bridges, and afterwards s's.
inline void check_owed(Subject& s, Subject& fresh, const Texts& texts, Arrangement how, std::uint64_t seed) {
  const Arranged batch = arrange(texts, how);
  const auto alone = logits_alone(s, texts);
  check_causal(s, texts, how, seed);
  check_batch(s, texts, how, alone);
  check_cached(s, texts, seed, alone);
  check_gradients_of(s, batch, seed, 1);
  CHECK(s.folding_error() < 1e-12);
  check_file(s, fresh, batch);
}

/// Model, fresh and with bridges at random, in every arrangement of some texts.
template <class Model>
void check_owed(bool starts_as_anchor = true) {
  const Texts texts = random_texts(4, 9, nn::Vocab<typename Model::spec>::extent, 5);
  for (const Arrangement how : {Arrangement::right, Arrangement::left, Arrangement::packed}) {
    const auto fresh = subject<Model>(false), s = subject<Model>(true);
    check_counted(*fresh);
    if (starts_as_anchor) {
      check_is_anchor(*fresh, arrange(texts, how));
      check_can_learn(*fresh, arrange(texts, how));
    }
    check_owed(*s, *fresh, texts, how, 11);
    s->set_scales(0);
    check_is_anchor(*s, arrange(texts, how));
  }
}

}  // namespace calm::test
