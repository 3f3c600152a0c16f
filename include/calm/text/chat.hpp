/// \file  A conversation: what a chat's template makes a text of.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/tensor/error.hpp"
#include "calm/text/chat_template/json_value.hpp"
#include "calm/text/chat_template/value.hpp"

namespace calm::text {

/// One turn of a conversation.
struct ChatMessage {
  std::string role;  ///< "system", "user", "assistant", or what else the template knows
  std::string content;
};

/// Messages, and the tools and documents that the assistant may use. Copies share them.
class Chat {
 public:
  /// Throws `Error` for what is not UTF-8.
  Chat(std::initializer_list<ChatMessage> messages) : Chat(std::vector<ChatMessage>(messages)) {}
  explicit Chat(const std::vector<ChatMessage>& messages) {
    jinja::List out;
    for (const ChatMessage& message : messages) {
      require_utf8(message);
      jinja::Dict dict{.items = {{"role", text(message.role)}, {"content", text(message.content)}}};
      out.items.emplace_back(std::make_shared<const jinja::Dict>(std::move(dict)));
    }
    out.depth = 2;
    set(std::move(out));
  }

  /// Reads {"messages": [...], "tools": [...], "documents": [...]}, of which all but "messages" may be missing, or a
  /// list of messages; other keys are skipped. A message may have fields besides "role" and "content". Throws `Error`
  /// with `name` for what is no JSON or no chat.
  static Chat from_json(std::string_view json, const std::string& name = "chat") {
    const jinja::Value value = jinja::value_of_json(json, name);
    const jinja::Dict* object = jinja::as_dict(value);
    const jinja::Value* messages = object ? object->find("messages") : &value;
    if (!messages || !jinja::as_list(*messages))
      throw Error("calm::text: " + name +
                  ": expected a list of messages, or an object with one as \"messages\", found " +
                  jinja::kind_of(messages ? *messages : value));
    Chat out(*jinja::as_list(*messages), name);
    if (!object) return out;
    for (auto& [key, member] : {std::pair("tools", &out.tools_), std::pair("documents", &out.documents_)}) {
      const jinja::Value* found = object->find(key);
      if (!found || jinja::holds<jinja::None>(*found)) continue;
      if (!jinja::as_list(*found))
        throw Error("calm::text: " + name + ": key \"" + key + "\": expected a list, found " + jinja::kind_of(*found));
      *member = *found;
    }
    return out;
  }

  /// How many messages there are.
  std::size_t size() const { return jinja::as_list(messages_)->items.size(); }
  /// The role of message `i`, which must be below size().
  const std::string& role(std::size_t i) const {
    return *jinja::as_text(*jinja::as_dict(jinja::as_list(messages_)->items[i])->find("role"));
  }
  /// The first `n` messages, with the same tools and documents.
  Chat first(std::size_t n) const {
    const auto& items = jinja::as_list(messages_)->items;
    Chat out = *this;
    jinja::List some{.items = {items.begin(), items.begin() + static_cast<std::ptrdiff_t>(std::min(n, items.size()))}};
    some.depth = jinja::as_list(messages_)->depth;
    out.set(std::move(some));
    return out;
  }

  /// What the template sees.
  const jinja::Value& messages() const { return messages_; }
  const jinja::Value& tools() const { return tools_; }
  const jinja::Value& documents() const { return documents_; }

 private:
  /// Checks that each message has a role.
  Chat(const jinja::List& messages, const std::string& name) {
    for (std::size_t i = 0; i < messages.items.size(); ++i) {
      const jinja::Dict* message = jinja::as_dict(messages.items[i]);
      const jinja::Value* role = message ? message->find("role") : nullptr;
      if (!role || !jinja::as_text(*role))
        throw Error("calm::text: " + name + ": message " + std::to_string(i + 1) +
                    R"(: expected an object {"role": "...", ...}, found )" +
                    (role      ? "a role that is " + jinja::kind_of(*role)
                     : message ? "no role"
                               : jinja::kind_of(messages.items[i])));
    }
    set(messages);
  }

  static jinja::Value text(const std::string& text) { return std::make_shared<const std::string>(text); }
  static void require_utf8(const ChatMessage& message) {
    for (const std::string* part : {&message.role, &message.content}) {
      const std::size_t invalid = find_invalid_utf8(*part);
      calm::detail::require(invalid == part->npos, [&] {
        return "calm::text::Chat: expected UTF-8, found an invalid byte at " + std::to_string(invalid) +
               " of a message; calm::text::repair_utf8 replaces what is invalid by U+FFFD";
      });
    }
  }
  void set(jinja::List messages) { messages_ = std::make_shared<const jinja::List>(std::move(messages)); }

  jinja::Value messages_, tools_ = jinja::None(), documents_ = jinja::None();
};

}  // namespace calm::text
