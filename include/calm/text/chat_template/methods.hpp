/// \file  The methods of texts and dicts that a template may call: those of Python that change nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/text/chat_template/arguments.hpp"
#include "calm/text/chat_template/machine.hpp"
#include "calm/text/chat_template/print.hpp"
#include "calm/text/chat_template/python_text.hpp"
#include "calm/text/chat_template/value.hpp"

namespace calm::text::jinja {

/// Whether Python's type of `v` has a method of this name, which x.name is then, whatever a dict holds under it.
inline bool is_python_method(const Value& v, std::string_view name) {
  constexpr std::string_view of_dict[] = {"clear", "copy",    "fromkeys",   "get",    "items", "keys",
                                          "pop",   "popitem", "setdefault", "update", "values"};
  constexpr std::string_view of_list[] = {"append", "clear", "copy",   "count",   "extend", "index",
                                          "insert", "pop",   "remove", "reverse", "sort"};
  constexpr std::string_view of_text[] = {
      "capitalize", "casefold",     "center",       "count",   "encode",     "endswith",    "expandtabs",
      "find",       "format",       "format_map",   "index",   "isalnum",    "isalpha",     "isascii",
      "isdecimal",  "isdigit",      "isidentifier", "islower", "isnumeric",  "isprintable", "isspace",
      "istitle",    "isupper",      "join",         "ljust",   "lower",      "lstrip",      "maketrans",
      "partition",  "removeprefix", "removesuffix", "replace", "rfind",      "rindex",      "rjust",
      "rpartition", "rsplit",       "rstrip",       "split",   "splitlines", "startswith",  "strip",
      "swapcase",   "title",        "translate",    "upper",   "zfill"};
  const auto is_in = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  return (as_dict(v) && is_in(of_dict)) || (as_list(v) && is_in(of_list)) || (as_text(v) && is_in(of_text));
}

/// Fails for a method that is not supported, or that Python has not either.
[[noreturn]] inline void no_method(Machine& machine, const Value& v, std::string_view name) {
  if (is_python_method(v, name)) machine.unsupported("method " + shown(name) + " of " + kind_of(v));
  machine.fail(kind_of(v) + " has no method " + shown(name));
}

/// A list of texts.
inline Value text_list(Machine& machine, const std::vector<std::string_view>& parts, List::Kind kind = List::list) {
  std::vector<Value> out;
  out.reserve(parts.size());
  for (const std::string_view part : parts) out.push_back(machine.text(part));
  return machine.list(std::move(out), kind);
}

/// str.join().
inline Value join(Machine& machine, std::string_view between, const std::vector<Value>& items) {
  std::string out;
  for (const Value& v : items) {
    if (&v != &items.front()) machine.append(out, between);
    append(machine, out, v);
  }
  return machine.text(std::move(out));
}

/// str.startswith() and endswith(), which take one text or a tuple of them.
inline bool has_affix(Machine& machine, const std::string& text, const Bound& args, bool at_end) {
  std::vector<Value> all{args.need(0)};
  if (const List* list = as_list(args.need(0)); list && list->kind == List::tuple) all = list->items;
  return std::any_of(all.begin(), all.end(), [&](const Value& v) {
    const std::string* affix = as_text(v);
    if (!affix) args.fail("expected a text or a tuple of texts, found " + kind_of(v));
    machine.read(affix->size());
    return at_end ? text.ends_with(*affix) : text.starts_with(*affix);
  });
}

/// str.partition() and rpartition().
inline Value partition(Machine& machine, std::string_view text, const Bound& args, bool from_right) {
  const std::vector<std::string_view> parts = split_python(machine, text, &args.need_text(0), 1, from_right);
  if (parts.size() == 2) return text_list(machine, {parts[0], args.need_text(0), parts[1]}, List::tuple);
  if (from_right) return text_list(machine, {"", "", text}, List::tuple);
  return text_list(machine, {text, "", ""}, List::tuple);
}

/// str.find() and rfind(), in characters.
inline Value find_text(Machine& machine, std::string_view text, const Bound& args, bool from_right) {
  const std::string& part = args.need_text(0);
  machine.search(text.size(), part.size());
  const std::size_t found = from_right ? text.rfind(part) : text.find(part);
  if (found == text.npos) return std::int64_t{-1};
  return static_cast<std::int64_t>(character_count(text.substr(0, found)));
}

/// str.count(), without overlaps.
inline Value count_text(Machine& machine, std::string_view text, const Bound& args) {
  const std::string& part = args.need_text(0);
  if (part.empty()) return static_cast<std::int64_t>(character_count(text) + 1);
  return static_cast<std::int64_t>(split_python(machine, text, &part, -1, false).size() - 1);
}

/// str.isdigit(), isalpha(), isalnum(), isspace(), isupper() and islower(), of ASCII alone but for white space.
inline Value is_class(Machine& machine, std::string_view text, std::string_view name) {
  machine.read(text.size());
  if (name == "isspace") return !text.empty() && strip(text).empty();
  if (!is_ascii(text)) machine.unsupported("asking for the kind of characters beyond ASCII");
  const auto is_lower = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto is_upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto all = [&](auto&& is) { return !text.empty() && std::all_of(text.begin(), text.end(), is); };
  const auto any = [&](auto&& is) { return std::any_of(text.begin(), text.end(), is); };
  if (name == "isdigit") return all(is_digit);
  if (name == "isalpha") return all([&](char c) { return is_lower(c) || is_upper(c); });
  if (name == "isalnum") return all([&](char c) { return is_lower(c) || is_upper(c) || is_digit(c); });
  return name == "isupper" ? any(is_upper) && !any(is_lower) : any(is_lower) && !any(is_upper);
}

/// text.name(given).
inline Value call_text_method(Machine& machine, const std::string& text, std::string_view name,
                              const Arguments& given) {
  const auto bound = [&](std::initializer_list<std::string_view> names) {
    return Bound(machine, "method " + shown(name), given, names);
  };
  if (name == "strip" || name == "lstrip" || name == "rstrip")
    return machine.text(
        strip_python(machine, text, bound({"chars"}).text_or_none(0), name != "rstrip", name != "lstrip"));
  if (name == "split" || name == "rsplit") {
    const Bound args = bound({"sep", "maxsplit"});
    return text_list(machine,
                     split_python(machine, text, args.text_or_none(0), args.integer_or(1, -1), name == "rsplit"));
  }
  if (name == "splitlines") return text_list(machine, split_lines(machine, text, bound({"keepends"}).flag(0)));
  if (name == "startswith" || name == "endswith") return has_affix(machine, text, bound({"affix"}), name == "endswith");
  if (name == "replace") {
    const Bound args = bound({"old", "new", "count"});
    return machine.text(replace_python(machine, text, args.need_text(0), args.need_text(1), args.integer_or(2, -1)));
  }
  if (name == "lower") return bound({}), machine.text(change_case(machine, text, Case::lower));
  if (name == "upper") return bound({}), machine.text(change_case(machine, text, Case::upper));
  if (name == "title") return bound({}), machine.text(change_case(machine, text, Case::title));
  if (name == "capitalize") return bound({}), machine.text(change_case(machine, text, Case::capitalize));
  if (name == "join") {
    const ListPtr items = machine.elements(bound({"iterable"}).need(0));
    for (const Value& v : items->items) {
      if (!as_text(v)) machine.fail("method 'join': expected texts, found " + kind_of(v));
    }
    return join(machine, text, items->items);
  }
  if (name == "removeprefix" || name == "removesuffix") {
    const std::string& affix = bound({"affix"}).need_text(0);
    std::string_view left = text;
    if (name == "removeprefix" && left.starts_with(affix)) left.remove_prefix(affix.size());
    if (name == "removesuffix" && left.ends_with(affix)) left.remove_suffix(affix.size());
    return machine.text(left);
  }
  if (name == "partition" || name == "rpartition")
    return partition(machine, text, bound({"sep"}), name == "rpartition");
  if (name == "find" || name == "rfind") return find_text(machine, text, bound({"sub"}), name == "rfind");
  if (name == "count") return count_text(machine, text, bound({"sub"}));
  if (name == "isdigit" || name == "isalpha" || name == "isalnum" || name == "isspace" || name == "isupper" ||
      name == "islower")
    return bound({}), is_class(machine, text, name);
  no_method(machine, std::make_shared<const std::string>(), name);
}

/// dict.items(), or the filter of that name.
inline Value dict_items(Machine& machine, const Dict& dict, List::Kind kind) {
  std::vector<Value> out;
  for (const auto& [key, value] : dict.items)
    out.push_back(machine.list({machine.text(std::string_view(key)), value}, List::tuple));
  return machine.list(std::move(out), kind);
}

/// dict.name(given).
inline Value call_dict_method(Machine& machine, const Dict& dict, std::string_view name, const Arguments& given) {
  const auto bound = [&](std::initializer_list<std::string_view> names) {
    return Bound(machine, "method " + shown(name), given, names);
  };
  if (name == "items") return bound({}), dict_items(machine, dict, List::view);
  if (name == "get") {
    const Bound args = bound({"key", "default"});
    const std::string* key = as_text(args.need(0));
    const Value* found = key ? machine.find(dict, *key) : nullptr;
    return found ? *found : args[1] ? *args[1] : Value(None());
  }
  if (name == "keys" || name == "values") {
    bound({});
    std::vector<Value> out;
    for (const auto& [key, value] : dict.items)
      out.push_back(name == "keys" ? machine.text(std::string_view(key)) : value);
    return machine.list(std::move(out), List::view);
  }
  no_method(machine, std::make_shared<const Dict>(), name);
}

/// v.name(given), for a text or dict.
inline Value call_method(Machine& machine, const Value& v, std::string_view name, const Arguments& given) {
  require_plain(machine, v, "a method");
  if (const std::string* text = as_text(v)) return call_text_method(machine, *text, name, given);
  if (const Dict* dict = as_dict(v)) return call_dict_method(machine, *dict, name, given);
  no_method(machine, v, name);
}

}  // namespace calm::text::jinja
