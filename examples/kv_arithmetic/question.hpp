/// \file  An expression as a person types it.
#pragma once

#include <cctype>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <calm/tensor/error.hpp>

#include "task.hpp"

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

}  // namespace kv
