/// \file  The arguments of a call, by place and by name.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/text/chat_template/machine.hpp"
#include "calm/text/chat_template/operators.hpp"
#include "calm/text/chat_template/value.hpp"

namespace calm::text::jinja {

/// The values that a call was given, before they are matched with names.
struct Arguments {
  std::vector<Value> values{};
  std::vector<std::pair<std::string_view, Value>> named{};
};

/// Arguments matched with the names that a function, method, filter or test has for them.
class Bound {
 public:
  /// `what` names the function in messages. Fails for arguments that it does not have, or has twice.
  Bound(Machine& machine, std::string what, const Arguments& given, std::initializer_list<std::string_view> names)
      : machine_(machine), what_(std::move(what)), names_(names), values_(names.size()) {
    if (given.values.size() > names_.size())
      fail("expected at most " + std::to_string(names_.size()) + " arguments, found " +
           std::to_string(given.values.size()));
    for (std::size_t i = 0; i < given.values.size(); ++i) values_[i] = &given.values[i];
    for (const auto& [name, value] : given.named) {
      const auto it = std::find(names_.begin(), names_.end(), name);
      if (it == names_.end()) fail("the argument " + shown(name) + " is not supported");
      const Value*& place = values_[static_cast<std::size_t>(it - names_.begin())];
      if (place) fail("the argument " + shown(name) + " is given twice");
      place = &value;
    }
  }

  /// The argument, or null if it was not given.
  const Value* operator[](std::size_t i) const { return values_[i]; }
  const Value& need(std::size_t i) const {
    if (!values_[i]) fail("expected the argument " + shown(names_[i]) + ", found none");
    return *values_[i];
  }
  const std::string& need_text(std::size_t i) const {
    const std::string* text = as_text(need(i));
    if (!text) fail("argument " + shown(names_[i]) + ": expected a text, found " + kind_of(need(i)));
    return *text;
  }
  /// A text, or null where it was not given or is none.
  const std::string* text_or_none(std::size_t i) const {
    return values_[i] && !holds<None>(*values_[i]) ? &need_text(i) : nullptr;
  }
  std::int64_t integer_or(std::size_t i, std::int64_t otherwise) const {
    if (!values_[i]) return otherwise;
    const auto out = as_integer(*values_[i]);
    if (!out) fail("argument " + shown(names_[i]) + ": expected a whole number, found " + kind_of(*values_[i]));
    return *out;
  }
  bool flag(std::size_t i) const { return values_[i] && is_true(*values_[i]); }

  [[noreturn]] void fail(const std::string& what) const { machine_.fail(what_ + ": " + what); }

 private:
  Machine& machine_;
  std::string what_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
};

}  // namespace calm::text::jinja
