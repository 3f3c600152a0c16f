/// \file  Values as text: Python's str() and repr(), and JSON as json.dumps() writes it.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calm/text/chat_template/machine.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text::jinja {

/// Python's repr of a float: the shortest digits that give it back, with an exponent below 1e-4 and from 1e16 on.
inline std::string print_float(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, std::end(buffer), d, std::chars_format::scientific).ptr;
  const std::string_view scientific(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = scientific.find('e');
  const int exponent = std::stoi(std::string(scientific.substr(e + 1)));
  if (exponent < -4 || exponent >= 16) return std::string(scientific);
  const auto fixed_end = std::to_chars(buffer, std::end(buffer), d, std::chars_format::fixed).ptr;
  std::string out(buffer, fixed_end);
  if (out.find('.') == out.npos) out += ".0";
  return out;
}

/// Whether Python's repr shows a character as it is. Characters that Unicode has not assigned yet are taken as shown.
inline bool is_printable(char32_t c) {
  struct Range {
    char32_t first, last;
  };
  // Controls, formats, separators but the space, surrogates and private use (categories Cc, Cf, Z*, Cs, Co).
  constexpr Range hidden[] = {{0x00, 0x1F},       {0x7F, 0xA0},       {0xAD, 0xAD},       {0x600, 0x605},
                              {0x61C, 0x61C},     {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x890, 0x891},
                              {0x8E2, 0x8E2},     {0x1680, 0x1680},   {0x180E, 0x180E},   {0x2000, 0x200F},
                              {0x2028, 0x202F},   {0x205F, 0x206F},   {0x3000, 0x3000},   {0xD800, 0xF8FF},
                              {0xFEFF, 0xFEFF},   {0xFFF0, 0xFFFB},   {0x110BD, 0x110BD}, {0x110CD, 0x110CD},
                              {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0x10FFFF}};
  return std::none_of(std::begin(hidden), std::end(hidden),
                      [c](const Range& range) { return c >= range.first && c <= range.last; }) ||
         (c >= 0xE0100 && c <= 0xE01EF);  // variation selectors
}

/// Appends `value` in `digits` hexadecimal digits.
inline void append_hex(std::string& out, std::uint32_t value, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out += "0123456789abcdef"[value >> shift & 15];
}

/// How `tojson` writes; json.dumps' names.
struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false;
  std::optional<std::string> indent{};  ///< of each level
  std::string between = ", ", behind_key = ": ";
};

/// Writes values into a text.
class Printer {
 public:
  explicit Printer(Machine& machine) : machine_(machine) {}
  std::string take() { return std::move(out_); }

  /// str(): a text as it is, whatever is inside of a list or dict as its repr.
  void str(const Value& v) {
    if (const std::string* text = as_text(v))
      add(*text);
    else if (!holds<Undefined>(v))
      repr(v);
  }

  void repr(const Value& v) {
    if (holds<Undefined>(v)) return add("Undefined");
    if (holds<None>(v)) return add("None");
    if (const bool* b = std::get_if<bool>(&v)) return add(*b ? "True" : "False");
    if (const auto* i = std::get_if<std::int64_t>(&v)) return add(std::to_string(*i));
    if (const double* d = std::get_if<double>(&v)) return add(print_float(*d));
    if (const std::string* text = as_text(v)) {
      if (holds<SafeText>(v)) add("Markup(");
      repr(*text);
      return holds<SafeText>(v) ? add(")") : void();
    }
    const List* list = as_list(v);
    if (list && list->kind <= List::tuple) return repr(*list);
    if (const Dict* dict = as_dict(v)) return repr(*dict);
    machine_.unsupported("printing " + kind_of(v) + (list ? ", which is no list yet (filter 'list')," : ""));
  }

  void json(const Value& v, const JsonStyle& style, int level = 0) {
    if (holds<None>(v)) return add("null");
    if (const bool* b = std::get_if<bool>(&v)) return add(*b ? "true" : "false");
    if (const auto* i = std::get_if<std::int64_t>(&v)) return add(std::to_string(*i));
    if (const double* d = std::get_if<double>(&v))
      return add(std::isnan(*d) ? "NaN" : std::isinf(*d) ? *d > 0 ? "Infinity" : "-Infinity" : print_float(*d));
    if (const std::string* text = as_text(v)) return json(*text, style);
    const List* list = as_list(v);
    if (list && list->kind <= List::tuple) return json(*list, style, level);
    if (const Dict* dict = as_dict(v)) return json(*dict, style, level);
    machine_.fail("filter 'tojson': expected a value that JSON has, found " + kind_of(v));
  }

 private:
  void add(std::string_view more) { machine_.append(out_, more); }

  void repr(std::string_view text) {
    const bool doubles = text.find('\'') != text.npos && text.find('"') == text.npos;
    const char quote = doubles ? '"' : '\'';
    std::string out(1, quote);
    for (std::size_t i = 0, n; i < text.size(); i += n) {
      const CodePoint c = code_point_at(text, i);
      n = c.bytes;
      if (c.value == '\\' || c.value == static_cast<char32_t>(quote))
        (out += '\\') += text[i];
      else if (c.value == '\n')
        out += "\\n";
      else if (c.value == '\r')
        out += "\\r";
      else if (c.value == '\t')
        out += "\\t";
      else if (is_printable(c.value))
        out += text.substr(i, n);
      else if (c.value < 0x100)
        append_hex(out += "\\x", c.value, 2);
      else if (c.value < 0x10000)
        append_hex(out += "\\u", c.value, 4);
      else
        append_hex(out += "\\U", c.value, 8);
    }
    add(out += quote);
  }
  void repr(const List& list) {
    const bool is_tuple = list.kind == List::tuple;
    add(is_tuple ? "(" : "[");
    for (const Value& item : list.items) {
      if (&item != &list.items.front()) add(", ");
      repr(item);
    }
    if (is_tuple && list.items.size() == 1) add(",");
    add(is_tuple ? ")" : "]");
  }
  void repr(const Dict& dict) {
    add("{");
    for (const auto& item : dict.items) {
      if (&item != &dict.items.front()) add(", ");
      repr(item.first);
      add(": ");
      repr(item.second);
    }
    add("}");
  }

  void json(std::string_view text, const JsonStyle& style) {
    std::string out = "\"";
    for (std::size_t i = 0, n; i < text.size(); i += n) {
      const CodePoint c = code_point_at(text, i);
      n = c.bytes;
      constexpr std::string_view plain = "\"\\\n\r\t\f\b", letters = "\"\\nrtfb";
      const std::size_t short_form = c.value < 0x80 ? plain.find(text[i]) : plain.npos;
      if (short_form != plain.npos)
        (out += '\\') += letters[short_form];
      else if (c.value >= 0x20 && (c.value < 0x7F || !style.ensure_ascii))
        out += text.substr(i, n);
      else if (c.value < 0x10000)
        append_hex(out += "\\u", c.value, 4);
      else {
        append_hex(out += "\\u", 0xD800 + ((c.value - 0x10000) >> 10), 4);
        append_hex(out += "\\u", 0xDC00 + ((c.value - 0x10000) & 0x3FF), 4);
      }
    }
    add(out += '"');
  }
  void new_line(const JsonStyle& style, int level) {
    if (!style.indent) return;
    add("\n");
    for (int i = 0; i < level; ++i) add(*style.indent);
  }
  void json(const List& list, const JsonStyle& style, int level) {
    if (list.items.empty()) return add("[]");
    add("[");
    for (const Value& item : list.items) {
      if (&item != &list.items.front()) add(style.between);
      new_line(style, level + 1);
      json(item, style, level + 1);
    }
    new_line(style, level);
    add("]");
  }
  void json(const Dict& dict, const JsonStyle& style, int level) {
    if (dict.items.empty()) return add("{}");
    std::vector<const std::pair<std::string, Value>*> items;
    for (const auto& item : dict.items) items.push_back(&item);
    if (style.sort_keys) std::sort(items.begin(), items.end(), [](auto* a, auto* b) { return a->first < b->first; });
    add("{");
    for (const auto* item : items) {
      if (item != items.front()) add(style.between);
      new_line(style, level + 1);
      json(item->first, style);
      add(style.behind_key);
      json(item->second, style, level + 1);
    }
    new_line(style, level);
    add("}");
  }

  Machine& machine_;
  std::string out_;
};

/// str() of a value.
inline std::string str(Machine& machine, const Value& v) {
  Printer printer(machine);
  printer.str(v);
  return printer.take();
}

/// Appends str() of a value.
inline void append(Machine& machine, std::string& out, const Value& v) {
  if (const std::string* text = as_text(v)) return machine.append(out, *text);  // without a copy
  machine.append(out, str(machine, v));
}

}  // namespace calm::text::jinja
