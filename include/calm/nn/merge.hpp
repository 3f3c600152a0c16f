/// \file  LoRA folded into the weights, for inference.
#pragma once

#include <any>
#include <cstddef>
#include <map>
#include <string>
#include <type_traits>

#include "calm/nn/transformer.hpp"

namespace calm::nn {

/// A frozen transformer that computes what `tuned` does, within rounding: each corrected weight W becomes
/// W + (α / r) · B·A (Hu et al. 2021, §4.1), all else is shared with `tuned`, which stays as it is.
template <Spec S, class T, class Device, std::size_t Rank, std::size_t Alpha, LowRankLayers Layers>
Transformer<S, T, Device> merged(Transformer<S, T, Device, LowRank<Rank, Alpha, Layers>>& tuned) {
  std::map<std::string, std::any> tensors;
  for_each_parameter(tuned, [&](const std::string& path, auto& p) { tensors.emplace(path, p.value()); });
  Transformer<S, T, Device> plain;
  for_each_parameter(plain, [&](const std::string& path, auto& parameter) {
    using W = typename std::remove_cvref_t<decltype(parameter)>::tensor_type;
    auto w = std::any_cast<W>(tensors.at(path));
    if constexpr (W::rank == 2) {
      using A = Tensor<T, Device, RankAxis<Rank>, AxisOf<W, 1>>;
      using B = Tensor<T, Device, AxisOf<W, 0>, RankAxis<Rank>>;
      const std::string layer = path.substr(0, path.rfind('.') + 1);
      if (const auto a = tensors.find(layer + "lora_a"); a != tensors.end()) {
        const auto& b = std::any_cast<const B&>(tensors.at(layer + "lora_b"));
        w = scale(linear(b, std::any_cast<const A&>(a->second)), LowRank<Rank, Alpha>::factor) + w;
      }
    }
    parameter.assign(w);
  });
  settle(plain);
  return plain;
}

}  // namespace calm::nn
