/// \file  The key-value arithmetic of the paper's §4.1: keys, expressions, and the three sets made of them.
///
/// An operand always takes `digits` tokens: a number is its digits, zero-padded; a key is one token of its own (the
/// paper draws keys from the tokenizer's vocabulary) and fillers behind it. With two digits:
///
///     KV-Substitution    zorb _ - ek _ :  ->  1 7 - 4 2
///     Numeric-Arithmetic 1 7 - 4 2 =      ->  - 5 2         (-25: sign first, lowest digit first)
///     KV-Math            zorb _ - ek _ =  ->  - 5 2
///
/// A product shows its working, one partial product for each digit: 1 7 * 4 2 = -> 4 3 0 8 6 0 + 4 1 7 (34, 68, 714),
/// and so does every intermediate result of longer expressions. What counts is the result at the end.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include <calm/tensor/philox.hpp>
#include <calm/train/batch.hpp>

namespace kv {

using calm::Index;
using calm::RandomKey;
using calm::train::Example;

enum class Set { substitution, numeric, math };
enum class Operator : std::uint8_t { plus, minus, times };

/// How large the task is.
template <std::size_t Keys, std::size_t Digits, std::size_t MinOperands, std::size_t MaxOperands>
struct Scale {
  static constexpr std::size_t keys = Keys;      ///< keys of the augment; values are 0 … keys-1, each once
  static constexpr std::size_t digits = Digits;  ///< of a value
  static constexpr std::size_t min_operands = MinOperands;
  static constexpr std::size_t max_operands = MaxOperands;

  // The vocabulary. The last `keys` tokens are the keys of the control that knows other keys.
  static constexpr Index end = 0, digit = 1, op = 11, equals = 14, colon = 15, filler = 16, key = 17;
  static constexpr std::size_t vocab = static_cast<std::size_t>(key) + 2 * keys;
  /// The longest text: the expression, and the working of max_operands - 1 products.
  static constexpr std::size_t context =
      2 * max_operands * (digits + 1) +
      (max_operands - 1) * (digits * (max_operands * digits + 1) + max_operands * digits + 2) + 8;
};

/// What two CPU cores train in minutes.
using DefaultScale = Scale<1000, 3, 2, 3>;

/// Operands by index (of a key, or the value itself), and the operators between them.
struct Expression {
  std::vector<std::uint32_t> operands;
  std::vector<Operator> operators;
};

/// Which keys an expression is drawn from.
enum class Keys { all, held_in, held_out };

/// Places [first, last) in a book's random order of keys.
struct KeyRange {
  std::size_t first, last;
};

/// Keys with their values. A function of the seed alone.
template <class S>
class KeyBook {
 public:
  explicit KeyBook(std::uint64_t seed) : order_(permutation({seed, 1})), values_(permutation({seed, 2})) {
    std::set<std::string> taken;
    for (std::uint64_t i = 0; names_.size() < 2 * S::keys; ++i) {
      std::string name(2 + calm::random_below({seed, 3}, 7 * i, 5), ' ');
      for (std::size_t c = 0; c < name.size(); ++c) {
        name[c] = static_cast<char>('a' + calm::random_below({seed, 3}, 7 * i + 1 + c, 26));
      }
      if (taken.insert(name).second) names_.push_back(name);
    }
  }

  /// Key `i` of the keys in random order; the first `held_in()` make D_C, the others are for evaluation.
  std::uint32_t key(std::size_t i) const { return order_[i]; }
  static constexpr std::size_t held_in() { return S::keys / 5; }
  static constexpr KeyRange range(Keys keys) {
    return {keys == Keys::held_out ? held_in() : 0, keys == Keys::held_in ? held_in() : S::keys};
  }
  std::uint32_t value(std::uint32_t key) const { return values_[key]; }
  const std::string& name(std::uint32_t key) const { return names_[key]; }

 private:
  static std::vector<std::uint32_t> permutation(RandomKey random) {
    std::vector<std::uint32_t> p(S::keys);
    for (std::uint32_t i = 0; i < S::keys; ++i) p[i] = i;
    for (std::uint32_t i = S::keys; i > 1; --i) std::swap(p[i - 1], p[calm::random_below(random, i, i)]);
    return p;
  }

  std::vector<std::uint32_t> order_, values_;
  std::vector<std::string> names_;
};

/// Expression number `i` of the stream `random`. Operands are keys; for numbers, take the keys' values.
template <class S>
void draw(const KeyBook<S>& book, KeyRange keys, RandomKey random, std::uint64_t i, Expression& out) {
  const auto count = static_cast<std::uint32_t>(keys.last - keys.first);
  const std::uint64_t at = i * 16;
  const std::size_t n =
      S::min_operands +
      calm::random_below(random, at, static_cast<std::uint32_t>(S::max_operands - S::min_operands + 1));
  out.operands.resize(n);
  out.operators.resize(n - 1);
  for (std::size_t k = 0; k < n; ++k) {
    out.operands[k] = book.key(keys.first + calm::random_below(random, at + 1 + k, count));
    if (k + 1 < n) out.operators[k] = static_cast<Operator>(calm::random_below(random, at + 8 + k, 3));
  }
}

template <class S>
void draw(const KeyBook<S>& book, Keys keys, RandomKey random, std::uint64_t i, Expression& out) {
  draw(book, book.range(keys), random, i, out);
}

/// Writes texts of the three sets in tokens.
template <class S>
class Writer {
 public:
  /// `other_keys`: the same values under other keys, which no evaluation uses (the vanilla control).
  explicit Writer(const KeyBook<S>& book, bool other_keys = false)
      : book_(&book), first_key_(S::key + (other_keys ? static_cast<Index>(S::keys) : 0)) {}

  /// The text of `e` in `set`: the expression, the question mark of the set, the answer, the end.
  void write(Set set, const Expression& e, Example& out) const {
    out.tokens.clear();
    out.labels.clear();
    expression(e, set != Set::numeric, out.tokens);
    out.tokens.push_back(set == Set::substitution ? S::colon : S::equals);
    out.prompt = out.tokens.size();
    if (set == Set::substitution)
      expression(e, false, out.tokens);
    else
      answer(e, out.tokens);
    out.tokens.push_back(S::end);
  }

  /// KV-Math among numbers: operand k is a key where is_key[k], else its value.
  void write_mixed(const Expression& e, const std::vector<bool>& is_key, Example& out) const {
    out.tokens.clear();
    out.labels.clear();
    for (std::size_t k = 0; k < e.operands.size(); ++k) operand(e, k, is_key[k], out.tokens);
    out.tokens.push_back(S::equals);
    out.prompt = out.tokens.size();
    answer(e, out.tokens);
    out.tokens.push_back(S::end);
  }

  /// Numbers to be written again: "1 7 + 0 5 :" -> "1 7 + 0 5". The anchor's general skill of copying.
  void write_echo(const Expression& e, Example& out) const {
    out.tokens.clear();
    out.labels.clear();
    expression(e, false, out.tokens);
    out.tokens.push_back(S::colon);
    out.prompt = out.tokens.size();
    expression(e, false, out.tokens);
    out.tokens.push_back(S::end);
  }

  /// KV-Substitution in place: at each token of an operand, the digit that stands there once keys are replaced. With
  /// `as_keys` false the operands are numbers, which stay as they are.
  void write_in_place(const Expression& e, bool as_keys, Example& out) const {
    out.tokens.clear();
    out.labels.clear();
    out.prompt = 0;
    expression(e, as_keys, out.tokens);
    expression(e, false, out.labels);
    for (Index& label : out.labels) {
      if (label >= S::op) label = calm::ignored_target;
    }
  }

 private:
  void expression(const Expression& e, bool as_keys, std::vector<Index>& out) const {
    for (std::size_t k = 0; k < e.operands.size(); ++k) operand(e, k, as_keys, out);
  }
  /// Operand `k`, with the operator before it.
  void operand(const Expression& e, std::size_t k, bool as_key, std::vector<Index>& out) const {
    if (k > 0) out.push_back(S::op + static_cast<Index>(e.operators[k - 1]));
    if (as_key) {
      out.push_back(first_key_ + static_cast<Index>(e.operands[k]));
      out.insert(out.end(), S::digits - 1, S::filler);
    } else {
      number(book_->value(e.operands[k]), out);
    }
  }
  void number(std::uint32_t value, std::vector<Index>& out) const {
    std::array<Index, S::digits> d;
    for (std::size_t i = S::digits; i-- > 0; value /= 10) d[i] = S::digit + static_cast<Index>(value % 10);
    out.insert(out.end(), d.begin(), d.end());
  }
  /// Usual precedence: products first, each with its partial products, then sums from left to right.
  void answer(const Expression& e, std::vector<Index>& out) const {
    std::vector<std::int64_t> terms;
    for (std::size_t k = 0; k < e.operands.size(); ++k) {
      std::int64_t term = book_->value(e.operands[k]);
      for (std::size_t width = S::digits; k < e.operators.size() && e.operators[k] == Operator::times; ++k) {
        const std::int64_t next = book_->value(e.operands[k + 1]);
        std::int64_t rest = next;
        for (std::size_t d = 0; d < S::digits; ++d, rest /= 10) digits_low_first(term * (rest % 10), width + 1, out);
        term *= next;
        width += S::digits;
        signed_result(term, out);
      }
      terms.push_back(term);
    }
    std::int64_t sum = terms[0];
    std::size_t term = 1;
    for (Operator o : e.operators) {
      if (o == Operator::times) continue;
      sum += o == Operator::plus ? terms[term] : -terms[term];
      ++term;
      signed_result(sum, out);
    }
  }
  static void signed_result(std::int64_t value, std::vector<Index>& out) {
    out.push_back(S::op + static_cast<Index>(value < 0 ? Operator::minus : Operator::plus));
    digits_low_first(std::llabs(value), 1, out);
  }
  /// At least `width` digits.
  static void digits_low_first(std::int64_t value, std::size_t width, std::vector<Index>& out) {
    for (std::size_t i = 0; i < width || value > 0; ++i, value /= 10) {
      out.push_back(S::digit + static_cast<Index>(value % 10));
    }
  }

  const KeyBook<S>* book_;
  Index first_key_;
};

/// What counts of an answer: all of a substitution, else the last signed result.
template <class S>
std::vector<Index> result_of(Set set, const std::vector<Index>& answer) {
  if (set == Set::substitution) return answer;
  const auto is_sign = [](Index t) { return t >= S::op && t < S::equals; };
  const auto sign = std::find_if(answer.rbegin(), answer.rend(), is_sign);
  return sign == answer.rend() ? std::vector<Index>{} : std::vector<Index>(std::prev(sign.base()), answer.end());
}

/// Tokens as text, for people.
template <class S>
std::string show(const KeyBook<S>& book, const std::vector<Index>& tokens) {
  std::string text;
  for (Index t : tokens) {
    if (!text.empty()) text += ' ';
    if (t >= S::key)
      text +=
          static_cast<std::size_t>(t - S::key) < 2 * S::keys ? book.name(static_cast<std::uint32_t>(t - S::key)) : "?";
    else if (t >= S::op)
      text += std::string("+-*=:_")[static_cast<std::size_t>(t - S::op)];
    else if (t >= S::digit)
      text += static_cast<char>('0' + (t - S::digit));
    else
      text += "<end>";
  }
  return text;
}

}  // namespace kv
