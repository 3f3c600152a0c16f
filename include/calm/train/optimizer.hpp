/// \file  What the training loop asks of an optimizer.
#pragma once

#include <concepts>
#include <cstdint>
#include <vector>

#include "calm/io/safetensors.hpp"
#include "calm/train/parameter_set.hpp"

namespace calm::train {

/// `ParameterSet` has all of it but `step`.
template <class O>
concept Optimizer = requires(O& o, const O& c, double number, io::SafetensorsWriter& writer,
                             const io::SafetensorsFile& file) {
  { o.gradient_norm() } -> std::same_as<GradientNorm>;
  o.clip_gradients(number, number);  // (max_norm, norm)
  o.step(number);                    // (learning_rate)
  o.zero_gradients();
  { c.updates() } -> std::convertible_to<std::uint64_t>;
  { c.entries() } -> std::convertible_to<const std::vector<detail::ParameterEntry>&>;
  c.add_to(writer);
  o.load(file);
};

}  // namespace calm::train
