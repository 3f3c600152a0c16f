/// \file  What a batch of prompts must be.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "calm/generate/options.hpp"

namespace calm::detail {

/// Throws `Error`, in the name of `function`, for a batch that `Model` cannot continue by `max_new_tokens`.
template <class Model>
void check_prompts(const std::string& function, std::span<const std::vector<Index>> prompts,
                   std::size_t max_new_tokens) {
  constexpr std::size_t context = Model::spec::config.context, vocab = Model::spec::config.vocab;
  require(!prompts.empty(), [&] { return function + ": an empty batch; expected at least one prompt"; });
  for (std::size_t b = 0; b < prompts.size(); ++b) {
    const std::string name = std::to_string(b);
    require(!prompts[b].empty(),
            [&] { return function + ": prompt " + name + " is empty; expected at least one token"; });
    // The last token is only ever written, so it needs no place of its own.
    require(max_new_tokens <= context && prompts[b].size() <= context + 1 - max_new_tokens, [&] {
      return function + ": prompt " + name + " has " + std::to_string(prompts[b].size()) + " tokens and " +
             std::to_string(max_new_tokens) + " new ones are asked for; the model's context is " +
             std::to_string(context) + " tokens; shorten the prompt or ask for fewer";
    });
    check_tokens(function, prompts[b], vocab,
                 [&](std::size_t i) { return "[" + name + ", " + std::to_string(i) + "]"; });
  }
}

}  // namespace calm::detail
