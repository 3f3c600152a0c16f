/// \file  One expression, as a person types it, put to the augment, the anchor and their composition.
#pragma once

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/core.h>

#include <calm/tensor/error.hpp>

#include "experiment.hpp"

namespace kv {

/// An expression, and which of its operands were typed as keys.
struct Question {
  Expression expression;
  std::vector<bool> is_key;
};

/// The operand that `word` names: a key, or a number as the key whose value it is.
template <class S>
std::uint32_t read_operand(const KeyBook<S>& book, const std::string& word, bool& is_key) {
  is_key = !std::isdigit(static_cast<unsigned char>(word[0]));
  std::uint32_t number = S::keys;
  std::from_chars(word.data(), word.data() + word.size(), number);
  for (std::uint32_t key = 0; key < S::keys; ++key) {
    if (is_key ? book.name(key) == word : book.value(key) == number) return key;
  }
  if (!is_key) {
    throw calm::Error("ask: " + word + " is beyond the numbers of this scale; expected 0 to " +
                      std::to_string(S::keys - 1));
  }
  throw calm::Error("ask: \"" + word + "\" is none of the " + std::to_string(S::keys) +
                    " keys of this seed; expected one such as \"" + book.name(book.key(S::keys - 1)) +
                    "\"; `data` shows more");
}

/// Reads operands and operators, with blanks between. Throws `calm::Error` at what it does not understand.
template <class S>
Question read_question(const KeyBook<S>& book, const std::string& text) {
  Question q;
  std::istringstream in(text);
  bool operand = true;
  for (std::string word; in >> word; operand = !operand) {
    static constexpr std::string_view operators = "+-*";
    const auto op = word.size() == 1 ? operators.find(word) : std::string_view::npos;
    if (operand != (op == std::string_view::npos)) {
      throw calm::Error("ask: \"" + word + "\" stands where " + (operand ? "a key or a number" : "+, - or *") +
                        " is expected, in \"" + text + "\"");
    }
    bool is_key = false;
    if (operand) {
      q.expression.operands.push_back(read_operand(book, word, is_key));
      q.is_key.push_back(is_key);
    } else {
      q.expression.operators.push_back(static_cast<Operator>(op));
    }
  }
  const std::size_t n = q.expression.operands.size();
  if (operand || n < S::min_operands || n > S::max_operands) {
    throw calm::Error("ask: \"" + text + "\" has " + std::to_string(n) + " operands" +
                      (operand && n > 0 ? " and ends in an operator" : "") + "; this scale has expressions of " +
                      std::to_string(S::min_operands) + " to " + std::to_string(S::max_operands));
  }
  return q;
}

/// Prints what each model answers, with the working, beside the truth.
template <class S>
void ask(Experiment<S>& experiment, const std::string& text) {
  const Question q = read_question(experiment.book(), text);
  Example right;
  Writer<S>(experiment.book()).write_mixed(q.expression, q.is_key, right);
  const std::vector<Index> prompt(right.tokens.begin(),
                                  right.tokens.begin() + static_cast<std::ptrdiff_t>(right.prompt));
  const auto answer = [&](const std::string& name, const auto& model) {
    const auto found =
        calm::generate(model, prompt, {.max_new_tokens = S::context - prompt.size(), .end_token = S::end});
    fmt::print("{:<9} {}\n", name, show<S>(experiment.book(), found));
  };
  fmt::print("{:<9} {}\n", "asked", show<S>(experiment.book(), prompt));
  answer("augment", *experiment.template base<Augment<S>>("augment"));
  answer("anchor", *experiment.template base<Anchor<S>>("anchor"));
  answer("composed", *experiment.composed());
  right.tokens.pop_back();
  right.tokens.erase(right.tokens.begin(), right.tokens.begin() + static_cast<std::ptrdiff_t>(right.prompt));
  fmt::print("{:<9} {}\n", "truth", show<S>(experiment.book(), right.tokens));
}

}  // namespace kv
