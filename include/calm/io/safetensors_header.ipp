/// \file  Definitions of safetensors_header.hpp: the reader of its JSON, and the writer.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/io/safetensors_header.hpp"
#include "calm/tensor/error.hpp"
#include "calm/text/utf8.hpp"

namespace calm::io {

namespace detail {

CALM_INLINE std::string in_quotes(std::string_view name) {
  std::string out = "'";
  for (const char c : text::repair_utf8(name.substr(0, 120)))
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out + (name.size() > 120 ? "...'" : "'");
}

/// Receives the JSON of a header piece by piece and refuses the first thing that may not stand there; nothing nests
/// deeper than the format needs, so depth and memory are bounded.
class HeaderHandler {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  HeaderHandler(const std::string& path, SafetensorsHeader& header) : path_(path), header_(header) {}

  bool null() { unexpected("null"); }
  bool boolean(bool) { unexpected("a boolean"); }
  bool number_integer(number_integer_t n) { unexpected("the number " + std::to_string(n)); }
  bool number_float(number_float_t, const string_t& text) { unexpected("the number " + in_quotes(text)); }
  bool binary(binary_t&) { unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t n) {
    if (where_ == Where::shape) {
      if (entry_->shape.size() == max_header_rank) fail("expected at most 64 axes, found more");
      entry_->shape.push_back(static_cast<std::size_t>(n));
    } else if (where_ == Where::offsets) {
      if (offset_count_ == 2) fail("expected two data_offsets, found more");
      offsets_[offset_count_++] = static_cast<std::size_t>(n);
    } else {
      unexpected("the number " + std::to_string(n));
    }
    return true;
  }

  bool string(string_t& text) {
    if (where_ == Where::metadata) {
      metadata_value_->swap(text);
    } else if (where_ == Where::tensor && field_ == Field::dtype) {
      const std::size_t i = stored_type_index(text);
      if (i == stored_types.size()) fail("expected a dtype of the format, found " + in_quotes(text));
      entry_->dtype = stored_types[i].name;
    } else {
      unexpected("the text " + in_quotes(text));
    }
    return true;
  }

  bool start_object(std::size_t) {
    if (where_ == Where::outside) where_ = Where::header;
    else if (where_ == Where::header) where_ = in_metadata_ ? Where::metadata : Where::tensor;
    else unexpected("an object");
    return true;
  }

  bool end_object() {
    if (where_ == Where::tensor) finish_tensor();
    where_ = where_ == Where::header ? Where::outside : Where::header;
    return true;
  }

  bool start_array(std::size_t) {
    if (where_ == Where::tensor && field_ == Field::shape) where_ = Where::shape;
    else if (where_ == Where::tensor && field_ == Field::offsets) where_ = Where::offsets;
    else unexpected("an array");
    return true;
  }

  bool end_array() {
    where_ = Where::tensor;
    return true;
  }

  bool key(string_t& name) {
    if (where_ == Where::header) begin_entry(name);
    else if (where_ == Where::metadata) begin_metadata(name);
    else begin_field(name);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& e) {
    throw Error("calm::io: " + path_ + ": the header is not valid JSON at its byte " + std::to_string(position) +
                ": " + in_quotes(e.what()));
  }

 private:
  enum class Where { outside, header, metadata, tensor, shape, offsets };
  enum class Field { dtype, shape, offsets };

  void begin_entry(const std::string& name) {
    in_metadata_ = name == "__metadata__";
    name_ = name;
    if (in_metadata_) {
      if (std::exchange(has_metadata_, true)) fail("the key stands twice in the header");
      return;
    }
    if (header_.tensors.size() == max_header_entries) fail("expected at most 1048576 tensors, found more");
    const auto [place, is_new] = header_.tensors.try_emplace(name);
    if (!is_new) fail("the name stands twice in the header");
    entry_ = &place->second;
    seen_ = {};
    offset_count_ = 0;
  }

  void begin_metadata(const std::string& name) {
    if (header_.metadata.size() == max_header_entries) fail("expected at most 1048576 entries, found more");
    const auto [place, is_new] = header_.metadata.try_emplace(name);
    if (!is_new) fail("the key " + in_quotes(name) + " stands twice");
    metadata_value_ = &place->second;
  }

  void begin_field(const std::string& name) {
    if (name == "dtype") field_ = Field::dtype;
    else if (name == "shape") field_ = Field::shape;
    else if (name == "data_offsets") field_ = Field::offsets;
    else fail("expected dtype, shape and data_offsets, found the key " + in_quotes(name));
    if (std::exchange(seen_[static_cast<std::size_t>(field_)], true)) fail("the key " + name + " stands twice");
  }

  void finish_tensor() {
    static constexpr const char* names[] = {"dtype", "shape", "data_offsets"};
    for (std::size_t i = 0; i < 3; ++i) {
      if (!seen_[i]) fail(std::string("expected the key ") + names[i] + ", found none");
    }
    if (offset_count_ != 2) fail("expected two data_offsets, found " + std::to_string(offset_count_));
    const auto [begin, end] = offsets_;
    if (begin > end) fail("data_offsets [" + std::to_string(begin) + ", " + std::to_string(end) + "] run backwards");
    const std::size_t bits = stored_types[stored_type_index(entry_->dtype)].bits;
    const std::string what = std::string(entry_->dtype) + " " + shape_text(entry_->shape);
    if (!checked_bytes(entry_->shape, bits, entry_->bytes)) fail(what + " is not a countable number of bytes");
    if (entry_->bytes != end - begin)
      fail(what + ": expected " + std::to_string(entry_->bytes) + " bytes, found " + std::to_string(end - begin) +
           " by its data_offsets");
    entry_->offset = begin;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error("calm::io: " + path_ + ": " + (in_metadata_ ? "" : "tensor ") + in_quotes(name_) + ": " + what +
                "; the file is damaged or was not written as safetensors");
  }

  [[noreturn]] void unexpected(const std::string& found) const {
    static constexpr const char* expected[] = {"an object",
                                               "an object for each name",
                                               "text for each key",
                                               "dtype as text, shape and data_offsets as arrays",
                                               "extents as unsigned whole numbers below 2^64",
                                               "offsets as unsigned whole numbers below 2^64"};
    fail(std::string("expected ") + expected[static_cast<std::size_t>(where_)] + ", found " + found);
  }

  const std::string& path_;
  SafetensorsHeader& header_;
  Where where_ = Where::outside;
  Field field_ = Field::dtype;
  bool in_metadata_ = false, has_metadata_ = false;
  std::string name_;  // the entry being read, for messages
  SafetensorsEntry* entry_ = nullptr;
  std::string* metadata_value_ = nullptr;
  std::array<bool, 3> seen_{};
  std::array<std::size_t, 2> offsets_{};
  std::size_t offset_count_ = 0;
};

/// The tensors lie in the data section one behind the other, from its first byte to its last.
inline void check_layout(const std::string& path, const SafetensorsHeader& header, std::size_t data_bytes) {
  std::vector<std::pair<std::string_view, const SafetensorsEntry*>> order;
  order.reserve(header.tensors.size());
  for (const auto& [name, entry] : header.tensors) order.emplace_back(name, &entry);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->offset, a.second->bytes) < std::pair(b.second->offset, b.second->bytes);
  });
  std::size_t end = 0;
  for (const auto& [name, entry] : order) {
    const auto fail = [&, name = name](const std::string& what) {
      throw Error("calm::io: " + path + ": tensor " + in_quotes(name) + ": " + what);
    };
    if (entry->offset < end) fail("its data overlap those of another tensor at byte " + std::to_string(entry->offset));
    if (entry->offset > end) fail("bytes " + std::to_string(end) + " to " + std::to_string(entry->offset) +
                                  " in front of its data belong to no tensor");
    if (entry->bytes > data_bytes - end)
      fail("its data end at byte " + std::to_string(entry->offset + entry->bytes) + ", but the file holds only " +
           std::to_string(data_bytes) + " bytes of data; it was cut off, copy it again");
    end += entry->bytes;
  }
  calm::detail::require(end == data_bytes, [&] {
    return "calm::io: " + path + ": expected " + std::to_string(end) + " bytes of data, found " +
           std::to_string(data_bytes) + ": " + std::to_string(data_bytes - end) +
           " bytes at the end belong to no tensor";
  });
}

/// What `nlohmann::json::sax_parse` does for JSON; that function also compiles the readers of four binary formats.
inline void parse_json(const char* text, std::size_t n, HeaderHandler& handler) {
  auto input = nlohmann::detail::input_adapter(text, text + n);
  nlohmann::detail::parser<nlohmann::json, decltype(input)>(std::move(input)).sax_parse(&handler);
}

/// `s`, which is UTF-8, as JSON.
inline std::string json_text(std::string_view s) {
  static constexpr std::string_view short_escapes = "\"\\\b\f\n\r\t", letters = "\"\\bfnrt";
  std::string out = "\"";
  for (const char c : s) {
    const std::size_t i = short_escapes.find(c);
    if (i != std::string_view::npos)
      (out += '\\') += letters[i];
    else if (static_cast<unsigned char>(c) < 0x20)
      ((out += "\\u00") += c < 0x10 ? '0' : '1') += "0123456789abcdef"[c & 15];
    else
      out += c;
  }
  return out += '"';
}

}  // namespace detail

CALM_INLINE SafetensorsHeader parse_safetensors_header(const std::string& path, const std::byte* data,
                                                       std::size_t size) {
  const auto fail = [&](const std::string& what) {
    throw Error("calm::io: " + path + ": " + what + "; the file is damaged or is not safetensors");
  };
  if (size < 8) fail("expected at least 8 bytes, found " + std::to_string(size));
  std::uint64_t length = 0;
  std::memcpy(&length, data, 8);
  if (length > max_header_bytes)
    fail("expected a header of at most 100000000 bytes, found one of " + std::to_string(length));
  if (length > size - 8)
    fail("expected a header of " + std::to_string(length) + " bytes, found " + std::to_string(size - 8) +
         " in the rest of the file");
  const char* text = reinterpret_cast<const char*>(data) + 8;
  const auto n = static_cast<std::size_t>(length);
  if (n == 0 || text[0] != '{') fail("expected a header that begins with '{', found none");
  if (std::memchr(text, 0, n) != nullptr) fail("found a zero byte in the header");  // the parser would stop there
  SafetensorsHeader header;
  header.data_begin = 8 + n;
  detail::HeaderHandler handler(path, header);
  detail::parse_json(text, n, handler);
  detail::check_layout(path, header, size - header.data_begin);
  return header;
}

CALM_INLINE std::string format_safetensors_header(
    const std::string& path, const SafetensorsMetadata& metadata,
    const std::vector<std::pair<std::string_view, const SafetensorsEntry*>>& tensors) {
  const auto json_text = [&](std::string_view s) {
    if (text::find_invalid_utf8(s) != std::string_view::npos) {
      throw Error("calm::io: " + path + ": " + detail::in_quotes(s) +
                  " is not valid UTF-8, as names and metadata must be");
    }
    return detail::json_text(s);
  };
  std::string out(8, '\0');
  out += "{\"__metadata__\":{";
  const char* comma = "";
  for (const auto& [key, value] : metadata) {
    out += comma;
    out += json_text(key) + ":" + json_text(value);
    comma = ",";
  }
  out += "}";
  for (const auto& [name, entry] : tensors) {
    out += ',';
    out += json_text(name) + ":{\"dtype\":\"" + std::string(entry->dtype) + "\",\"shape\":" +
           detail::shape_text(entry->shape) + ",\"data_offsets\":[" + std::to_string(entry->offset) + "," +
           std::to_string(entry->offset + entry->bytes) + "]}";
  }
  out += "}";
  out.append((8 - out.size() % 8) % 8, ' ');
  const std::uint64_t length = out.size() - 8;
  calm::detail::require(length <= max_header_bytes && tensors.size() <= max_header_entries, [&] {
    return "calm::io: " + path + ": a header of " + std::to_string(length) + " bytes for " +
           std::to_string(tensors.size()) + " tensors is beyond the format's limits; split the file";
  });
  std::memcpy(out.data(), &length, 8);
  return out;
}

}  // namespace calm::io
