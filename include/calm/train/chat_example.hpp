/// \file  A training example from a chat.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "calm/tensor/error.hpp"
#include "calm/text/tokenized_chat.hpp"
#include "calm/train/batch.hpp"

namespace calm::train {

/// Writes an example into `out` that learns what the assistant says, and nothing else; what follows its last word is
/// left out. One answer makes a prompt and what comes after it, several make labels. Throws `Error` if there is none.
inline void learn_answers(text::TokenizedChat chat, Example& out) {
  calm::detail::require(!chat.answers.empty() && chat.answers.back().end <= chat.tokens.size(), [&] {
    return "calm::train::learn_answers: expected at least one answer within " + std::to_string(chat.tokens.size()) +
           " tokens, found " + std::to_string(chat.answers.size()) + " answers" +
           (chat.answers.empty() ? "" : ", the last of which ends at " + std::to_string(chat.answers.back().end));
  });
  out.tokens = std::move(chat.tokens);
  out.tokens.resize(chat.answers.back().end);
  out.labels.clear();
  out.prompt = chat.answers.front().begin;
  if (chat.answers.size() == 1) return;
  out.labels.assign(out.tokens.size() - 1, ignored_target);
  for (const auto& answer : chat.answers) {
    for (std::size_t t = std::max<std::size_t>(answer.begin, 1); t < answer.end; ++t) out.labels[t - 1] = out.tokens[t];
  }
  out.tokens.pop_back();  // only ever a target
}

}  // namespace calm::train
