/// \file  Expressions out of tokens, by the grammar of jinja2's parser.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/text/chat_template/lexer.hpp"
#include "calm/text/chat_template/source.hpp"
#include "calm/text/chat_template/syntax.hpp"

namespace calm::text::jinja {

/// Reads expressions; the parser of statements stands on it.
class ExpressionParser {
 public:
  explicit ExpressionParser(const Source& source) : source_(source), lexemes_(Lexer(source).run()) {}

  /// a if b else c, and whatever binds more tightly.
  ExpressionPtr expression() {
    const Nest nest(*this);
    ExpressionPtr out = disjunction();
    while (is_name("if")) {
      const std::size_t at = take().at;
      ExpressionPtr condition = disjunction();
      ExpressionPtr otherwise = skip_name("else") ? expression() : nullptr;
      out = node(Expression::conditional, at, "if", std::move(condition), std::move(out), std::move(otherwise));
    }
    return out;
  }

  /// One expression, or several with commas, which are a tuple. Without `conditional`, "if" ends it.
  ExpressionPtr expression_or_tuple(bool conditional = true) {
    const Nest nest(*this);
    const std::size_t at = now().at;
    std::vector<ExpressionPtr> parts;
    bool is_tuple = false;
    while (!ends_tuple()) {
      parts.push_back(conditional ? expression() : disjunction());
      if (!skip(",")) break;
      is_tuple = true;
    }
    if (!is_tuple && parts.size() == 1) return std::move(parts.front());
    if (!is_symbol(")") && parts.empty()) expected("an expression");
    return make(Expression::tuple, at, std::move(parts));
  }

 protected:
  /// Counts how deeply the parser is inside of itself.
  class Nest {
   public:
    explicit Nest(ExpressionParser& parser) : parser_(parser) {
      if (++parser_.nesting_ > max_nesting)
        parser_.fail("nests more than " + std::to_string(max_nesting) + " deep; simplify the template");
    }
    Nest(const Nest&) = delete;
    Nest& operator=(const Nest&) = delete;
    ~Nest() { --parser_.nesting_; }

   private:
    ExpressionParser& parser_;
  };

  const Lexeme& now() const { return lexemes_[i_]; }
  const Lexeme& ahead() const { return lexemes_[std::min(i_ + 1, lexemes_.size() - 1)]; }
  const Lexeme& take() { return lexemes_[i_ + 1 < lexemes_.size() ? i_++ : i_]; }
  bool is_symbol(std::string_view text) const { return now().kind == Lexeme::symbol && now().text == text; }
  bool is_name(std::string_view text) const { return now().kind == Lexeme::name && now().text == text; }
  bool skip(std::string_view symbol) { return is_symbol(symbol) && (take(), true); }
  bool skip_name(std::string_view name) { return is_name(name) && (take(), true); }
  void expect(std::string_view symbol) {
    if (!skip(symbol)) expected("'" + std::string(symbol) + "'");
  }
  std::string expect_any_name(const char* what) {
    if (now().kind != Lexeme::name) expected(what);
    return take().text;
  }

  [[noreturn]] void fail_at(std::size_t at, const std::string& what) const { source_.fail(at, what); }
  [[noreturn]] void fail(const std::string& what) const { fail_at(now().at, what); }
  [[noreturn]] void expected(const std::string& what) const {
    const bool has_text = !now().text.empty();
    fail("expected " + what + ", found " +
         (has_text                       ? shown(now().text)
          : now().kind == Lexeme::end    ? "the template's end"
          : now().kind == Lexeme::string ? "an empty text"
                                         : "the tag's end"));
  }

  ExpressionPtr make(Expression::Kind kind, std::size_t at, std::vector<ExpressionPtr> parts, std::string text = {}) {
    auto out = std::make_unique<Expression>();
    out->kind = kind;
    out->at = at;
    out->text = std::move(text);
    out->parts = std::move(parts);
    for (const ExpressionPtr& part : out->parts) deepen(*out, part.get());
    return out;
  }
  template <class... Part>
  ExpressionPtr node(Expression::Kind kind, std::size_t at, std::string text, Part... part) {
    std::vector<ExpressionPtr> parts;
    (parts.push_back(std::move(part)), ...);
    return make(kind, at, std::move(parts), std::move(text));
  }

  /// A filter's chain: `parsed` | name(...) | ..., and nothing else.
  ExpressionPtr filters(ExpressionPtr parsed) {
    while (skip("|")) {
      const std::size_t at = now().at;
      std::string name = expect_any_name("the name of a filter");
      parsed = node(Expression::filter, at, std::move(name), std::move(parsed));
      if (is_symbol("(")) arguments(*parsed);
    }
    return parsed;
  }

 private:
  void deepen(Expression& out, const Expression* part) const {
    if (part) out.depth = std::max(out.depth, part->depth + 1);
    if (out.depth > 2 * max_nesting)
      fail_at(out.at, "nests more than " + std::to_string(2 * max_nesting) + " deep; simplify the template");
  }

  bool ends_tuple() const {
    return now().kind == Lexeme::block_end || now().kind == Lexeme::print_end || is_symbol(")") || is_name("recursive");
  }

  ExpressionPtr disjunction() {
    ExpressionPtr out = conjunction();
    while (is_name("or")) {
      const std::size_t at = take().at;
      out = node(Expression::logical_or, at, "or", std::move(out), conjunction());
    }
    return out;
  }
  ExpressionPtr conjunction() {
    ExpressionPtr out = negation();
    while (is_name("and")) {
      const std::size_t at = take().at;
      out = node(Expression::logical_and, at, "and", std::move(out), negation());
    }
    return out;
  }
  ExpressionPtr negation() {
    if (!is_name("not")) return comparison();
    const Nest nest(*this);
    const std::size_t at = take().at;
    return node(Expression::logical_not, at, "not", negation());
  }

  /// The comparison that begins here, or nothing.
  std::string comparison_operator() {
    if (now().kind == Lexeme::symbol) {
      constexpr std::string_view all[] = {"==", "!=", "<", ">", "<=", ">="};
      if (std::find(std::begin(all), std::end(all), now().text) != std::end(all)) return take().text;
    }
    if (skip_name("in")) return "in";
    if (!is_name("not") || ahead().kind != Lexeme::name || ahead().text != "in") return {};
    take();
    take();
    return "not in";
  }
  ExpressionPtr comparison() {
    const std::size_t at = now().at;
    ExpressionPtr first = sum();
    std::string name = comparison_operator();
    if (name.empty()) return first;
    ExpressionPtr out = node(Expression::compare, at, "", std::move(first));
    for (; !name.empty(); name = comparison_operator()) {
      out->operators.push_back(std::move(name));
      out->parts.push_back(sum());
      deepen(*out, out->parts.back().get());
    }
    return out;
  }

  ExpressionPtr sum() {
    ExpressionPtr out = concatenation();
    while (is_symbol("+") || is_symbol("-")) {
      const Lexeme& sign = take();
      out = node(Expression::arithmetic, sign.at, sign.text, std::move(out), concatenation());
    }
    return out;
  }
  ExpressionPtr concatenation() {
    ExpressionPtr first = product();
    if (!is_symbol("~")) return first;
    ExpressionPtr out = node(Expression::concat, now().at, "~", std::move(first));
    while (skip("~")) {
      out->parts.push_back(product());
      deepen(*out, out->parts.back().get());
    }
    return out;
  }
  ExpressionPtr product() {
    ExpressionPtr out = unary(true);
    while (is_symbol("*") || is_symbol("/") || is_symbol("//") || is_symbol("%")) {
      const Lexeme& sign = take();
      out = node(Expression::arithmetic, sign.at, sign.text, std::move(out), unary(true));
    }
    if (is_symbol("**")) fail("'**' is not supported");
    return out;
  }

  ExpressionPtr unary(bool with_filters) {
    const Nest nest(*this);
    ExpressionPtr out;
    if (is_symbol("-") || is_symbol("+")) {
      const Lexeme& sign = take();
      out = node(sign.text == "-" ? Expression::negate : Expression::plus, sign.at, sign.text, unary(false));
    } else {
      out = primary();
    }
    out = postfix(std::move(out));
    while (with_filters) {
      if (is_symbol("|"))
        out = filters(std::move(out));
      else if (is_name("is"))
        out = test(std::move(out));
      else if (is_symbol("("))
        out = call(std::move(out));
      else
        break;
    }
    return out;
  }

  ExpressionPtr constant(std::size_t at, Value value) {
    ExpressionPtr out = node(Expression::constant, at, "");
    out->value = std::move(value);
    return out;
  }
  ExpressionPtr primary() {
    const std::size_t at = now().at;
    switch (now().kind) {
      case Lexeme::name: return name(at);
      case Lexeme::string: {
        std::string text;
        while (now().kind == Lexeme::string) text += take().text;
        return constant(at, std::make_shared<const std::string>(std::move(text)));
      }
      case Lexeme::integer: return constant(at, integer());
      case Lexeme::real: return constant(at, std::strtod(take().text.c_str(), nullptr));
      default: break;
    }
    if (skip("(")) {
      ExpressionPtr out = expression_or_tuple();
      expect(")");
      return out;
    }
    if (skip("[")) return sequence(Expression::list, at, "]");
    if (skip("{")) return sequence(Expression::dict, at, "}");
    expected("an expression");
  }
  ExpressionPtr name(std::size_t at) {
    std::string text = take().text;
    if (text == "true" || text == "True") return constant(at, true);
    if (text == "false" || text == "False") return constant(at, false);
    if (text == "none" || text == "None") return constant(at, None());
    return node(Expression::name, at, std::move(text));
  }
  std::int64_t integer() {
    const Lexeme& digits = now();
    std::int64_t out = 0;
    const char* end = digits.text.data() + digits.text.size();
    if (std::from_chars(digits.text.data(), end, out).ec != std::errc()) fail("a whole number of more than 64 bits");
    take();
    return out;
  }
  ExpressionPtr sequence(Expression::Kind kind, std::size_t at, std::string_view close) {
    std::vector<ExpressionPtr> parts;
    while (!is_symbol(close)) {
      parts.push_back(expression());
      if (kind == Expression::dict) {
        expect(":");
        parts.push_back(expression());
      }
      if (!is_symbol(close)) expect(",");
    }
    take();
    return make(kind, at, std::move(parts));
  }

  ExpressionPtr postfix(ExpressionPtr out) {
    while (true) {
      if (is_symbol("(")) {
        out = call(std::move(out));
      } else if (skip(".")) {
        const std::size_t at = now().at;
        if (now().kind == Lexeme::integer)
          out = node(Expression::item, at, "", std::move(out), constant(at, integer()));
        else
          out = node(Expression::attribute, at, expect_any_name("a name behind '.'"), std::move(out));
      } else if (is_symbol("[")) {
        out = subscript(std::move(out));
      } else {
        return out;
      }
    }
  }
  ExpressionPtr subscript(ExpressionPtr out) {
    const std::size_t at = take().at;
    ExpressionPtr parts[3];
    bool is_slice = false;
    for (std::size_t i = 0; i < 3; ++i) {
      if (!is_symbol(":") && !is_symbol("]")) parts[i] = expression();
      if (i == 2 || !skip(":")) break;
      is_slice = true;
    }
    if (is_symbol(",")) fail("several indices in one pair of brackets are not supported");
    if (!is_slice && !parts[0]) expected("an expression");
    expect("]");
    if (!is_slice) return node(Expression::item, at, "", std::move(out), std::move(parts[0]));
    return node(Expression::slice, at, "", std::move(out), std::move(parts[0]), std::move(parts[1]),
                std::move(parts[2]));
  }

  ExpressionPtr call(ExpressionPtr callee) {
    const std::size_t at = callee->at;
    ExpressionPtr out = node(Expression::call, at, "", std::move(callee));
    arguments(*out);
    return out;
  }
  void arguments(Expression& out) {
    expect("(");
    while (!is_symbol(")")) {
      if (is_symbol("*") || is_symbol("**")) fail("arguments out of a list or dict ('*', '**') are not supported");
      const bool is_named = now().kind == Lexeme::name && ahead().kind == Lexeme::symbol && ahead().text == "=";
      if (is_named) {
        std::string name = take().text;
        take();
        out.arguments.named.emplace_back(std::move(name), expression());
        deepen(out, out.arguments.named.back().second.get());
      } else {
        if (!out.arguments.named.empty()) fail("an argument without a name stands behind one with a name");
        out.arguments.values.push_back(expression());
        deepen(out, out.arguments.values.back().get());
      }
      if (!is_symbol(")")) expect(",");
    }
    take();
  }

  /// "is [not] name", with arguments in parentheses or one without.
  ExpressionPtr test(ExpressionPtr tested) {
    take();
    const bool is_negated = skip_name("not");
    const std::size_t at = now().at;
    ExpressionPtr out = node(Expression::test, at, expect_any_name("the name of a test"), std::move(tested));
    const auto kind = now().kind;
    const bool has_argument = kind == Lexeme::string || kind == Lexeme::integer || kind == Lexeme::real ||
                              is_symbol("[") || is_symbol("{") ||
                              (kind == Lexeme::name && !is_name("else") && !is_name("or") && !is_name("and"));
    if (is_symbol("(")) {
      arguments(*out);
    } else if (has_argument) {
      if (is_name("is")) fail("tests cannot follow one another; put 'and' between them");
      out->arguments.values.push_back(postfix(primary()));
      deepen(*out, out->arguments.values.back().get());
    }
    return is_negated ? node(Expression::logical_not, at, "not", std::move(out)) : std::move(out);
  }

  const Source& source_;
  std::vector<Lexeme> lexemes_;
  std::size_t i_ = 0;
  int nesting_ = 0;
};

}  // namespace calm::text::jinja
