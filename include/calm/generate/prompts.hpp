/// \file  What prompts must be.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "calm/generate/options.hpp"

namespace calm::detail {

/// Throws `Error` for a prompt, called `name`, that is empty or has no room for `added` new tokens in `capacity` ones;
/// `holder()` says what has that capacity.
template <class Holder>
void check_prompt_size(const std::string& name, std::size_t size, std::size_t added, std::size_t capacity,
                       const Holder& holder) {
  require(size > 0, [&] { return name + " is empty; expected at least one token"; });
  // The last token is only ever written, so it needs no place of its own.
  require(added <= capacity && size <= capacity + 1 - added, [&] {
    return name + " has " + std::to_string(size) + " tokens and " + std::to_string(added) +
           " new ones are asked for; " + holder() + "; shorten the prompt or ask for fewer";
  });
}

/// Throws `Error`, in the name of `function`, for a batch that `Model` cannot continue by `max_new_tokens`.
template <class Model>
void check_prompts(const std::string& function, std::span<const std::vector<Index>> prompts,
                   std::size_t max_new_tokens) {
  constexpr std::size_t context = Model::spec::config.context, vocab = Model::spec::config.vocab;
  require(!prompts.empty(), [&] { return function + ": an empty batch; expected at least one prompt"; });
  for (std::size_t b = 0; b < prompts.size(); ++b) {
    const std::string name = std::to_string(b);
    check_prompt_size(function + ": prompt " + name, prompts[b].size(), max_new_tokens, context,
                      [] { return "the model's context is " + std::to_string(context) + " tokens"; });
    check_tokens(function, prompts[b], vocab,
                 [&](std::size_t i) { return "[" + name + ", " + std::to_string(i) + "]"; });
  }
}

}  // namespace calm::detail
