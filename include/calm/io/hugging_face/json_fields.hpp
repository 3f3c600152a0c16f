/// \file  The fields of a JSON object, each asked for by name; what nobody asked for is refused.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/io/safetensors_header.hpp"
#include "calm/tensor/dtype.hpp"
#include "calm/tensor/error.hpp"

namespace calm::io {

/// Reads an object of a model directory's JSON. A field that is null counts as absent, but where that is said
/// (`…_or_none`). Errors name the file and the field.
class JsonFields {
 public:
  /// `object` must outlive this; `where` stands before its fields in messages ("rope_parameters.").
  JsonFields(std::string path, const nlohmann::json& object, std::string where = {})
      : path_(std::move(path)), where_(std::move(where)), object_(&object) {
    calm::detail::require(object.is_object(), [&] {
      return "calm::io: " + path_ + ": " + (where_.empty() ? "" : where_ + ": ") + "expected an object, found " +
             object.type_name();
    });
  }

  /// The field's value, or null if it is absent.
  const nlohmann::json* find(const std::string& key) {
    asked_.insert(key);
    const auto place = object_->find(key);
    return place == object_->end() || place->is_null() ? nullptr : &*place;
  }
  bool has(const std::string& key) { return find(key) != nullptr; }

  /// A whole number from 0 to 2^31 - 1.
  std::size_t count(const std::string& key, std::optional<std::size_t> otherwise = {}) {
    const nlohmann::json* value = find(key);
    if (value == nullptr && otherwise) return *otherwise;
    if (value == nullptr) fail(key, "expected a whole number, found nothing");
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > 0x7fffffff)
      fail(key, "expected a whole number from 0 to 2147483647, found " + shown(*value));
    return value->get<std::size_t>();
  }
  /// A number above 0.
  double positive(const std::string& key, std::optional<double> otherwise = {}) {
    const nlohmann::json* value = find(key);
    if (value == nullptr && otherwise) return *otherwise;
    if (value == nullptr) fail(key, "expected a number, found nothing");
    if (!value->is_number() || !(value->get<double>() > 0) || !std::isfinite(value->get<double>()))
      fail(key, "expected a number above 0, found " + shown(*value));
    return value->get<double>();
  }
  /// A number above 0 that null switches off: 0 then, and `otherwise` if the field is not there at all.
  double positive_or_none(const std::string& key, double otherwise) {
    return positive(key, object_->contains(key) ? 0 : otherwise);
  }
  std::size_t count_or_none(const std::string& key, std::size_t otherwise) {
    return count(key, object_->contains(key) ? 0 : otherwise);
  }
  bool flag(const std::string& key, bool otherwise) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) fail(key, "expected true or false, found " + shown(*value));
    return value->get<bool>();
  }
  std::string text(const std::string& key, std::optional<std::string> otherwise = {}) {
    const nlohmann::json* value = find(key);
    if (value == nullptr && otherwise) return *otherwise;
    if (value == nullptr || !value->is_string())
      fail(key, "expected text, found " + (value == nullptr ? "nothing" : shown(*value)));
    return value->get<std::string>();
  }
  /// Token ids, one or a list of them; none if the field is absent.
  std::vector<Index> tokens(const std::string& key) {
    std::vector<Index> all;
    const nlohmann::json* value = find(key);
    if (value == nullptr) return all;
    for (const auto& token : value->is_array() ? *value : nlohmann::json::array({*value})) {
      if (!token.is_number_unsigned() || token.get<std::uint64_t>() > 0x7fffffff)
        fail(key, "expected a token or a list of tokens, found " + shown(*value));
      all.push_back(static_cast<Index>(token.get<std::uint64_t>()));
    }
    return all;
  }
  /// An object within this one.
  JsonFields object(const std::string& key) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) fail(key, "expected an object, found nothing");
    return {path_, *value, where_ + key + "."};
  }

  /// Throws unless the flag says `expected`; `otherwise` is what its absence means.
  void require_flag(const std::string& key, bool expected, bool otherwise) {
    if (flag(key, otherwise) != expected)
      fail(key, std::string("expected ") + (expected ? "true" : "false") + ", found the other; calm has no such model");
  }
  /// Throws unless the text is one of `allowed`; absent, it is the first of them.
  std::string one_of(const std::string& key, std::initializer_list<std::string_view> allowed) {
    const std::string found = text(key, std::string(*allowed.begin()));
    std::string list;
    for (const std::string_view a : allowed) {
      if (found == a) return found;
      list += (list.empty() ? "" : ", ") + std::string(a);
    }
    fail(key, "expected " + list + ", found " + detail::in_quotes(found));
  }

  /// Throws for a field that nobody asked for, unless it is null, one of `ignored`, or begins with '_'.
  void finish(std::span<const std::string_view> ignored = {}) const {
    for (const auto& [key, value] : object_->items()) {
      if (asked_.contains(key) || value.is_null() || key.starts_with('_')) continue;
      bool known = false;
      for (const std::string_view name : ignored) known = known || name == key;
      if (!known)
        fail(key, "an unknown field, " + shown(value) +
                      ", which may change what the model computes; remove it if you know that it does not");
    }
  }

  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    std::string message = "calm::io: ";
    message.append(path_).append(": ").append(detail::in_quotes(where_ + key)).append(": ").append(what);
    throw Error(message);
  }

 private:
  static std::string shown(const nlohmann::json& value) {
    return detail::in_quotes(value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
  }

  std::string path_, where_;
  const nlohmann::json* object_;
  std::set<std::string> asked_;
};

}  // namespace calm::io
