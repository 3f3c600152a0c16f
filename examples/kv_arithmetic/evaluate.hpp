/// \file  Free-running greedy decoding and exact match.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include <calm/generate/generate.hpp>

#include "task.hpp"

namespace kv {

/// Exact match in percent, by set.
struct Scores {
  double substitution = 0, numeric = 0, math = 0;
};

/// The share, in percent, of `count` expressions of `keys` whose whole answer in `set` the model writes.
template <class S, class Model>
double evaluate(const Model& model, const KeyBook<S>& book, Set set, Keys keys, std::size_t count) {
  static constexpr std::size_t batch = 250;
  const Writer<S> writer(book);
  std::size_t right = 0;
  for (std::size_t done = 0; done < count; done += batch) {
    std::vector<std::vector<Index>> prompts, answers;
    Expression e;
    Example text;
    std::size_t longest = 0;
    for (std::size_t i = done; i < std::min(done + batch, count); ++i) {
      draw(book, keys, {0x7e57, 99}, i, e);  // a stream of the evaluation's own, the same for every model
      writer.write(set, e, text);
      const auto question = text.tokens.begin() + static_cast<std::ptrdiff_t>(text.prompt);
      prompts.emplace_back(text.tokens.begin(), question);
      answers.emplace_back(question, text.tokens.end() - 1);
      longest = std::max(longest, answers.back().size());
    }
    const auto found = calm::generate(model, std::span<const std::vector<Index>>(prompts),
                                      {.max_new_tokens = longest + 1, .end_token = S::end});
    for (std::size_t i = 0; i < found.size(); ++i) {
      right += result_of<S>(set, found[i]) == result_of<S>(set, answers[i]);
    }
  }
  return 100.0 * static_cast<double>(right) / static_cast<double>(count);
}

template <class S, class Model>
Scores evaluate_all(const Model& model, const KeyBook<S>& book, Keys keys, std::size_t count) {
  return {evaluate(model, book, Set::substitution, keys, count), evaluate(model, book, Set::numeric, keys, count),
          evaluate(model, book, Set::math, keys, count)};
}

}  // namespace kv
