/// \file  Decoding in batches, with exact caches.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "calm/generate/decoder.hpp"
#include "calm/generate/options.hpp"
#include "calm/generate/prompts.hpp"

namespace calm {

/// Continues each prompt and says what came of it. The prompts are read in one pass; from then on each step reads one
/// token per text. Texts of different lengths share the batch, and none changes another's output. Throws `Error` on an
/// empty batch, an empty or too long prompt, a token outside the vocabulary, or options that mean nothing.
template <class Model>
std::vector<Completion> complete(const Model& model, std::span<const std::vector<Index>> prompts,
                                 const GenerateOptions& options = {}) {
  detail::check_options(options, Model::spec::config.vocab);
  detail::check_prompts<Model>("calm::generate", prompts, options.max_new_tokens);
  std::size_t time = 0;
  for (const auto& p : prompts) time = std::max(time, p.size());
  const std::size_t capacity = std::min(time + options.max_new_tokens, Model::spec::config.context);
  Decoder<Model> decoder(model, {.slots = prompts.size(), .capacity = capacity});
  const auto shared = std::make_shared<const GenerateOptions>(options);
  for (std::size_t b = 0; b < prompts.size(); ++b) decoder.submit_shared(prompts[b], shared, b);
  decoder.run();
  std::vector<Completion> completions(prompts.size());
  for (std::size_t b = 0; b < prompts.size(); ++b) completions[b] = *decoder.take(b);
  return completions;
}

/// Continues one prompt and says what came of it.
template <class Model>
Completion complete(const Model& model, const std::vector<Index>& prompt, const GenerateOptions& options = {}) {
  return std::move(complete(model, std::span(&prompt, 1), options)[0]);
}

/// The new tokens alone of `complete`.
template <class Model>
std::vector<std::vector<Index>> generate(const Model& model, std::span<const std::vector<Index>> prompts,
                                         const GenerateOptions& options = {}) {
  std::vector<std::vector<Index>> output;
  for (auto& completion : complete(model, prompts, options)) output.push_back(std::move(completion.tokens));
  return output;
}

/// Continues one prompt.
template <class Model>
std::vector<Index> generate(const Model& model, const std::vector<Index>& prompt, const GenerateOptions& options = {}) {
  return generate(model, std::span(&prompt, 1), options)[0];
}

}  // namespace calm
