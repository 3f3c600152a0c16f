/// \file  Which bytes of a rendered chat the assistant says.
///
/// A template with {% generation %} says so itself. Of any other, the assistant's turn is what the chat up to it, with
/// the generation prompt, leaves of the chat with it; templates that render the beginning of a chat differently when
/// more messages follow are refused, since no bytes of theirs are one turn's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "calm/tensor/error.hpp"
#include "calm/text/chat.hpp"
#include "calm/text/chat_template.hpp"

namespace calm::text {

/// Which of the assistant's turns are learned.
enum class ChatTurns {
  all,   ///< each of them, as an answer to what stands before it
  last,  ///< the last one: where earlier turns lose their thoughts, as in reasoning models, no other can be learned
};

namespace detail {

/// The numbers of the messages that the assistant says.
inline std::vector<std::size_t> assistant_turns(const Chat& chat) {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < chat.size(); ++i) {
    if (chat.role(i) == "assistant") out.push_back(i);
  }
  calm::detail::require(!out.empty(), [&] {
    return "calm::text: chat: expected a message of the role \"assistant\" to learn, found none among " +
           std::to_string(chat.size()) + " messages";
  });
  return out;
}

/// How long `part` is, which must begin `whole`; both are renderings of a chat up to message `n`, counted from 1.
inline std::size_t prefix_length(std::string_view part, std::string_view whole, std::size_t n, const char* what) {
  if (whole.starts_with(part)) return part.size();
  const auto same = static_cast<std::size_t>(std::mismatch(part.begin(), part.end(), whole.begin(), whole.end()).first -
                                             part.begin());
  throw Error("calm::text: chat: the template renders the chat up to message " + std::to_string(n) + ", " + what +
              ", differently when more messages follow: at byte " + std::to_string(same) + " " +
              jinja::shown(part.substr(same, 20)) + ", in the whole " + jinja::shown(whole.substr(same, 20)) +
              "; learn ChatTurns::last alone, or use a template with {% generation %}");
}

}  // namespace detail

/// Renders a chat up to the assistant's last message, with the bytes that it says, turn by turn. Of `options`,
/// `add_generation_prompt` is not looked at. Throws `Error` if the assistant says nothing, or its turns cannot be told
/// from the rest.
inline RenderedChat render_answers(const ChatTemplate& source, const Chat& chat, ChatTurns turns = ChatTurns::all,
                                   ChatOptions options = {}) {
  std::vector<std::size_t> spoken = detail::assistant_turns(chat);
  if (turns == ChatTurns::last) spoken = {spoken.back()};
  options.add_generation_prompt = false;
  const Chat learned = chat.first(spoken.back() + 1);
  RenderedChat out = source.render(learned, options);
  if (source.marks_answers(learned)) {
    if (turns == ChatTurns::last) {
      const auto before = source.render(learned.first(spoken.back()), options).answers.size();
      out.answers.erase(out.answers.begin(),
                        out.answers.begin() + static_cast<std::ptrdiff_t>(std::min(before, out.answers.size())));
    }
  } else {
    for (const std::size_t i : spoken) {
      options.add_generation_prompt = true;
      const std::string prompt = source(learned.first(i), options);
      options.add_generation_prompt = false;
      const std::size_t begin = detail::prefix_length(prompt, out.text, i, "with the generation prompt");
      const std::size_t end = i == spoken.back() ? out.text.size()
                                                 : detail::prefix_length(source(learned.first(i + 1), options),
                                                                         out.text, i + 1, "the assistant's turn");
      if (begin < end) out.answers.push_back({begin, end});
    }
  }
  calm::detail::require(!out.answers.empty(), [] {
    return std::string("calm::text: chat: the template renders nothing that the assistant says; leave the chat out");
  });
  return out;
}

/// What a model is asked, and what it is to say.
struct ChatTurn {
  std::string prompt{}, completion{};
};

/// The assistant's last turn and all that stands before it. Throws `Error` as `render_answers` does.
inline ChatTurn last_turn(const ChatTemplate& source, const Chat& chat, const ChatOptions& options = {}) {
  const RenderedChat rendered = render_answers(source, chat, ChatTurns::last, options);
  const std::size_t begin = rendered.answers.front().begin;
  return {rendered.text.substr(0, begin), rendered.text.substr(begin, rendered.answers.back().end - begin)};
}

}  // namespace calm::text
