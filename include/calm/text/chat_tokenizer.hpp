/// \file  Chats in tokens.
///
/// Special tokens in the rendered text become their ids, wherever the text comes from: a user who writes "<|im_end|>"
/// ends the turn, as in transformers. The tokenizer's own template (BOS, EOS) is left out, since the chat's has them.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "calm/tensor/dtype.hpp"
#include "calm/tensor/error.hpp"
#include "calm/text/chat.hpp"
#include "calm/text/chat_answers.hpp"
#include "calm/text/chat_template.hpp"
#include "calm/text/tokenized_chat.hpp"
#include "calm/text/tokenizer/tokenizer.hpp"

namespace calm::text {

/// The tokens of a chat; with `add_generation_prompt`, a prompt for `generate`. Throws `Error` as the template does.
inline std::vector<Index> encode_chat(const Tokenizer& tokenizer, const ChatTemplate& source, const Chat& chat,
                                      const ChatOptions& options = {.add_generation_prompt = true}) {
  return tokenizer.ids(source(chat, options), Template::leave);
}

/// The tokens of a chat up to the assistant's last message, and which of them it says: those that begin within its
/// words. Throws `Error` as `render_answers` does.
inline TokenizedChat encode_answers(const Tokenizer& tokenizer, const ChatTemplate& source, const Chat& chat,
                                    ChatTurns turns = ChatTurns::all, const ChatOptions& options = {}) {
  const RenderedChat rendered = render_answers(source, chat, turns, options);
  const std::vector<Token> tokens = tokenizer.encode(rendered.text, Template::leave);
  TokenizedChat out;
  out.tokens.reserve(tokens.size());
  for (const Token& token : tokens) out.tokens.push_back(token.id);
  std::size_t t = 0;
  for (const jinja::Span& answer : rendered.answers) {
    while (t < tokens.size() && tokens[t].begin < answer.begin) ++t;
    const std::size_t begin = t;
    while (t < tokens.size() && tokens[t].begin < answer.end) ++t;
    if (begin < t) out.answers.push_back({begin, t});
  }
  calm::detail::require(!out.answers.empty(), [] {
    return std::string("calm::text: chat: no token begins within what the assistant says; leave the chat out");
  });
  return out;
}

/// Turns lines of JSONL data into tokens, chats among them, as `train::JsonlStream` needs. Copies share the tokenizer.
class ChatTokenizer {
 public:
  ChatTokenizer(Tokenizer tokenizer, ChatTemplate source, ChatTurns turns = ChatTurns::all, ChatOptions options = {})
      : ChatTokenizer(std::make_shared<const Tokenizer>(std::move(tokenizer)), std::move(source), turns,
                      std::move(options)) {}
  ChatTokenizer(std::shared_ptr<const Tokenizer> tokenizer, ChatTemplate source, ChatTurns turns = ChatTurns::all,
                ChatOptions options = {})
      : tokenizer_(std::move(tokenizer)),
        source_(std::move(source)),
        turns_(turns),
        options_(std::move(options)) {}

  /// A text that is no chat, as it is: without the template, BOS or EOS.
  std::vector<Index> operator()(const std::string& text) const { return tokenizer_->ids(text, Template::leave); }
  /// A chat to learn from, as {"messages": [...]}. Throws `Error`.
  TokenizedChat chat(const std::string& json) const {
    return encode_answers(*tokenizer_, source_, Chat::from_json(json), turns_, options_);
  }
  /// What asks the assistant to go on with a chat.
  std::vector<Index> prompt(const Chat& chat) const {
    ChatOptions options = options_;
    options.add_generation_prompt = true;
    return encode_chat(*tokenizer_, source_, chat, options);
  }

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const ChatTemplate& chat_template() const { return source_; }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  ChatTemplate source_;
  ChatTurns turns_;
  ChatOptions options_;
};

}  // namespace calm::text
