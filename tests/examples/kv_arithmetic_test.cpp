// The data of the key-value arithmetic: what is asked, what is right, and who has seen which key.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "examples/kv_arithmetic/question.hpp"
#include "examples/kv_arithmetic/task.hpp"

namespace {

using namespace kv;
using S = Scale<1000, 3, 2, 3>;

/// The value of an expression, products first.
std::int64_t value_of(const KeyBook<S>& book, const Expression& e) {
  std::int64_t sum = 0, term = book.value(e.operands[0]), sign = 1;
  for (std::size_t k = 0; k < e.operators.size(); ++k) {
    const std::int64_t next = book.value(e.operands[k + 1]);
    if (e.operators[k] == Operator::times) {
      term *= next;
    } else {
      sum += sign * term;
      sign = e.operators[k] == Operator::plus ? 1 : -1;
      term = next;
    }
  }
  return sum + sign * term;
}

/// The number behind the last sign of an answer, lowest digit first.
std::int64_t result_in(const std::vector<Index>& tokens) {
  const auto last = result_of<S>(Set::math, tokens);
  std::int64_t n = 0;
  for (std::size_t i = last.size(); i-- > 1;) n = 10 * n + (last[i] - S::digit);
  return last.at(0) == S::op + static_cast<Index>(Operator::minus) ? -n : n;
}

std::vector<Index> answer_of(const Example& e) {
  return {e.tokens.begin() + static_cast<std::ptrdiff_t>(e.prompt), e.tokens.end() - 1};
}

TEST_CASE("every key has a value of its own, and a fifth of the keys is held in") {
  const KeyBook<S> book(3);
  std::set<std::uint32_t> values, keys;
  std::set<std::string> names;
  for (std::uint32_t k = 0; k < S::keys; ++k) {
    values.insert(book.value(k));
    keys.insert(book.key(k));
    names.insert(book.name(k));
    CHECK(book.name(k).size() >= 2);
    CHECK(book.name(k).size() <= 6);
  }
  CHECK(values.size() == S::keys);
  CHECK(*values.rbegin() == S::keys - 1);
  CHECK(keys.size() == S::keys);
  CHECK(names.size() == S::keys);
  CHECK(book.held_in() == S::keys / 5);
}

TEST_CASE("expressions to evaluate hold no key of D_C, and those of D_C no other") {
  const KeyBook<S> book(1);
  std::set<std::uint32_t> in;
  for (std::size_t i = 0; i < book.held_in(); ++i) in.insert(book.key(i));
  Expression e;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    draw(book, Keys::held_in, {1, 12}, i, e);
    CHECK(std::all_of(e.operands.begin(), e.operands.end(), [&](auto k) { return in.contains(k); }));
    draw(book, Keys::held_out, {1, 99}, i, e);
    CHECK(std::none_of(e.operands.begin(), e.operands.end(), [&](auto k) { return in.contains(k); }));
  }
}

TEST_CASE("answers end in the value of the expression, and fit the context") {
  const KeyBook<S> book(2);
  const Writer<S> writer(book);
  Expression e;
  Example numeric, math, substitution;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    draw(book, Keys::all, {4, 4}, i, e);
    writer.write(Set::numeric, e, numeric);
    writer.write(Set::math, e, math);
    writer.write(Set::substitution, e, substitution);
    INFO(show<S>(book, numeric.tokens));
    CHECK(result_in(answer_of(numeric)) == value_of(book, e));
    CHECK(answer_of(math) == answer_of(numeric));
    CHECK(std::equal(numeric.tokens.begin(), numeric.tokens.begin() + static_cast<std::ptrdiff_t>(numeric.prompt) - 1,
                     answer_of(substitution).begin()));
    CHECK(numeric.tokens.size() <= S::context);
    CHECK(std::none_of(numeric.tokens.begin(), numeric.tokens.end(), [](Index t) { return t >= S::filler; }));
  }
}

TEST_CASE("a question is read, or refused with what is wrong with it") {
  using Catch::Contains;
  const KeyBook<S> book(1);
  const std::string key = book.name(5);
  const Question q = read_question(book, key + " * 12 - 7");
  CHECK(q.expression.operands[0] == 5);
  CHECK(book.value(q.expression.operands[1]) == 12);
  CHECK(q.expression.operators == std::vector<Operator>{Operator::times, Operator::minus});
  CHECK(q.is_key == std::vector<bool>{true, false, false});

  CHECK_THROWS_WITH(read_question(book, "toolong + 3"),
                    Contains("\"toolong\" is none of the 1000 keys of this seed; expected one such as"));
  CHECK_THROWS_WITH(read_question(book, "1000 + 3"),
                    "ask: 1000 is beyond the numbers of this scale; expected 0 to 999");
  CHECK_THROWS_WITH(read_question(book, "3 4"), Contains("\"4\" stands where +, - or * is expected"));
  CHECK_THROWS_WITH(read_question(book, "3 + *"), Contains("\"*\" stands where a key or a number is expected"));
  CHECK_THROWS_WITH(read_question(book, "3 + 4 -"), Contains("has 2 operands and ends in an operator"));
  CHECK_THROWS_WITH(read_question(book, ""), Contains("has 0 operands; this scale has expressions of 2 to 3"));
}

}  // namespace
