/// \file  The values of a template: those of JSON, and the few others that Jinja has.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace calm::text::jinja {

struct Undefined {};
struct None {};
struct List;
struct Dict;
struct Namespace;
struct Loop;
struct Statement;

/// What can be called by its name; and a method of Python's that is asked for without a call.
struct Callable {
  enum Kind { range, make_namespace, dict, raise_exception, strftime_now, macro, method };
  Kind kind = range;
  const Statement* body = nullptr;  ///< of a macro
};

/// A text that the filter `safe` made. Python's escapes what is added to it, so it can do less than a text here.
struct SafeText {
  std::shared_ptr<const std::string> text;
};

/// A value. Texts, lists and dicts never change, so copies share them, and none can hold itself.
using Value = std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const std::string>,
                           std::shared_ptr<const List>, std::shared_ptr<const Dict>, Namespace*,
                           std::shared_ptr<const Loop>, Callable, SafeText>;

using Text = std::shared_ptr<const std::string>;
using ListPtr = std::shared_ptr<const List>;
using DictPtr = std::shared_ptr<const Dict>;

/// Several values in order. What Python hands out one by one differs from a list in what may be done to it.
struct List {
  enum Kind {
    list,
    tuple,
    range,     ///< cannot be printed
    view,      ///< of a dict: cannot be indexed either
    iterator,  ///< has no length either, is always true, and can be walked through once
  };
  std::vector<Value> items;
  Kind kind = list;
  int depth = 1;              ///< of the values inside
  mutable bool used = false;  ///< an iterator that was walked through
};

/// Values by name, in the order in which they came.
struct Dict {
  std::vector<std::pair<std::string, Value>> items;
  int depth = 1;

  const Value* find(std::string_view key) const {
    const auto it = std::find_if(items.begin(), items.end(), [&](const auto& item) { return item.first == key; });
    return it == items.end() ? nullptr : &it->second;
  }
};

/// The one kind of value that changes. All belong to the rendering, so that cycles among them are no matter.
struct Namespace {
  std::unordered_map<std::string, Value> members;
};

/// The variable `loop`.
struct Loop {
  ListPtr items;
  std::size_t index = 0;  ///< counted from 0
};

template <class T>
bool holds(const Value& v) {
  return std::holds_alternative<T>(v);
}

/// The text of a value, or null if it is none.
inline const std::string* as_text(const Value& v) {
  if (const Text* text = std::get_if<Text>(&v)) return text->get();
  const SafeText* safe = std::get_if<SafeText>(&v);
  return safe ? safe->text.get() : nullptr;
}
inline const List* as_list(const Value& v) {
  const ListPtr* list = std::get_if<ListPtr>(&v);
  return list ? list->get() : nullptr;
}
inline const Dict* as_dict(const Value& v) {
  const DictPtr* dict = std::get_if<DictPtr>(&v);
  return dict ? dict->get() : nullptr;
}

/// How deeply a value nests: 0 without parts.
inline int depth_of(const Value& v) {
  if (const List* list = as_list(v)) return list->depth;
  if (const Dict* dict = as_dict(v)) return dict->depth;
  return 0;
}

/// What a value is, in messages.
inline std::string kind_of(const Value& v) {
  if (const List* list = as_list(v)) {
    constexpr const char* kinds[] = {"a list", "a tuple", "a range", "a view of a dict", "an iterator"};
    return kinds[list->kind];
  }
  constexpr const char* kinds[] = {"an undefined value", "none",   "a boolean",  "a whole number",
                                   "a number",           "a text", "a list",     "a dict",
                                   "a namespace",        "a loop", "a function", "a text"};
  return kinds[v.index()];
}

/// Python's bool().
inline bool is_true(const Value& v) {
  if (const bool* b = std::get_if<bool>(&v)) return *b;
  if (const auto* i = std::get_if<std::int64_t>(&v)) return *i != 0;
  if (const double* d = std::get_if<double>(&v)) return *d != 0;
  if (const std::string* text = as_text(v)) return !text->empty();
  if (const List* list = as_list(v)) return list->kind == List::iterator || !list->items.empty();
  if (const Dict* dict = as_dict(v)) return !dict->items.empty();
  return !holds<Undefined>(v) && !holds<None>(v);
}

}  // namespace calm::text::jinja
