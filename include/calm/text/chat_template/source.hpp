/// \file  The text of a template, and messages that say where in it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "calm/tensor/error.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text::jinja {

/// The longest template that is read, in bytes; those that people have are below 32 KiB.
inline constexpr std::size_t max_source_bytes = std::size_t{1} << 18;

/// How deeply expressions, statements and values may nest, and how deeply a rendering may be inside of them.
inline constexpr int max_nesting = 100, max_depth = 400;

/// A template's text, with "\n" as its only line end and without the one at its end, as Jinja reads it.
class Source {
 public:
  /// `name` begins the messages. Throws `Error` if the text is too long or not UTF-8.
  Source(std::string name, std::string_view text) : name_(std::move(name)) {
    if (text.size() > max_source_bytes)
      throw Error("calm::text: " + name_ + ": expected at most " + std::to_string(max_source_bytes) + " bytes, found " +
                  std::to_string(text.size()));
    const std::size_t invalid = find_invalid_utf8(text);
    if (invalid != text.npos)
      throw Error("calm::text: " + name_ + ": expected UTF-8, found an invalid byte at " + std::to_string(invalid));
    text_.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\r')
        text_ += text[i];
      else if (i + 1 == text.size() || text[i + 1] != '\n')
        text_ += '\n';
    }
    if (text_.ends_with('\n')) text_.pop_back();
  }

  const std::string& name() const { return name_; }
  const std::string& text() const { return text_; }

  /// Throws "calm::text: <name>: line 3, column 7: <what>" for the byte `at`; columns count characters.
  [[noreturn]] void fail(std::size_t at, const std::string& what) const {
    const std::string_view before = std::string_view(text_).substr(0, at);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::string_view in_line = before.substr(before.rfind('\n') + 1);  // npos + 1 is 0
    const auto column = 1 + std::count_if(in_line.begin(), in_line.end(), [](char c) { return (c & 0xC0) != 0x80; });
    throw Error("calm::text: " + name_ + ": line " + std::to_string(line) + ", column " + std::to_string(column) +
                ": " + what);
  }

 private:
  std::string name_, text_;
};

/// A text as it may stand in a message: in quotes, shortened, without control characters.
inline std::string shown(std::string_view text) {
  std::string out = "'";
  for (const char c : repair_utf8(text.substr(0, 80))) out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  return out += text.size() > 80 ? "...'" : "'";
}

}  // namespace calm::text::jinja
