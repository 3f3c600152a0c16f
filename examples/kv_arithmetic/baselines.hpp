/// \file  What one would do without composing, on the same data and with the same trainer: LoRA, full fine-tuning, and
/// a small model tuned in the large one's place.
#pragma once

#include <calm/generate/proxy_tuning.hpp>
#include <calm/nn/lora.hpp>

#include "experiment.hpp"

namespace kv {

/// LoRA on the anchor with as many trainable parameters as the bridges, or the nearest rank below.
template <class S>
using LoraMode = calm::nn::LowRankFor<AnchorSpec<S>, Composed<S>::trainable_parameters>;
template <class S>
using Lora = Anchor<S, LoraMode<S>>;

template <class S>
Tuned<Lora<S>> lora(Experiment<S>& experiment) {
  return experiment.template tuned<Lora<S>>("lora", "anchor", experiment.settings().composition);
}
/// All of the anchor.
template <class S>
Tuned<Anchor<S, calm::Trainable>> full(Experiment<S>& experiment) {
  return experiment.template tuned<Anchor<S, calm::Trainable>>("full", "anchor", experiment.settings().full);
}

/// The anchor led by what D_C changes in the augment, fine-tuned as a whole (arXiv 2401.08565).
template <class S>
using Proxy = calm::ProxyTuned<Anchor<S>, Augment<S, calm::Trainable>, Augment<S>>;
template <class S>
Tuned<Proxy<S>> proxy(Experiment<S>& experiment) {
  const auto small = experiment.template tuned<Augment<S, calm::Trainable>>("proxy", "augment",
                                                                            experiment.settings().full);
  auto model = std::make_unique<Proxy<S>>();
  model->large = *experiment.template base<Anchor<S>>("anchor");
  model->tuned = *small.model;
  model->untuned = *experiment.template base<Augment<S>>("augment");
  return {std::move(model), small.seconds};
}

template <class S>
Row lora_row(Experiment<S>& experiment) {
  return experiment.row("lora", lora(experiment),
                        LoraMode<S>::rank * calm::nn::low_rank_cost(AnchorSpec<S>::config));
}
template <class S>
Row full_row(Experiment<S>& experiment) {
  return experiment.row("full", full(experiment), Anchor<S>::parameter_count);
}
template <class S>
Row proxy_row(Experiment<S>& experiment) {
  return experiment.row("proxy", proxy(experiment), Augment<S>::parameter_count);
}

}  // namespace kv
