/// \file  JSON files read strictly: no key twice, no deep nesting, and messages that say where.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/io/file.hpp"
#include "calm/tensor/error.hpp"
#include "calm/text/jsonl_line.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text::detail {

/// A decimal number as Rust's serde_json reads it by default: the digits as a whole number, rounded, times or divided
/// by a power of ten, rounded again. The last bit may differ from the nearest double, and with it which of two paths of
/// a Unigram model is the better one; so `tokenizers` is followed here.
inline double serde_number(std::string_view text) {
  const bool is_negative = text.starts_with('-');
  std::uint64_t digits = 0;
  int exponent = 0;
  bool is_fraction = false, is_full = false;
  std::size_t i = is_negative ? 1 : 0;
  for (; i < text.size() && text[i] != 'e' && text[i] != 'E'; ++i) {
    if (text[i] == '.') {
      is_fraction = true;
      continue;
    }
    const auto digit = static_cast<unsigned>(text[i] - '0');
    is_full = is_full || digits > (~std::uint64_t{0} - digit) / 10;
    if (!is_full) digits = digits * 10 + digit;
    exponent += is_full ? (is_fraction ? 0 : 1) : (is_fraction ? -1 : 0);
  }
  if (i < text.size()) exponent += std::clamp(std::atoi(std::string(text.substr(i + 1)).c_str()), -100'000, 100'000);
  auto value = static_cast<double>(digits);
  for (; exponent < -308 && value != 0; exponent += 308) value /= 1e308;
  const double power = std::pow(10.0, std::min(std::abs(exponent), 308));
  value = exponent < 0 ? value / power : value * power;
  return is_negative ? -value : value;
}

/// Builds the values of a JSON text. Depth is bounded, memory by the text's length.
class StrictJsonHandler {
 public:
  using json = nlohmann::json;
  using number_integer_t = json::number_integer_t;
  using number_unsigned_t = json::number_unsigned_t;
  using number_float_t = json::number_float_t;
  using string_t = json::string_t;
  using binary_t = json::binary_t;

  static constexpr std::size_t max_depth = 32;

  StrictJsonHandler(const std::string& path, json& out) : path_(path), out_(out) {}

  bool null() { return put(nullptr), true; }
  bool boolean(bool b) { return put(b), true; }
  bool number_integer(number_integer_t n) { return put(n), true; }
  bool number_unsigned(number_unsigned_t n) { return put(n), true; }
  bool number_float(number_float_t, const string_t& text) { return put(serde_number(text)), true; }
  bool string(string_t& text) { return put(std::move(text)), true; }
  bool binary(binary_t&) { return false; }
  bool start_object(std::size_t) { return open(json::object()); }
  bool start_array(std::size_t) { return open(json::array()); }
  bool end_object() { return open_.pop_back(), true; }
  bool end_array() { return open_.pop_back(), true; }

  bool key(string_t& name) {
    const auto [place, is_new] = open_.back()->get_ref<json::object_t&>().try_emplace(name);
    if (!is_new) throw Error("calm::text: " + path_ + ": the key " + in_quotes(name) + " stands twice in one object");
    member_ = &place->second;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& e) {
    throw Error("calm::text: " + path_ + ": expected JSON, found at its byte " + std::to_string(position) + ": " +
                in_quotes(std::string_view(e.what()).substr(std::string_view(e.what()).find(']') + 1)));
  }

 private:
  json* put(json value) {
    if (open_.empty()) return &(out_ = std::move(value));
    if (open_.back()->is_object()) return &(*member_ = std::move(value));
    open_.back()->push_back(std::move(value));
    return &open_.back()->back();
  }
  bool open(json value) {
    if (open_.size() == max_depth)
      throw Error("calm::text: " + path_ + ": expected values at most 32 deep, found deeper ones");
    open_.push_back(put(std::move(value)));
    return true;
  }

  const std::string& path_;
  json& out_;
  std::vector<json*> open_;
  json* member_ = nullptr;
};

/// The contents of a file.
inline std::string read_all(const std::string& path) { return io::read_file(path); }

inline nlohmann::json read_json(const std::string& path) {
  const std::string text = read_all(path);
  const std::size_t invalid = find_invalid_utf8(text);
  calm::detail::require(invalid == text.npos, [&] {
    return "calm::text: " + path + ": expected UTF-8, found an invalid byte at " + std::to_string(invalid);
  });
  nlohmann::json out;
  StrictJsonHandler handler(path, out);
  nlohmann::json::sax_parse(text, &handler);
  return out;
}

/// A value of a JSON file with its place, which the messages of all readers below begin with.
class JsonValue {
 public:
  JsonValue(const nlohmann::json& value, std::string place) : value_(&value), place_(std::move(place)) {}

  const std::string& place() const { return place_; }
  const nlohmann::json& raw() const { return *value_; }
  bool is_null() const { return value_->is_null(); }

  [[noreturn]] void fail(const std::string& what) const { throw Error("calm::text: " + place_ + ": " + what); }
  [[noreturn]] void expected(const std::string& what) const {
    fail("expected " + what + ", found " + (value_->is_string() ? in_quotes(text()) : value_->type_name()));
  }

  bool has(const std::string& key) const {
    if (!value_->is_object()) expected("an object");
    const auto it = value_->find(key);
    return it != value_->end() && !it->is_null();
  }
  /// The member `key`, which must be there.
  JsonValue operator[](const std::string& key) const {
    if (!value_->is_object()) expected("an object");
    const auto it = value_->find(key);
    if (it == value_->end()) fail("expected the key " + in_quotes(key) + ", found none");
    return JsonValue(*it, place_ + ": " + key);
  }
  const std::string& text() const {
    if (!value_->is_string()) expected("text");
    return value_->get_ref<const std::string&>();
  }
  const std::string& some_text() const {
    if (text().empty()) fail("expected a text, found an empty one");
    return text();
  }
  bool flag() const {
    if (!value_->is_boolean()) expected("true or false");
    return value_->get<bool>();
  }
  std::uint64_t count() const {
    if (!value_->is_number_unsigned()) expected("an unsigned whole number");
    return value_->get<std::uint64_t>();
  }
  double number() const {
    if (!value_->is_number()) expected("a number");
    return value_->get<double>();
  }
  std::string text_or(const std::string& key, const std::string& other) const {
    return has(key) ? (*this)[key].text() : other;
  }
  bool flag_or(const std::string& key, bool other) const { return has(key) ? (*this)[key].flag() : other; }
  /// The elements of an array.
  std::vector<JsonValue> items() const {
    if (!value_->is_array()) expected("an array");
    std::vector<JsonValue> out;
    out.reserve(value_->size());
    for (std::size_t i = 0; i < value_->size(); ++i)
      out.emplace_back((*value_)[i], place_ + "[" + std::to_string(i) + "]");
    return out;
  }

 private:
  const nlohmann::json* value_;
  std::string place_;
};

}  // namespace calm::text::detail
