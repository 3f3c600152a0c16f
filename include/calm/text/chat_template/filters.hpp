/// \file  What stands behind "|". Names, arguments and results are jinja2's, but for `tojson`, which is transformers'.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/text/chat_template/arguments.hpp"
#include "calm/text/chat_template/items.hpp"
#include "calm/text/chat_template/machine.hpp"
#include "calm/text/chat_template/methods.hpp"
#include "calm/text/chat_template/operators.hpp"
#include "calm/text/chat_template/print.hpp"
#include "calm/text/chat_template/python_text.hpp"
#include "calm/text/chat_template/tests.hpp"
#include "calm/text/chat_template/value.hpp"

namespace calm::text::jinja {

Value filter(Machine& machine, std::string_view name, const Value& v, const Arguments& given);

/// How many items a value has; fails if none can be counted.
inline Value length(Machine& machine, const Value& v) {
  std::size_t n = 0;
  if (const std::string* text = as_text(v))
    machine.read(text->size()), n = character_count(*text);
  else if (const List* list = as_list(v); list && list->kind != List::iterator)
    n = list->items.size();
  else if (const Dict* dict = as_dict(v))
    n = dict->items.size();
  else if (!holds<Undefined>(v))
    machine.fail("filter 'length': expected something with a length, found " + kind_of(v));
  return static_cast<std::int64_t>(n);
}

inline Value to_json(Machine& machine, const Value& v, const Bound& args) {
  JsonStyle style{.ensure_ascii = args.flag(0), .sort_keys = args.flag(3)};
  if (args[1] && !holds<None>(*args[1])) {
    const std::string* text = as_text(*args[1]);
    const std::int64_t width = text ? 0 : args.integer_or(1, 0);
    if (width > 64) args.fail("expected an indent of at most 64, found " + std::to_string(width));
    style.indent = text ? *text : std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
    style.between = ",";
  }
  if (args[2] && !holds<None>(*args[2])) {
    const List* pair = as_list(*args[2]);
    if (!pair || pair->items.size() != 2 || !as_text(pair->items[0]) || !as_text(pair->items[1]))
      args.fail("argument 'separators': expected two texts, found " + kind_of(*args[2]));
    style.between = *as_text(pair->items[0]);
    style.behind_key = *as_text(pair->items[1]);
  }
  Printer printer(machine);
  printer.json(v, style);
  return machine.text(printer.take());
}

/// Python's int(): 0, or `otherwise`, for what is none.
inline Value to_integer(Machine& machine, const Value& v, const Bound& args) {
  if (const auto i = as_integer(v)) return *i;
  if (holds<Undefined>(v)) machine.fail("filter 'int': found an undefined value");
  double d = 0;
  if (const std::string* text = as_text(v)) {
    std::string_view digits = strip(*text);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    std::int64_t i = 0;
    const char* const end = digits.data() + digits.size();
    const auto whole = std::from_chars(digits.data(), end, i);
    if (whole.ec == std::errc() && whole.ptr == end) return i;
    const auto real = std::from_chars(digits.data(), end, d);
    if (real.ec != std::errc() || real.ptr != end) return args[0] ? *args[0] : Value(std::int64_t{0});
  } else if (const double* number = std::get_if<double>(&v)) {
    d = *number;
  } else {
    return args[0] ? *args[0] : Value(std::int64_t{0});
  }
  if (!(std::abs(d) < 0x1p63)) machine.fail("filter 'int': makes a whole number of more than 64 bits");
  return static_cast<std::int64_t>(d);
}

/// Python's float(): 0.0, or `otherwise`, for what is none.
inline Value to_float(Machine& machine, const Value& v, const Bound& args) {
  if (const auto d = as_number(v)) return *d;
  if (holds<Undefined>(v)) machine.fail("filter 'float': found an undefined value");
  double d = 0;
  if (const std::string* text = as_text(v)) {
    std::string_view digits = strip(*text);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    const auto [ptr, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), d);
    if (ec == std::errc() && ptr == digits.data() + digits.size()) return d;
  }
  return args[0] ? *args[0] : Value(0.0);
}

inline Value indent(Machine& machine, const std::string& text, const Bound& args) {
  const std::string* given = args[0] ? as_text(*args[0]) : nullptr;
  const std::int64_t width = given ? 0 : args.integer_or(0, 4);
  if (width > 64) args.fail("expected a width of at most 64, found " + std::to_string(width));
  const std::string blank =
      given ? *given : std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
  std::string out;
  const std::string with_end = text + "\n";
  bool is_first = true;
  for (const std::string_view line : split_lines(machine, with_end, false)) {
    if (!is_first) machine.append(out, "\n");
    if (is_first ? args.flag(1) : args.flag(2) || !line.empty()) machine.append(out, blank);
    machine.append(out, line);
    is_first = false;
  }
  return machine.text(std::move(out));
}

/// What comes behind a filter's or test's name in map, select and their kin.
inline Arguments behind(const Arguments& given, std::size_t n) {
  Arguments out{.named = given.named};
  out.values.assign(given.values.begin() + static_cast<std::ptrdiff_t>(std::min(n, given.values.size())),
                    given.values.end());
  return out;
}
inline std::string name_at(Machine& machine, const std::string& what, const Arguments& given, std::size_t i) {
  const std::string* name = i < given.values.size() ? as_text(given.values[i]) : nullptr;
  if (!name) machine.fail(what + ": expected a name as a text, found none");
  return *name;
}

/// What map, select and their kin go through: nothing of none, 0 and whatever else is not true.
inline ListPtr elements_or_none(Machine& machine, const Value& v) {
  return machine.elements(is_true(v) ? v : Value(Undefined()));
}

/// map('filter', ...) or map(attribute='name', default=...).
inline Value map(Machine& machine, const Value& v, const Arguments& given) {
  std::vector<Value> out;
  const ListPtr items = elements_or_none(machine, v);
  if (given.values.empty()) {
    const Bound args(machine, "filter 'map'", given, {"attribute", "default"});
    for (const Value& item : items->items) {
      Value found = member_by_path(machine, item, args.need(0));
      out.push_back(holds<Undefined>(found) && args[1] ? *args[1] : std::move(found));
    }
  } else {
    const std::string name = name_at(machine, "filter 'map'", given, 0);
    const Arguments rest = behind(given, 1);
    for (const Value& item : items->items) out.push_back(filter(machine, name, item, rest));
  }
  return machine.list(std::move(out), List::iterator);
}

/// select, reject, selectattr and rejectattr: items for which a test holds, or which are true without one.
inline Value select(Machine& machine, std::string_view name, const Value& v, const Arguments& given) {
  const bool by_member = name.ends_with("attr"), wanted = name.starts_with("select");
  const std::size_t first = by_member ? 1 : 0;
  const std::string what = "filter " + shown(name);
  if (by_member && given.values.empty()) machine.fail(what + ": expected the name of an attribute, found none");
  const bool has_test = given.values.size() > first;
  const std::string test_name = has_test ? name_at(machine, what, given, first) : "";
  const Arguments rest = behind(given, first + 1);
  std::vector<Value> out;
  const ListPtr items = elements_or_none(machine, v);
  for (const Value& item : items->items) {
    const Value tested = by_member ? member_by_path(machine, item, given.values[0]) : item;
    if ((has_test ? test(machine, test_name, tested, rest) : is_true(tested)) == wanted) out.push_back(item);
  }
  return machine.list(std::move(out), List::iterator);
}

/// The first or last item; undefined if there is none.
inline Value end_item(Machine& machine, const Value& v, bool is_last) {
  if (is_last && as_list(v) && as_list(v)->kind == List::iterator)
    machine.fail("filter 'last': found an iterator; make a list of it by the filter 'list'");
  const ListPtr items = machine.elements(v);
  if (items->items.empty()) return Undefined();
  return is_last ? items->items.back() : items->items.front();
}

inline Value reversed(Machine& machine, const Value& v) {
  if (const std::string* text = as_text(v)) {
    const std::vector<std::string_view> all = characters(machine, *text);
    std::string out;
    for (std::size_t i = all.size(); i-- > 0;) out += all[i];
    return machine.text(std::move(out));
  }
  const ListPtr items = machine.elements(v);
  return machine.list({items->items.rbegin(), items->items.rend()}, List::iterator);
}

/// A dict's items in the order of their keys or values, in lower case unless told otherwise.
inline Value sorted_items(Machine& machine, const Value& v, const Bound& args) {
  if (!as_dict(v)) machine.fail("filter 'dictsort': expected a dict, found " + kind_of(v));
  const std::string* by = args.text_or_none(1);
  if (by && *by != "key" && *by != "value") args.fail("argument 'by': expected 'key' or 'value', found " + shown(*by));
  const std::size_t part = by && *by == "value" ? 1 : 0;
  const bool descends = args.flag(2);
  std::vector<std::pair<Value, Value>> items;  // what it is sorted by, and the item
  const Value pairs = dict_items(machine, *as_dict(v), List::list);
  for (const Value& pair : as_list(pairs)->items) {
    Value key = as_list(pair)->items[part];
    if (as_text(key) && !args.flag(0)) key = machine.text(change_case(machine, *as_text(key), Case::lower));
    const auto place = std::upper_bound(items.begin(), items.end(), key, [&](const Value& k, const auto& item) {
      return descends ? order(machine, item.first, k) < 0 : order(machine, k, item.first) < 0;
    });
    machine.spend(1 + items.size() / 8);
    items.emplace(place, std::move(key), pair);
  }
  std::vector<Value> out;
  for (auto& item : items) out.push_back(std::move(item.second));
  return machine.list(std::move(out));
}

/// Filters that take a text, or what str() makes of a value; undefined if `name` is none of them.
inline Value text_filter(Machine& machine, std::string_view name, const Value& v, const Arguments& given) {
  const auto bound = [&](std::initializer_list<std::string_view> names) {
    return Bound(machine, "filter " + shown(name), given, names);
  };
  constexpr std::string_view of_text[] = {"trim", "string", "upper", "lower", "capitalize", "indent", "reverse"};
  if (std::find(std::begin(of_text), std::end(of_text), name) != std::end(of_text))
    require_plain(machine, v, "filter " + shown(name));
  if (name == "trim") {
    const Bound args = bound({"chars"});
    return machine.text(strip_python(machine, str(machine, v), args.text_or_none(0), true, true));
  }
  if (name == "string") return bound({}), machine.text(str(machine, v));
  if (name == "upper") return bound({}), machine.text(change_case(machine, str(machine, v), Case::upper));
  if (name == "lower") return bound({}), machine.text(change_case(machine, str(machine, v), Case::lower));
  if (name == "capitalize") return bound({}), machine.text(change_case(machine, str(machine, v), Case::capitalize));
  if (name == "replace") {
    const Bound args = bound({"old", "new", "count"});
    const std::int64_t most = args[2] && !holds<None>(*args[2]) ? args.integer_or(2, -1) : -1;
    return machine.text(
        replace_python(machine, str(machine, v), str(machine, args.need(0)), str(machine, args.need(1)), most));
  }
  if (name == "indent") {
    if (!as_text(v)) machine.fail("filter 'indent': expected a text, found " + kind_of(v));
    return indent(machine, *as_text(v), bound({"width", "first", "blank"}));
  }
  return Undefined();
}

/// v | name(given).
inline Value filter(Machine& machine, std::string_view name, const Value& v, const Arguments& given) {
  machine.spend(1);
  const auto bound = [&](std::initializer_list<std::string_view> names) {
    return Bound(machine, "filter " + shown(name), given, names);
  };
  if (Value text = text_filter(machine, name, v, given); !holds<Undefined>(text)) return text;
  if (name == "tojson") return to_json(machine, v, bound({"ensure_ascii", "indent", "separators", "sort_keys"}));
  if (name == "length" || name == "count") return bound({}), length(machine, v);
  if (name == "default" || name == "d") {
    const Bound args = bound({"default_value", "boolean"});
    if (!holds<Undefined>(v) && (is_true(v) || !args.flag(1))) return v;
    return args[0] ? *args[0] : machine.text(std::string());
  }
  if (name == "join") {
    const Bound args = bound({"d", "attribute"});
    std::vector<Value> items = machine.elements(v)->items;
    if (args[1])
      for (Value& item : items) item = member_by_path(machine, item, *args[1]);
    return join(machine, args[0] ? str(machine, *args[0]) : "", items);
  }
  if (name == "first" || name == "last") return bound({}), end_item(machine, v, name == "last");
  if (name == "list") return bound({}), machine.list(machine.elements(v)->items);
  if (name == "int") return to_integer(machine, v, bound({"default"}));
  if (name == "float") return to_float(machine, v, bound({"default"}));
  if (name == "reverse") return bound({}), reversed(machine, v);
  if (name == "safe") return bound({}), SafeText{std::make_shared<const std::string>(str(machine, v))};
  if (name == "abs") {
    bound({});
    if (!as_number(v)) machine.fail("filter 'abs': expected a number, found " + kind_of(v));
    const bool is_negative = compare(machine, "<", v, std::int64_t{0});
    return arithmetic(machine, is_negative ? "-" : "+", std::int64_t{0}, v);
  }
  if (name == "items") {
    bound({});
    if (holds<Undefined>(v)) return machine.list({}, List::iterator);
    if (!as_dict(v)) machine.fail("filter 'items': expected a dict, found " + kind_of(v));
    return dict_items(machine, *as_dict(v), List::iterator);
  }
  if (name == "dictsort") return sorted_items(machine, v, bound({"case_sensitive", "by", "reverse"}));
  if (name == "map") return map(machine, v, given);
  if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr")
    return select(machine, name, v, given);
  machine.unsupported("filter " + shown(name));
}

}  // namespace calm::text::jinja
