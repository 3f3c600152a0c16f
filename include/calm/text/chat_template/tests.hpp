/// \file  What stands behind "is".
#pragma once

#include <string_view>

#include "calm/text/chat_template/arguments.hpp"
#include "calm/text/chat_template/machine.hpp"
#include "calm/text/chat_template/operators.hpp"
#include "calm/text/chat_template/value.hpp"

namespace calm::text::jinja {

/// The operator that a test with one argument is called by, or nothing.
inline std::string_view operator_of_test(std::string_view name) {
  if (name == "equalto" || name == "eq") return "==";
  if (name == "ne") return "!=";
  if (name == "lt" || name == "lessthan") return "<";
  if (name == "le") return "<=";
  if (name == "gt" || name == "greaterthan") return ">";
  if (name == "ge") return ">=";
  if (name == "in") return "in";
  return {};
}

/// v is name(given).
inline bool test(Machine& machine, std::string_view name, const Value& v, const Arguments& given) {
  machine.spend(1);
  const auto bound = [&](std::initializer_list<std::string_view> names) {
    return Bound(machine, "test " + shown(name), given, names);
  };
  if (const std::string_view comparison = operator_of_test(name); !comparison.empty())
    return compare(machine, comparison, v, bound({"other"}).need(0));
  const List* list = as_list(v);
  if (name == "odd" || name == "even" || name == "divisibleby") {
    const Bound args = name == "divisibleby" ? bound({"num"}) : bound({});
    const Value rest = arithmetic(machine, "%", v, name == "divisibleby" ? args.need(0) : Value(std::int64_t{2}));
    return equal(machine, rest, std::int64_t{name == "odd"});
  }
  bound({});
  if (name == "defined") return !holds<Undefined>(v);
  if (name == "undefined") return holds<Undefined>(v);
  if (name == "none") return holds<None>(v);
  if (name == "string") return as_text(v) != nullptr;
  if (name == "mapping") return as_dict(v) != nullptr;
  if (name == "iterable") return as_text(v) || list || as_dict(v) || holds<Undefined>(v);
  if (name == "sequence") return as_text(v) || (list && list->kind <= List::range) || as_dict(v) || holds<Undefined>(v);
  if (name == "boolean") return holds<bool>(v);
  if (name == "true") return holds<bool>(v) && std::get<bool>(v);
  if (name == "false") return holds<bool>(v) && !std::get<bool>(v);
  if (name == "integer") return holds<std::int64_t>(v);
  if (name == "float") return holds<double>(v);
  if (name == "number") return holds<bool>(v) || holds<std::int64_t>(v) || holds<double>(v);
  if (name == "callable") return holds<Callable>(v);
  machine.unsupported("test " + shown(name));
}

}  // namespace calm::text::jinja
