// Two small models for the programs beside this file.
#pragma once

#include "calm/compose/compose.hpp"

struct Large {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 64, .hidden = 32, .layers = 4, .heads = 4, .context = 16};
};
struct Small {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 64, .hidden = 16, .layers = 2, .heads = 2, .context = 16};
};

template <class Spec, class Mode = calm::Frozen>
using Model = calm::nn::Transformer<Spec, float, calm::Cpu, Mode>;
