/// \file  Which of the augment's positions each anchor position sees.
#pragma once

#include <cstddef>
#include <string>

#include "calm/compose/bridge_config.hpp"
#include "calm/nn/layout.hpp"

namespace calm::detail {

template <class Device>
void require_prompts(const nn::Layout<Device>& layout) {
  require(layout.prompt.defined(), [] {
    return std::string("calm::Compose: the prefix and encoder masks need the length of each prompt (Layout::prompt)");
  });
}

/// The same texts without what was generated, which becomes padding.
template <class Device>
nn::Layout<Device> prompts_of(nn::Layout<Device> layout) {
  require_prompts(layout);
  layout.position = layout.position.clone();
  layout.keys.end = layout.keys.end.clone();
  for (std::size_t i = 0; i < layout.position.size(); ++i) {
    if (layout.position[i] < layout.prompt[i]) continue;
    layout.position.mutable_data()[i] = 0;
    layout.keys.end.mutable_data()[i] = 0;
  }
  return layout;
}

/// The intervals of augment positions that each anchor position sees, for one tokenizer.
template <class Device>
KeyIntervals<Device> seen_by_anchor(const nn::Layout<Device>& layout, BridgeMask mask) {
  if (mask == BridgeMask::causal) return layout.keys;
  require_prompts(layout);
  KeyIntervals<Device> seen;
  seen.begin = layout.keys.begin;
  seen.center = Tensor<Index, Device, Batch, Time>(layout.position.shape());
  seen.end = Tensor<Index, Device, Batch, Time>(layout.position.shape());
  Index* end = seen.end.mutable_data();
  Index* center = seen.center.mutable_data();
  for (std::size_t i = 0; i < seen.end.size(); ++i) {
    const Index own = layout.keys.end[i], before = own - layout.position[i] - 1;  // columns before the text
    const Index prompt = before + layout.prompt[i];
    center[i] = own - 1;
    end[i] = own == 0 ? 0 : (mask == BridgeMask::encoder ? prompt : (own > prompt ? own : prompt));
  }
  return seen;
}

}  // namespace calm::detail
