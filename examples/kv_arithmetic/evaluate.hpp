/// \file  Free-running greedy decoding and exact match.
#pragma once

#include <algorithm>
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

/// The share, in percent, of `count` expressions of `keys`, as `write(set, expression, text)` writes them, whose result
/// in `set` the model gives.
template <class S, class Model, class Write>
double evaluate_written(const Model& model, const KeyBook<S>& book, Set set, KeyRange keys, std::size_t count,
                        const Write& write) {
  static constexpr std::size_t batch = 250;
  std::size_t right = 0;
  for (std::size_t done = 0; done < count; done += batch) {
    std::vector<std::vector<Index>> prompts, answers;
    Expression e;
    Example text;
    std::size_t longest = 0;
    for (std::size_t i = done; i < std::min(done + batch, count); ++i) {
      draw(book, keys, {0x7e57, 99}, i, e);  // a stream of the evaluation's own, the same for every model
      write(set, e, text);
      const auto question = text.tokens.begin() + static_cast<std::ptrdiff_t>(text.prompt);
      prompts.emplace_back(text.tokens.begin(), question);
      answers.emplace_back(question, text.tokens.end() - 1);
      longest = std::max(longest, answers.back().size());
    }
    const auto found = calm::generate(model, std::span<const std::vector<Index>>(prompts),
                                      {.max_new_tokens = longest + 1, .end_tokens = {S::end}});
    for (std::size_t i = 0; i < found.size(); ++i) {
      right += result_of<S>(set, found[i]) == result_of<S>(set, answers[i]);
    }
  }
  return 100.0 * static_cast<double>(right) / static_cast<double>(count);
}

/// The same, written as usual.
template <class S, class Model>
double evaluate(const Model& model, const KeyBook<S>& book, Set set, KeyRange keys, std::size_t count) {
  const Writer<S> writer(book);
  return evaluate_written(model, book, set, keys, count,
                          [&](Set s, const Expression& e, Example& text) { writer.write(s, e, text); });
}

template <class S, class Model>
Scores evaluate_all(const Model& model, const KeyBook<S>& book, KeyRange keys, std::size_t count) {
  return {evaluate(model, book, Set::substitution, keys, count), evaluate(model, book, Set::numeric, keys, count),
          evaluate(model, book, Set::math, keys, count)};
}

}  // namespace kv
