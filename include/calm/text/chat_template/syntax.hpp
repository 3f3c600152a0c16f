/// \file  What a template is made of: expressions and statements.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "calm/text/chat_template/value.hpp"

namespace calm::text::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

/// What stands in the parentheses of a call, a filter or a test.
struct CallArguments {
  std::vector<ExpressionPtr> values;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

struct Expression {
  enum Kind {
    constant,     ///< `value`
    name,         ///< `text`
    list,         ///< [parts]
    tuple,        ///< (parts)
    dict,         ///< {parts[0]: parts[1], ...}
    attribute,    ///< parts[0].text
    item,         ///< parts[0][parts[1]]
    slice,        ///< parts[0][parts[1]:parts[2]:parts[3]], null where nothing stands
    call,         ///< parts[0](arguments)
    filter,       ///< parts[0] | text(arguments)
    test,         ///< parts[0] is text(arguments)
    negate,       ///< -parts[0]
    plus,         ///< +parts[0]
    logical_not,  ///< not parts[0]
    logical_and,  ///< parts[0] and parts[1]
    logical_or,   ///< parts[0] or parts[1]
    arithmetic,   ///< parts[0] text parts[1]
    concat,       ///< parts[0] ~ parts[1] ~ ...
    compare,      ///< parts[0] operators[0] parts[1] operators[1] ...
    conditional,  ///< parts[1] if parts[0] else parts[2], which may be null
  };
  Kind kind = constant;
  std::size_t at = 0;  ///< byte of the source
  std::string text{};
  Value value{};
  std::vector<ExpressionPtr> parts{};
  std::vector<std::string> operators{};
  CallArguments arguments{};
  int depth = 1;  ///< of the tree
};

/// What is assigned to: a name, or a member of a namespace.
struct Target {
  std::size_t at = 0;
  std::string name{}, member{};
};

struct Statement {
  enum Kind {
    text,        ///< `name` is written as it is
    print,       ///< {{ condition }}
    branch,      ///< if/elif: body holds an `arm` for each, other what follows 'else'
    arm,         ///< body, where condition holds
    loop,        ///< for targets in source if condition: body, else: other
    assign,      ///< set targets = source
    assign_all,  ///< set targets: body, through the filters of source
    macro,       ///< macro name(parameters): body
    leave,       ///< break
    next,        ///< continue
    generation,  ///< body is what the assistant says
  };
  struct Parameter {
    std::string name;
    ExpressionPtr otherwise;
  };
  Kind kind = text;
  std::size_t at = 0;
  std::string name{};
  ExpressionPtr condition{}, source{};
  std::vector<Target> targets{};
  std::vector<Parameter> parameters{};
  std::vector<Statement> body{}, other{};
};

}  // namespace calm::text::jinja
