/// \file  One line of a JSONL file of texts, read strictly.
///
/// A line is an object with the key "text", or the keys "prompt" and "completion", all strings, or "messages", a chat.
/// Other keys are skipped, so that files with ids and notes can be used as they are.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "calm/tensor/error.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text {

/// What the lines of a file hold.
enum class JsonlKind {
  text,  ///< {"text": ...}: all of it is to be learned
  pair,  ///< {"prompt": ..., "completion": ...}: the completion is
  chat,  ///< {"messages": [{"role": ..., "content": ...}, ...]}: what the assistant says is
};

/// The strings of one line; those of the other kinds are empty.
struct JsonlLine {
  JsonlKind kind = JsonlKind::text;
  std::string text{}, prompt{}, completion{};
  std::string chat{};  ///< the whole line as it stands in the file, for a chat's template (text/chat.hpp)
};

/// Where a line stands, for messages.
struct JsonlPlace {
  std::string_view path;
  std::size_t line = 0;  ///< counted from 1, as editors do
};

namespace detail {

/// Throws "calm::text: <path>:<line>: <what>".
[[noreturn]] inline void fail_line(const JsonlPlace& place, const std::string& what) {
  throw Error("calm::text: " + std::string(place.path) + ":" + std::to_string(place.line) + ": " + what);
}

/// A string from a file as it may stand in a message: in quotes, shortened, valid, without control characters.
inline std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (const char c : repair_utf8(text.substr(0, 80))) out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  return out + (text.size() > 80 ? "...\"" : "\"");
}

inline constexpr std::string_view jsonl_shapes =
    R"({"text": ...}, {"prompt": ..., "completion": ...} or {"messages": [...]})";

/// Receives the JSON of a line piece by piece; keeps the three strings, and refuses what may not stand there. Depth is
/// bounded, memory by the line's length.
class JsonlHandler {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  JsonlHandler(const JsonlPlace& place, JsonlLine& out) : place_(place), out_(out) {}

  bool null() { return skip("null"); }
  bool boolean(bool) { return skip("a boolean"); }
  bool number_integer(number_integer_t) { return skip("a number"); }
  bool number_unsigned(number_unsigned_t) { return skip("a number"); }
  bool number_float(number_float_t, const string_t&) { return skip("a number"); }
  bool binary(binary_t&) { return skip("binary data"); }

  bool string(string_t& value) {
    if (depth_ == 1 && field_ < messages) {
      (field_ == text ? out_.text : field_ == prompt ? out_.prompt : out_.completion).swap(value);
      return true;
    }
    if (depth_ == 3 && field_ == messages && std::exchange(is_role_, false)) return has_role_ = true;
    return skip("a string");
  }

  bool start_object(std::size_t) {
    if (depth_ == 2 && field_ == messages) {
      ++messages_;
      has_role_ = false;
    } else if (depth_ > 0) {
      skip("an object");
    }
    return open();
  }
  bool start_array(std::size_t) {
    if (depth_ != 1 || field_ != messages) skip("an array");
    return open();
  }
  bool end_array() { return --depth_, true; }
  bool end_object() {
    if (--depth_ == 0) finish();
    if (depth_ == 2 && field_ == messages && !has_role_)
      fail_line(place_, "message " + std::to_string(messages_) + ": expected the key \"role\", found none");
    return true;
  }

  bool key(string_t& name) {
    if (depth_ == 3 && field_ == messages) is_role_ = name == "role";
    if (depth_ != 1) return true;
    field_ = none;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (name == names[i]) field_ = static_cast<Field>(i);
    }
    if (field_ != none && std::exchange(seen_[field_], true))
      fail_line(place_, "expected each key once, found " + in_quotes(name) + " twice");
    if (field_ == none && name == "conversations")
      fail_line(place_, "found the key \"conversations\": expected " + std::string(jsonl_shapes) +
                            R"(, each message as {"role": ..., "content": ...}; rename the keys)");
    if (field_ == none && others_.size() < 100) others_ += (others_.empty() ? "" : ", ") + in_quotes(name);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& e) {
    const std::string_view what = e.what();
    const std::size_t reason = what.find("syntax error");
    fail_line(place_, "expected JSON, found at byte " + std::to_string(position) +
                          " of the line: " + repair_utf8(what.substr(reason == std::string_view::npos ? 0 : reason)));
  }

 private:
  static constexpr std::size_t max_depth = 64;

  bool open() {
    if (++depth_ > max_depth) fail_line(place_, "expected values at most 64 deep, found deeper ones");
    return true;
  }

  enum Field : std::size_t { text, prompt, completion, messages, none };
  static constexpr std::array<std::string_view, 4> names{"text", "prompt", "completion", "messages"};

  /// A value that is none of ours, or of the wrong kind.
  bool skip(const char* found) {
    if (depth_ == 0)
      fail_line(place_, "expected an object, " + std::string(jsonl_shapes) + ", found " + std::string(found));
    if (depth_ == 1 && field_ == messages)
      fail_line(place_, std::string("key \"messages\": expected a list of messages, found ") + found);
    if (depth_ == 1 && field_ != none)
      fail_line(place_, "key " + in_quotes(names[field_]) + ": expected a string, found " + found);
    if (depth_ == 2 && field_ == messages)
      fail_line(place_, "message " + std::to_string(messages_ + 1) +
                            R"(: expected an object, {"role": ..., "content": ...}, found )" + found);
    if (depth_ == 3 && field_ == messages && is_role_)
      fail_line(place_, "message " + std::to_string(messages_) + ": key \"role\": expected a string, found " + found);
    return true;
  }

  void finish() {
    const std::size_t kinds = seen_[text] + (seen_[prompt] || seen_[completion]) + seen_[messages];
    if (kinds > 1) {
      const auto first = static_cast<std::size_t>(std::find(seen_.begin(), seen_.end(), true) - seen_.begin());
      const std::size_t second = seen_[messages] ? messages : seen_[prompt] ? prompt : completion;
      fail_line(place_, "found two kinds, " + in_quotes(names[first]) + " and " + in_quotes(names[second]) +
                            "; expected either " + std::string(jsonl_shapes));
    }
    if (seen_[prompt] != seen_[completion])
      fail_line(place_, "expected the key " + in_quotes(names[seen_[prompt] ? completion : prompt]) + " beside " +
                            in_quotes(names[seen_[prompt] ? prompt : completion]) + ", found " +
                            (others_.empty() ? "no other" : others_));
    if (kinds == 0)
      fail_line(place_, "expected " + std::string(jsonl_shapes) + ", found " +
                            (others_.empty() ? "an object without keys" : "only the keys " + others_) +
                            "; rename the key that holds the text");
    if (seen_[messages] && messages_ == 0) fail_line(place_, "key \"messages\": expected a message, found none");
    out_.kind = seen_[text] ? JsonlKind::text : seen_[messages] ? JsonlKind::chat : JsonlKind::pair;
  }

  const JsonlPlace& place_;
  JsonlLine& out_;
  std::size_t depth_ = 0;
  Field field_ = none;
  std::array<bool, 4> seen_{};
  std::size_t messages_ = 0;  ///< that have begun
  bool is_role_ = false;      ///< the value that comes is a message's role
  bool has_role_ = false;     ///< the message has one
  std::string others_;        ///< keys that are skipped, for the message of a missing one
};

}  // namespace detail

/// Reads the bytes of one line, without its newline, into `out`, reusing its memory. Throws `Error` with the place.
inline void parse_jsonl_line(std::string_view bytes, const JsonlPlace& place, JsonlLine& out) {
  const std::size_t invalid = find_invalid_utf8(bytes);
  if (invalid != std::string_view::npos)
    detail::fail_line(place, "expected UTF-8, found an invalid byte at " + std::to_string(invalid) +
                                 " of the line; convert the file, as with iconv");
  if (bytes.starts_with("\xEF\xBB\xBF"))
    detail::fail_line(place, "expected an object, found a byte order mark; save the file as UTF-8 without one");
  if (bytes.find_first_not_of(" \t\r") == std::string_view::npos)
    detail::fail_line(place, "expected an object, found an empty line; remove it");
  out.text.clear();
  out.prompt.clear();
  out.completion.clear();
  out.chat.clear();
  detail::JsonlHandler handler(place, out);
  nlohmann::json::sax_parse(bytes, &handler);
  if (out.kind == JsonlKind::chat) out.chat = bytes;
}

}  // namespace calm::text
