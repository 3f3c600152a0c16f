/// \file  What is inside of a value: attributes and items.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "calm/text/chat_template/machine.hpp"
#include "calm/text/chat_template/methods.hpp"
#include "calm/text/chat_template/operators.hpp"
#include "calm/text/chat_template/python_text.hpp"
#include "calm/text/chat_template/value.hpp"

namespace calm::text::jinja {

/// A member of the variable `loop`.
inline Value loop_member(Machine& machine, const Loop& loop, std::string_view name) {
  const auto& items = loop.items->items;
  const auto count = [](std::size_t n) { return static_cast<std::int64_t>(n); };
  if (name == "index") return count(loop.index + 1);
  if (name == "index0") return count(loop.index);
  if (name == "revindex") return count(items.size() - loop.index);
  if (name == "revindex0") return count(items.size() - loop.index - 1);
  if (name == "first") return loop.index == 0;
  if (name == "last") return loop.index + 1 == items.size();
  if (name == "length") return count(items.size());
  if (name == "depth") return std::int64_t{1};  // of recursion, which is not supported
  if (name == "depth0") return std::int64_t{0};
  if (name == "previtem") return loop.index > 0 ? items[loop.index - 1] : Undefined();
  if (name == "nextitem") return loop.index + 1 < items.size() ? items[loop.index + 1] : Undefined();
  machine.unsupported("'loop." + std::string(name) + "'");
}

/// v[index], for an index that is a text or a number; undefined where there is none.
inline Value item(Machine& machine, const Value& v, const Value& index) {
  if (holds<Undefined>(v)) machine.fail("expected a value with parts, found an undefined one");
  if (const std::string* key = as_text(index)) {
    if (const Dict* dict = as_dict(v)) {
      if (const Value* found = machine.find(*dict, *key)) return *found;
    }
    if (const auto* names = std::get_if<Namespace*>(&v)) {
      const auto it = (*names)->members.find(*key);
      return it != (*names)->members.end() ? it->second : Value(Undefined());
    }
    if (key->starts_with("__")) machine.unsupported("the name " + shown(*key));
    if (is_python_method(v, *key)) return Callable{Callable::method};
    if (const auto* loop = std::get_if<std::shared_ptr<const Loop>>(&v)) return loop_member(machine, **loop, *key);
    return Undefined();
  }
  const auto number = as_integer(index);
  if (!number) return Undefined();
  require_plain(machine, v, "an index");
  if (const std::string* text = as_text(v)) {
    machine.read(text->size());
    const std::int64_t i = from_front(*number, character_count(*text));
    if (i < 0 || i >= static_cast<std::int64_t>(text->size())) return Undefined();
    const std::string_view found = python_slice(*text, i, i + 1);
    return found.empty() ? Value(Undefined()) : machine.text(found);
  }
  const List* list = as_list(v);
  if (!list || list->kind > List::range) return Undefined();
  const std::int64_t i = from_front(*number, list->items.size());
  const bool is_there = i >= 0 && i < static_cast<std::int64_t>(list->items.size());
  return is_there ? list->items[static_cast<std::size_t>(i)] : Undefined();
}

/// v.name, which is Python's method before it is what a dict holds.
inline Value attribute(Machine& machine, const Value& v, const std::string& name) {
  if (is_python_method(v, name)) return Callable{Callable::method};
  if (name.starts_with("__")) machine.unsupported("the name " + shown(name));
  if (as_dict(v) || holds<Namespace*>(v) || holds<std::shared_ptr<const Loop>>(v))
    return item(machine, v, machine.text(std::string_view(name)));
  return Undefined();
}

/// What filters mean by an attribute: a number, or names and numbers with points between them.
inline Value member_by_path(Machine& machine, const Value& v, const Value& path) {
  if (!as_text(path)) return item(machine, v, path);
  Value out = v;
  const std::string point = ".";
  for (const std::string_view name : split_python(machine, *as_text(path), &point, -1, false)) {
    const bool is_number = !name.empty() && name.find_first_not_of("0123456789") == name.npos && name.size() < 10;
    out = item(machine, out, is_number ? Value(std::int64_t{std::stoi(std::string(name))}) : machine.text(name));
  }
  return out;
}

}  // namespace calm::text::jinja
