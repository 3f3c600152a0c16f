/// \file  Python's operators on values.
#pragma once

#include <cmath>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/text/chat_template/machine.hpp"
#include "calm/text/chat_template/python_text.hpp"
#include "calm/text/chat_template/value.hpp"

namespace calm::text::jinja {

/// A boolean or whole number as a whole number.
inline std::optional<std::int64_t> as_integer(const Value& v) {
  if (const auto* i = std::get_if<std::int64_t>(&v)) return *i;
  if (const bool* b = std::get_if<bool>(&v)) return *b ? 1 : 0;
  return {};
}
inline std::optional<double> as_number(const Value& v) {
  if (const double* d = std::get_if<double>(&v)) return *d;
  if (const auto i = as_integer(v)) return static_cast<double>(*i);
  return {};
}

/// Fails for a text that the filter `safe` made.
inline void require_plain(Machine& machine, const Value& v, const std::string& what) {
  if (holds<SafeText>(v)) machine.unsupported(what + " on a text that the filter 'safe' made");
}

/// a == b.
inline bool equal(Machine& machine, const Value& a, const Value& b) {
  machine.spend(1);
  if (const auto i = as_integer(a), j = as_integer(b); i && j) return *i == *j;
  if (const auto x = as_number(a), y = as_number(b); x && y) return *x == *y;
  const std::string *s = as_text(a), *t = as_text(b);
  if (s && t) {
    if (s->size() != t->size()) return false;
    machine.read(s->size());
    return *s == *t;
  }
  if (a.index() != b.index()) return false;
  if (const List* list = as_list(a)) {
    const List& other = *as_list(b);
    if (list == &other) return true;
    if (list->kind > List::tuple || other.kind > List::tuple)
      machine.unsupported("comparing " + kind_of(a) + " and " + kind_of(b));
    if (list->kind != other.kind || list->items.size() != other.items.size()) return false;
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      if (!equal(machine, list->items[i], other.items[i])) return false;
    }
    return true;
  }
  if (const Dict* dict = as_dict(a)) {
    const Dict& other = *as_dict(b);
    if (dict->items.size() != other.items.size()) return false;
    for (const auto& [key, value] : dict->items) {
      const Value* same = machine.find(other, key);
      if (!same || !equal(machine, value, *same)) return false;
    }
    return true;
  }
  if (holds<Undefined>(a) || holds<None>(a)) return true;
  if (holds<Namespace*>(a)) return std::get<Namespace*>(a) == std::get<Namespace*>(b);
  machine.unsupported("comparing functions or loops");
}

/// How a and b are ordered: numbers, texts, or lists of them.
inline std::partial_ordering order(Machine& machine, const Value& a, const Value& b) {
  machine.spend(1);
  if (const auto i = as_integer(a), j = as_integer(b); i && j) return *i <=> *j;
  if (const auto x = as_number(a), y = as_number(b); x && y) return *x <=> *y;
  const std::string *s = as_text(a), *t = as_text(b);
  if (s && t) {
    machine.read(std::min(s->size(), t->size()));
    return s->compare(*t) <=> 0;  // the order of UTF-8's bytes is that of the characters
  }
  const List *l = as_list(a), *m = as_list(b);
  if (l && m && l->kind == m->kind && l->kind <= List::tuple) {
    for (std::size_t i = 0; i < std::min(l->items.size(), m->items.size()); ++i) {
      if (!equal(machine, l->items[i], m->items[i])) return order(machine, l->items[i], m->items[i]);
    }
    return l->items.size() <=> m->items.size();
  }
  machine.fail("expected two values that have an order, found " + kind_of(a) + " and " + kind_of(b));
}

/// item in container.
inline bool contains(Machine& machine, const Value& container, const Value& item) {
  if (const std::string* text = as_text(container)) {
    const std::string* part = as_text(item);
    if (!part) machine.fail("expected a text before 'in', since a text stands behind it; found " + kind_of(item));
    machine.search(text->size(), part->size());
    return text->find(*part) != text->npos;
  }
  if (const Dict* dict = as_dict(container)) {
    if (as_list(item) || as_dict(item)) machine.fail("expected a text before 'in', found " + kind_of(item));
    const std::string* key = as_text(item);
    return key && machine.find(*dict, *key);
  }
  const ListPtr items = machine.elements(container);
  for (const Value& v : items->items) {
    if (equal(machine, v, item)) return true;
  }
  return false;
}

/// a `name` b, for one of "==", "!=", "<", "<=", ">", ">=", "in", "not in".
inline bool compare(Machine& machine, std::string_view name, const Value& a, const Value& b) {
  if (name == "==") return equal(machine, a, b);
  if (name == "!=") return !equal(machine, a, b);
  if (name == "in") return contains(machine, b, a);
  if (name == "not in") return !contains(machine, b, a);
  const std::partial_ordering ordering = order(machine, a, b);
  return name == "<" ? ordering < 0 : name == "<=" ? ordering <= 0 : name == ">" ? ordering > 0 : ordering >= 0;
}

/// `times` copies of a text or list.
inline Value repeat(Machine& machine, const Value& v, std::int64_t times) {
  const auto n = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  if (const std::string* text = as_text(v)) {
    std::string out;
    if (text->empty()) return machine.text(std::move(out));
    machine.require_room(text->size() > 0 && n > (std::size_t{1} << 40) ? n : n * text->size());
    for (std::size_t i = 0; i < n; ++i) machine.append(out, *text);
    return machine.text(std::move(out));
  }
  const List& list = *as_list(v);
  std::vector<Value> out;
  for (std::size_t i = 0; i < n && !list.items.empty(); ++i) {
    machine.spend(list.items.size());
    out.insert(out.end(), list.items.begin(), list.items.end());
  }
  return machine.list(std::move(out), list.kind);
}

/// Python's // and %: towards minus infinity, the rest with the divisor's sign.
inline std::int64_t floor_divide(std::int64_t a, std::int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

/// a `name` b, for one of "+", "-", "*", "/", "//", "%".
inline Value arithmetic(Machine& machine, std::string_view name, const Value& a, const Value& b) {
  const auto i = as_integer(a), j = as_integer(b);
  const auto x = as_number(a), y = as_number(b);
  const char op = name[0];
  require_plain(machine, a, "operator '" + std::string(name) + "'");
  require_plain(machine, b, "operator '" + std::string(name) + "'");
  if (x && y && (op == '/' || op == '%') && *y == 0) machine.fail("divides by zero");
  if (i && j && name != "/") {
    std::int64_t out = 0;
    // The smallest number by -1 is the one quotient that does not fit.
    bool overflows = op == '/' && *j == -1 && __builtin_sub_overflow(std::int64_t{0}, *i, &out);
    if (op == '+') overflows = __builtin_add_overflow(*i, *j, &out);
    if (op == '-') overflows = __builtin_sub_overflow(*i, *j, &out);
    if (op == '*') overflows = __builtin_mul_overflow(*i, *j, &out);
    if (overflows) machine.fail("makes a whole number of more than 64 bits");
    if (op == '/') out = floor_divide(*i, *j);
    if (op == '%') out = *j == -1 ? 0 : *i - *j * floor_divide(*i, *j);
    return out;
  }
  if (x && y) {
    const double quotient = op == '/' || op == '%' ? std::floor(*x / *y) : 0;
    const double remainder = op == '%' ? std::fmod(*x, *y) : 0;
    return op == '+'     ? *x + *y
           : op == '-'   ? *x - *y
           : op == '*'   ? *x * *y
           : op == '%'   ? (remainder != 0 && (remainder < 0) != (*y < 0) ? remainder + *y : remainder)
           : name == "/" ? *x / *y
                         : quotient;
  }
  if (op == '*' && (as_text(a) || (as_list(a) && as_list(a)->kind <= List::tuple)) && j) return repeat(machine, a, *j);
  if (op == '*' && (as_text(b) || (as_list(b) && as_list(b)->kind <= List::tuple)) && i) return repeat(machine, b, *i);
  const std::string *s = as_text(a), *t = as_text(b);
  if (op == '+' && s && t) {
    machine.require_room(s->size() + t->size());
    return machine.text(*s + *t);
  }
  const List *l = as_list(a), *m = as_list(b);
  if (op == '+' && l && m && l->kind == m->kind && l->kind <= List::tuple) {
    machine.spend(l->items.size() + m->items.size());
    std::vector<Value> out = l->items;
    out.insert(out.end(), m->items.begin(), m->items.end());
    return machine.list(std::move(out), l->kind);
  }
  if (op == '%' && s) machine.unsupported("formatting by '%'");
  machine.fail("operator '" + std::string(name) + "': found " + kind_of(a) + " and " + kind_of(b) +
               (op == '+' && (s || t) ? "; '~' joins a text with anything" : ""));
}

/// Where a Python index counts from the end, from the beginning.
inline std::int64_t from_front(std::int64_t index, std::size_t size) {
  return index < 0 ? index + static_cast<std::int64_t>(size) : index;
}

/// The numbers of the items that v[begin:end:step] has, of `size`.
inline std::vector<std::size_t> slice_indices(std::size_t size, std::optional<std::int64_t> begin,
                                              std::optional<std::int64_t> end, std::int64_t step) {
  const auto n = static_cast<std::int64_t>(size);
  const std::int64_t lowest = step > 0 ? 0 : -1, highest = step > 0 ? n : n - 1;
  const auto place = [&](std::optional<std::int64_t> index, std::int64_t otherwise) {
    if (!index) return otherwise;
    if (*index < -n) return lowest;  // before it is added to, which could overflow
    return std::clamp(from_front(*index, size), lowest, highest);
  };
  const std::int64_t first = place(begin, step > 0 ? lowest : highest), last = place(end, step > 0 ? highest : lowest);
  std::vector<std::size_t> out;
  for (std::int64_t i = first; step > 0 ? i < last : i > last;) {
    out.push_back(static_cast<std::size_t>(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return out;
}

/// v[begin:end:step], of a text, list, tuple or range.
inline Value slice(Machine& machine, const Value& v, const Value& begin, const Value& end, const Value& step) {
  for (const Value* bound : {&begin, &end, &step}) {
    if (!as_integer(*bound) && !holds<None>(*bound))
      machine.fail("expected a whole number in a slice, found " + kind_of(*bound));
  }
  require_plain(machine, v, "a slice");
  const auto first = as_integer(begin), last = as_integer(end), by = as_integer(step);
  if (by == 0) machine.fail("the step of a slice is 0");
  if (const std::string* text = as_text(v)) {
    machine.read(text->size());
    if (by.value_or(1) == 1) return machine.text(python_slice(*text, first, last));
    const std::vector<std::string_view> all = characters(machine, *text);
    std::string out;
    for (const std::size_t i : slice_indices(all.size(), first, last, *by)) out += all[i];
    return machine.text(std::move(out));
  }
  const List* list = as_list(v);
  if (!list || list->kind > List::range) machine.fail("expected a text or list to slice, found " + kind_of(v));
  machine.spend(1 + list->items.size());
  std::vector<Value> out;
  for (const std::size_t i : slice_indices(list->items.size(), first, last, by.value_or(1)))
    out.push_back(list->items[i]);
  return machine.list(std::move(out), list->kind);
}

}  // namespace calm::text::jinja
