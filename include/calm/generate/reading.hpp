/// \file  Tokens read behind what a cache holds, some or none for each of its texts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "calm/nn/layout.hpp"
#include "calm/nn/transformer.hpp"
#include "calm/tensor/arguments.hpp"

namespace calm::detail {

/// What one text of a batch reads in one pass.
struct Reading {
  std::span<const Index> tokens;  ///< none: the text stands still
  std::size_t start = 0;          ///< how many of its tokens the cache holds
  std::size_t prompt = 0;         ///< how many of all its tokens were given
  std::optional<kernel::Draw> draw{};  ///< how its next token comes, if a device may draw it
};

/// Reads into the caches; text b of them reads `readings[b]`.
/// -> logits behind each text's last token, [Batch, Vocab], where the host can read them
///
/// Those of a text that reads nothing mean nothing.
template <class Model>
auto read_texts(const Model& model, std::span<const Reading> readings, typename Model::Caches& caches) {
  using Device = typename Model::device;
  const std::size_t batch = readings.size();
  std::size_t time = 1;
  for (const Reading& r : readings) time = std::max(time, r.tokens.size());

  std::vector<Index> start(batch), count(batch), prompt(batch), last(batch);
  auto tokens = nn::Tokens<Device>::zeros(Shape<Batch, Time>(batch, time));
  for (std::size_t b = 0; b < batch; ++b) {
    const Reading& r = readings[b];
    std::copy(r.tokens.begin(), r.tokens.end(), tokens.mutable_data() + b * time);
    start[b] = static_cast<Index>(r.start);
    count[b] = static_cast<Index>(r.tokens.size());
    prompt[b] = static_cast<Index>(r.prompt);
    last[b] = std::max<Index>(count[b] - 1, 0);
  }
  auto layout = nn::continue_at<Device>(start, count, time);
  layout.prompt = nn::detail::per_token<Device>(prompt, time);
  return on_host(model.next_logits(tokens, layout, nn::detail::per_text<Device>(last), caches));
}

}  // namespace calm::detail
