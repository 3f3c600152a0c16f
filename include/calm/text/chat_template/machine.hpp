/// \file  What bounds a rendering, and the makers of its values.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/text/chat_template/source.hpp"
#include "calm/text/chat_template/value.hpp"

namespace calm::text {

/// What one rendering may use. A chat of a thousand messages and a megabyte takes up to 260 000 steps.
struct ChatLimits {
  std::size_t steps = 4'000'000;                    ///< one per value, and one per 32 bytes of text
  std::size_t output_bytes = std::size_t{1} << 24;  ///< of the result, and of each text on the way
};

namespace jinja {

/// Counts a rendering's steps and makes its values. Since whatever is made or walked through is paid for in steps, time
/// and memory are bounded by them.
class Machine {
 public:
  Machine(const Source& source, const ChatLimits& limits) : source_(&source), limits_(limits), left_(limits.steps) {}

  std::size_t at = 0;  ///< the byte of the template that is being worked on, for messages

  [[noreturn]] void fail(const std::string& what) const { source_->fail(at, what); }
  [[noreturn]] void unsupported(const std::string& what) const { fail(what + " is not supported"); }

  void spend(std::size_t steps) {
    if (steps > left_)
      fail("takes more than " + std::to_string(limits_.steps) + " steps; shorten the chat, or raise ChatLimits::steps");
    left_ -= steps;
  }
  /// Pays for going through `bytes` of text.
  void read(std::size_t bytes) { spend(1 + bytes / 32); }
  /// Pays for looking for one text in another.
  void search(std::size_t bytes, std::size_t wanted) { spend((1 + bytes / 32) * (1 + wanted / 32)); }

  void require_room(std::size_t bytes) const {
    if (bytes > limits_.output_bytes)
      fail("makes a text of more than " + std::to_string(limits_.output_bytes) +
           " bytes; shorten the chat, or raise ChatLimits::output_bytes");
  }
  /// Appends to a text that is being made.
  void append(std::string& out, std::string_view more) {
    require_room(out.size() + more.size());
    read(more.size());
    out += more;
  }

  Value text(std::string made) {
    require_room(made.size());
    read(made.size());
    return std::make_shared<const std::string>(std::move(made));
  }
  Value text(std::string_view copied) {
    require_room(copied.size());
    return text(std::string(copied));
  }
  Value list(std::vector<Value> items, List::Kind kind = List::list) {
    spend(1 + items.size());
    List out{std::move(items), kind};
    for (const Value& v : out.items) nest(out.depth, v);
    return std::make_shared<const List>(std::move(out));
  }
  Value dict(std::vector<std::pair<std::string, Value>> items) {
    spend(1 + items.size());
    Dict out{std::move(items)};
    for (const auto& [key, v] : out.items) nest(out.depth, v);
    return std::make_shared<const Dict>(std::move(out));
  }
  Value make_namespace(Namespace members) {
    spend(1 + members.members.size());
    return namespaces_.emplace_back(std::make_unique<Namespace>(std::move(members))).get();
  }

  const Value* find(const Dict& dict, std::string_view key) {
    spend(1 + dict.items.size() / 8);
    return dict.find(key);
  }

  /// What `for` goes through: the items of a list, the characters of a text, the keys of a dict, nothing of an
  /// undefined value. Fails for what has none.
  ListPtr elements(const Value& v) {
    if (const ListPtr* list = std::get_if<ListPtr>(&v)) {
      if ((*list)->kind == List::iterator && std::exchange((*list)->used, true))
        fail("an iterator is walked through twice, and would be empty now; make a list of it by the filter 'list'");
      spend(1 + (*list)->items.size());
      return *list;
    }
    std::vector<Value> items;
    if (const std::string* s = as_text(v)) {
      for (std::size_t i = 0, n; i < s->size(); i += n) {
        n = code_point_at(*s, i).bytes;
        items.push_back(text(std::string_view(*s).substr(i, n)));
      }
    } else if (const Dict* dict = as_dict(v)) {
      for (const auto& item : dict->items) items.push_back(text(std::string_view(item.first)));
    } else if (!holds<Undefined>(v)) {
      fail("expected something to go through, found " + kind_of(v));
    }
    return std::get<ListPtr>(list(std::move(items)));
  }

 private:
  void nest(int& depth, const Value& inner) const {
    depth = std::max(depth, 1 + depth_of(inner));
    if (depth > max_nesting) fail("nests values more than " + std::to_string(max_nesting) + " deep");
  }

  const Source* source_;
  ChatLimits limits_;
  std::size_t left_;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
};

}  // namespace jinja
}  // namespace calm::text
