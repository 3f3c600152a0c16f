/// \file  Decoding in batches, with exact caches.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "calm/generate/sample.hpp"
#include "calm/nn/layout.hpp"
#include "calm/nn/transformer.hpp"

namespace calm {

struct GenerateOptions {
  std::size_t max_new_tokens = 64;
  double temperature = 0;     ///< 0: greedy
  std::uint64_t seed = 0;     ///< of the drawing; text b draws from stream b
  Index end_token = -1;       ///< stops a text; it is not part of the output. -1: none
};

namespace detail {

template <class Model>
void check_prompts(std::span<const std::vector<Index>> prompts, std::size_t max_new_tokens) {
  constexpr std::size_t context = Model::spec::config.context;
  require(!prompts.empty(), [] { return std::string("calm::generate: an empty batch; expected at least one prompt"); });
  for (std::size_t b = 0; b < prompts.size(); ++b) {
    require(!prompts[b].empty(), [&] {
      return "calm::generate: prompt " + std::to_string(b) + " is empty; expected at least one token";
    });
    require(max_new_tokens <= context && prompts[b].size() <= context + 1 - max_new_tokens, [&] {
      return "calm::generate: prompt " + std::to_string(b) + " has " + std::to_string(prompts[b].size()) +
             " tokens and " + std::to_string(max_new_tokens) + " new ones are asked for; the model's context is " +
             std::to_string(context) + " tokens; shorten the prompt or ask for fewer";
    });
  }
}

}  // namespace detail

/// Continues each prompt. The prompts are read in one pass; from then on each step reads one token per text. Texts of
/// different lengths share the batch, and none changes another's output. Throws `Error` on an empty batch, an empty or
/// too long prompt, or a token outside the vocabulary.
template <class Model>
std::vector<std::vector<Index>> generate(const Model& model, std::span<const std::vector<Index>> prompts,
                                         const GenerateOptions& options = {}) {
  using Device = typename Model::device;
  constexpr std::size_t vocab = Model::spec::config.vocab;
  detail::check_prompts<Model>(prompts, options.max_new_tokens);
  const std::size_t batch = prompts.size();
  std::size_t time = 0;
  for (const auto& p : prompts) time = std::max(time, p.size());

  auto caches = model.make_caches(batch, time + options.max_new_tokens);
  std::vector<std::vector<Index>> output(batch);
  std::vector<Index> start(batch, 0), count(batch), last(batch);
  std::vector<bool> ended(batch, false);
  auto tokens = nn::Tokens<Device>::zeros(Shape<Batch, Time>(batch, time));
  for (std::size_t b = 0; b < batch; ++b) {
    std::copy(prompts[b].begin(), prompts[b].end(), tokens.mutable_data() + b * time);
    count[b] = static_cast<Index>(prompts[b].size());
  }
  const std::vector<Index> prompt_lengths = count;
  for (std::size_t step = 0; step < options.max_new_tokens; ++step) {
    auto layout = nn::continue_at<Device>(start, count, time);
    layout.prompt = nn::detail::per_token<Device>(prompt_lengths, time);
    for (std::size_t b = 0; b < batch; ++b) last[b] = std::max<Index>(count[b] - 1, 0);
    const auto logits = model.next_logits(tokens, layout, nn::detail::per_text<Device>(last), caches);

    time = 1;
    tokens = nn::Tokens<Device>::zeros(Shape<Batch, Time>(batch, time));
    for (std::size_t b = 0; b < batch; ++b) {
      start[b] += count[b];
      count[b] = 0;
      if (ended[b]) continue;
      const auto* row = logits.data() + b * vocab;
      const Index next = options.temperature > 0
                             ? sample(row, vocab, options.temperature, RandomKey{options.seed, b}, step)
                             : argmax(row, vocab);
      ended[b] = next == options.end_token;
      if (ended[b]) continue;
      output[b].push_back(next);
      tokens.mutable_data()[b] = next;
      count[b] = 1;
    }
    if (std::all_of(ended.begin(), ended.end(), [](bool e) { return e; })) break;
  }
  return output;
}

/// Continues one prompt.
template <class Model>
std::vector<Index> generate(const Model& model, const std::vector<Index>& prompt, const GenerateOptions& options = {}) {
  return generate(model, std::span(&prompt, 1), options)[0];
}

}  // namespace calm
