/// \file  Fresh parameters.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "calm/nn/config.hpp"
#include "calm/nn/module.hpp"
#include "calm/tensor/cpu/parallel.hpp"
#include "calm/tensor/philox.hpp"

namespace calm::nn {

/// How a transformer's parameters begin (Radford et al. 2019, GPT-2).
struct Initialisation {
  std::uint64_t seed = 0;
  double deviation = 0.02;         ///< of matrices; 0: 1 / sqrt(width of the input)
  double residual_deviation = 0;   ///< of matrices that write to the residual stream; 0: the same
};

namespace detail {

constexpr std::uint64_t hash(std::string_view text) {  // FNV-1a
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return h;
}

template <class P>
void assign_normal(P& parameter, RandomKey key, double deviation) {
  using T = typename P::tensor_type;
  OnDevice<T, Cpu> fresh{typename T::shape_type{}};
  auto* data = fresh.mutable_data();
  kernel::parallel_ranges(fresh.size(), 1 << 12, [=](std::size_t begin, std::size_t end) {
    std::array<float, 256> normal;
    for (std::size_t i = begin; i < end; i += normal.size()) {
      const std::size_t n = std::min(normal.size(), end - i);
      random_normals(key, i, n, normal.data());
      for (std::size_t j = 0; j < n; ++j) {
        data[i + j] = static_cast<typename T::value_type>(static_cast<float>(deviation) * normal[j]);
      }
    }
  });
  parameter.assign(move_to<typename T::device>(std::move(fresh)));
}

template <class P>
void assign_constant(P& parameter, double constant) {
  using T = typename P::tensor_type;
  parameter.assign(T::full({}, static_cast<typename T::value_type>(static_cast<float>(constant))));
}

}  // namespace detail

/// Gives one parameter its start: matrices normal, norm weights 1 (0 where 1 + w scales), biases 0, LoRA's B 0. What it
/// gets depends on its path and the seed alone.
template <class P>
void initialise_parameter(const std::string& path, P& parameter, const Initialisation& how, bool norm_is_one_plus = false) {
  using T = typename P::tensor_type;
  const auto ends = [&](std::string_view end) { return path.ends_with(end); };
  const RandomKey key{how.seed, detail::hash(path)};
  if constexpr (T::rank == 1) {
    const bool is_scale = ends("weight") && !norm_is_one_plus;
    detail::assign_constant(parameter, is_scale ? 1 : 0);
  } else if (ends("lora_b")) {
    detail::assign_constant(parameter, 0);
  } else if (ends("lora_a")) {
    detail::assign_normal(parameter, key, 1 / std::sqrt(static_cast<double>(LastAxisOf<T>::extent)));
  } else {
    const bool residual = ends("o_proj.weight") || ends("down_proj.weight");
    double deviation = residual && how.residual_deviation > 0 ? how.residual_deviation : how.deviation;
    if (deviation == 0) deviation = 1 / std::sqrt(static_cast<double>(LastAxisOf<T>::extent));
    detail::assign_normal(parameter, key, deviation);
  }
}

/// Gives every parameter of a transformer its start.
template <class M>
void initialise(M& model, const Initialisation& how = {}) {
  constexpr bool one_plus = M::spec::config.norm == NormKind::rms_plus_one;
  for_each_parameter(model, [&](const std::string& path, auto& p) { initialise_parameter(path, p, how, one_plus); });
  CpuPool::instance().trim();  // of packed matrices, the unpacked ones
}

/// Gives only the trainable parameters (LoRA's corrections) their start; the frozen ones stay as loaded.
template <class M>
void initialise_trainable(M& model, const Initialisation& how = {}) {
  for_each_trainable(model, [&](const std::string& path, auto& p) { initialise_parameter(path, p, how); });
}

}  // namespace calm::nn
