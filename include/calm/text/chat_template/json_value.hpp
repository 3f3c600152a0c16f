/// \file  JSON as a template's values, read strictly: no key twice, no deep nesting, no number that would be rounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/tensor/error.hpp"
#include "calm/text/chat_template/source.hpp"
#include "calm/text/chat_template/value.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text::jinja {

/// How many keys one JSON object may have: they are looked up one by one, since their order matters.
inline constexpr std::size_t max_json_keys = 1000;

/// Builds values from the parser's events.
class ValueBuilder {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  explicit ValueBuilder(const std::string& name) : name_(name) {}
  Value take() { return std::move(result_); }

  bool null() { return put(None()); }
  bool boolean(bool b) { return put(b); }
  bool number_integer(number_integer_t n) { return put(std::int64_t{n}); }
  bool number_unsigned(number_unsigned_t n) {
    if (n > static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max())) too_large(std::to_string(n));
    return put(static_cast<std::int64_t>(n));
  }
  bool number_float(number_float_t n, const string_t& text) {
    if (text.find_first_of(".eE") == text.npos) too_large(text);
    return put(n);
  }
  bool string(string_t& text) { return put(std::make_shared<const std::string>(std::move(text))); }
  bool binary(binary_t&) { return false; }

  bool start_object(std::size_t) { return open(true); }
  bool start_array(std::size_t) { return open(false); }
  bool key(string_t& name) {
    Dict& dict = open_.back().dict;
    if (dict.find(name)) fail("the key " + shown(name) + " stands twice in one object");
    if (dict.items.size() == max_json_keys)
      fail("expected at most " + std::to_string(max_json_keys) + " keys in one object, found more");
    dict.items.emplace_back(std::move(name), None());
    return true;
  }
  bool end_object() {
    Dict dict = std::move(open_.back().dict);
    open_.pop_back();
    for (const auto& item : dict.items) dict.depth = std::max(dict.depth, 1 + depth_of(item.second));
    return put(std::make_shared<const Dict>(std::move(dict)));
  }
  bool end_array() {
    List list{std::move(open_.back().items)};
    open_.pop_back();
    for (const Value& v : list.items) list.depth = std::max(list.depth, 1 + depth_of(v));
    return put(std::make_shared<const List>(std::move(list)));
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& e) {
    const std::string_view what = e.what();
    fail("expected JSON, found at its byte " + std::to_string(position) + ": " +
         shown(what.substr(what.find(']') + 1)));
  }

 private:
  struct Open {
    bool is_object;
    Dict dict{};
    std::vector<Value> items{};
  };

  [[noreturn]] void fail(const std::string& what) const { throw Error("calm::text: " + name_ + ": " + what); }
  [[noreturn]] void too_large(const std::string& number) const {
    fail("expected whole numbers of at most 64 bits with a sign, found " + shown(number) + "; write it as a text");
  }
  bool open(bool is_object) {
    // Half of what a rendering may nest, so that templates can put values into lists of their own.
    if (open_.size() == max_nesting / 2)
      fail("expected values at most " + std::to_string(max_nesting / 2) + " deep, found deeper ones");
    open_.push_back({is_object});
    return true;
  }
  bool put(Value v) {
    if (open_.empty())
      result_ = std::move(v);
    else if (open_.back().is_object)
      open_.back().dict.items.back().second = std::move(v);
    else
      open_.back().items.push_back(std::move(v));
    return true;
  }

  const std::string& name_;
  std::vector<Open> open_;
  Value result_;
};

/// The value of a JSON text; `name` begins the messages. Throws `Error`.
inline Value value_of_json(std::string_view text, const std::string& name) {
  const std::size_t invalid = find_invalid_utf8(text);
  if (invalid != text.npos)
    throw Error("calm::text: " + name + ": expected UTF-8, found an invalid byte at " + std::to_string(invalid));
  ValueBuilder builder(name);
  nlohmann::json::sax_parse(text, &builder);
  return builder.take();
}

}  // namespace calm::text::jinja
