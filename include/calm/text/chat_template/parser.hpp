/// \file  Statements out of tokens, by the grammar of jinja2's parser.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/text/chat_template/expression_parser.hpp"
#include "calm/text/chat_template/source.hpp"
#include "calm/text/chat_template/syntax.hpp"

namespace calm::text::jinja {

/// Reads a whole template. Throws `Error` for whatever is outside of the language, by name and place.
class Parser : private ExpressionParser {
 public:
  explicit Parser(const Source& source) : ExpressionParser(source) {}

  std::vector<Statement> run() { return statements({}, 0, ""); }
  /// Whether the template says what the assistant's words are, by {% generation %}.
  bool has_generation() const { return has_generation_; }

 private:
  /// What stands up to one of the statements `ends`, whose name is left to be read; without any, up to the end.
  std::vector<Statement> statements(std::initializer_list<std::string_view> ends, std::size_t begin, const char* of) {
    const Nest nest(*this);
    std::vector<Statement> out;
    while (now().kind != Lexeme::end) {
      Statement next{.at = now().at};
      if (now().kind == Lexeme::plain) {
        next.name = take().text;
      } else if (now().kind == Lexeme::print_begin) {
        take();
        next.kind = Statement::print;
        next.condition = expression_or_tuple();
        close(Lexeme::print_end, "'}}'");
      } else {
        take();
        if (now().kind != Lexeme::name) expected("the name of a statement");
        if (std::find(ends.begin(), ends.end(), now().text) != ends.end()) return out;
        statement(next);
      }
      out.push_back(std::move(next));
    }
    if (ends.size() > 0)
      fail_at(begin, std::string("'") + of + "' has no end, '" + std::string(*(ends.end() - 1)) + "'");
    return out;
  }

  void close(Lexeme::Kind kind, const char* what) {
    if (now().kind != kind) expected(what);
    take();
  }
  void end_tag() { close(Lexeme::block_end, "'%}'"); }
  /// The tag {% name %} that ends a statement.
  void end_statement() {
    take();
    end_tag();
  }

  void statement(Statement& out) {
    out.at = now().at;
    const std::string name = take().text;
    if (name == "if") return branch(out);
    if (name == "for") return loop(out);
    if (name == "set") return assign(out);
    if (name == "macro") return macro(out);
    if (name == "generation") return generation(out);
    if (name == "break" || name == "continue") {
      out.kind = name == "break" ? Statement::leave : Statement::next;
      if (loops_ == 0) fail_at(out.at, shown(name) + " stands in no loop");
      return end_tag();
    }
    if (name.starts_with("end") || name == "else" || name == "elif")
      fail_at(out.at, shown(name) + " ends nothing that is open here");
    fail_at(out.at,
            "statement " + shown(name) +
                " is not supported; templates may use if, for, set, macro, break, continue, generation and raw");
  }

  void branch(Statement& out) {
    out.kind = Statement::branch;
    do {
      Statement arm{.kind = Statement::arm, .at = now().at};
      arm.condition = expression_or_tuple(false);
      end_tag();
      arm.body = statements({"elif", "else", "endif"}, out.at, "if");
      out.body.push_back(std::move(arm));
    } while (skip_name("elif"));
    if (is_name("else")) {
      end_statement();
      out.other = statements({"endif"}, out.at, "if");
    }
    end_statement();
  }

  void loop(Statement& out) {
    out.kind = Statement::loop;
    out.targets = targets(false);
    if (!skip_name("in")) expected("'in'");
    out.source = expression_or_tuple(false);
    if (skip_name("if")) out.condition = expression();
    if (is_name("recursive")) fail("recursive loops are not supported");
    end_tag();
    ++loops_;
    out.body = statements({"else", "endfor"}, out.at, "for");
    --loops_;
    if (is_name("else")) {
      end_statement();
      out.other = statements({"endfor"}, out.at, "for");
    }
    end_statement();
  }

  void assign(Statement& out) {
    out.targets = targets(true);
    if (skip("=")) {
      out.kind = Statement::assign;
      out.source = expression_or_tuple();
      return end_tag();
    }
    if (out.targets.size() > 1) expected("'='");
    out.kind = Statement::assign_all;
    out.source = filters(nullptr);
    end_tag();
    out.body = apart({"endset"}, out.at, "set");
    end_statement();
  }

  void macro(Statement& out) {
    out.kind = Statement::macro;
    if (nesting() > 0) fail_at(out.at, "a macro inside of a loop, a macro or a 'set' is not supported");
    out.name = expect_any_name("the macro's name");
    expect("(");
    while (!is_symbol(")")) {
      Statement::Parameter& parameter = out.parameters.emplace_back();
      parameter.name = expect_any_name("a parameter's name");
      if (skip("="))
        parameter.otherwise = expression();
      else if (out.parameters.size() > 1 && out.parameters.rbegin()[1].otherwise)
        fail("a parameter without a default stands behind one with a default");
      if (!is_symbol(")")) expect(",");
    }
    take();
    end_tag();
    out.body = apart({"endmacro"}, out.at, "macro");
    end_statement();
  }

  void generation(Statement& out) {
    out.kind = Statement::generation;
    has_generation_ = true;
    end_tag();
    const int loops = std::exchange(loops_, 0);
    out.body = statements({"endgeneration"}, out.at, "generation");
    loops_ = loops;
    end_statement();
  }

  /// Statements that no break or continue leaves, and in which no macro stands.
  std::vector<Statement> apart(std::initializer_list<std::string_view> ends, std::size_t begin, const char* of) {
    const int loops = std::exchange(loops_, 0);
    ++apart_;
    std::vector<Statement> out = statements(ends, begin, of);
    --apart_;
    loops_ = loops;
    return out;
  }
  int nesting() const { return loops_ + apart_; }

  std::vector<Target> targets(bool members) {
    std::vector<Target> out;
    const bool in_parentheses = skip("(");
    do {
      Target& target = out.emplace_back();
      target.at = now().at;
      if (now().kind == Lexeme::symbol) fail("expected a name to assign to; other targets are not supported");
      target.name = expect_any_name("a name to assign to");
      constexpr std::string_view constants[] = {"true", "false", "none", "True", "False", "None", "loop"};
      if (std::find(std::begin(constants), std::end(constants), target.name) != std::end(constants))
        fail_at(target.at, "expected a name to assign to, found " + shown(target.name));
      if (members && skip(".")) target.member = expect_any_name("a name behind '.'");
    } while (skip(","));
    if (in_parentheses) expect(")");
    return out;
  }

  bool has_generation_ = false;
  int loops_ = 0;  ///< that are open here
  int apart_ = 0;
};

}  // namespace calm::text::jinja
