/// \file  Prompts of a command line as a model's tokens: texts to continue, or what a user says in a chat.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "calm/tensor/dtype.hpp"
#include "calm/text/chat_template/load.hpp"
#include "calm/text/chat_tokenizer.hpp"
#include "calm/text/tokenizer/tokenizer.hpp"
#include "tools/generate/ends.hpp"
#include "tools/generate/settings.hpp"

namespace calm::programs {

/// Reads prompts for the model in a directory. With `GenerateSettings::chat`, a prompt is the user's next message of a
/// conversation, which the directory's chat template turns into a text.
class PromptReader {
 public:
  /// Throws `Error` if a chat is wanted and the directory has no template for one.
  PromptReader(const GenerateSettings& settings, const std::string& directory, const text::Tokenizer& tokenizer,
               const Ends& ends)
      : tokenizer_(tokenizer), ends_(ends), options_{.add_generation_prompt = true, .now = day_of(settings.date)} {
    if (!settings.chat) return;
    template_ = text::load_chat_template(directory);
    if (!settings.system.empty()) turns_.push_back({"system", settings.system});
  }

  /// The prompt alone, behind the system's message if there is one.
  std::vector<Index> operator()(const std::string& prompt) const {
    if (!template_) return tokens_of(tokenizer_, ends_, prompt);
    auto turns = turns_;
    turns.push_back({"user", prompt});
    return text::encode_chat(tokenizer_, *template_, text::Chat(turns), options_);
  }

  /// The same behind all turns so far, which it joins.
  std::vector<Index> ask(const std::string& message) {
    auto tokens = (*this)(message);
    turns_.push_back({"user", message});
    return tokens;
  }
  /// What the assistant said last.
  void answered(std::string message) { turns_.push_back({"assistant", std::move(message)}); }

 private:
  const text::Tokenizer& tokenizer_;
  const Ends& ends_;
  text::ChatOptions options_;
  std::optional<text::ChatTemplate> template_;
  std::vector<text::ChatMessage> turns_;
};

}  // namespace calm::programs
