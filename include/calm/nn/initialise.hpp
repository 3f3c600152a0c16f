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

template <class T>
void fill_normal(std::size_t size, RandomKey key, double deviation, T* data) {
  if (deviation == 0) return void(std::fill_n(data, size, T{}));  // a product would leave some zeros negative
  kernel::parallel_ranges(size, 1 << 12, [=](std::size_t begin, std::size_t end) {
    std::array<float, 256> normal;
    for (std::size_t i = begin; i < end; i += normal.size()) {
      const std::size_t n = std::min(normal.size(), end - i);
      random_normals(key, i, n, normal.data());
      for (std::size_t j = 0; j < n; ++j) data[i + j] = static_cast<T>(static_cast<float>(deviation) * normal[j]);
    }
  });
}

template <class P>
void assign_normal(P& parameter, RandomKey key, double deviation) {
  using T = typename P::tensor_type;
  OnDevice<T, Cpu> fresh{typename T::shape_type{}};
  fill_normal(fresh.size(), key, deviation, fresh.mutable_data());
  parameter.assign(move_to<typename T::device>(std::move(fresh)));
}

template <class P>
void assign_constant(P& parameter, double constant) {
  using T = typename P::tensor_type;
  parameter.assign(T::full({}, static_cast<typename T::value_type>(static_cast<float>(constant))));
}

/// The standard deviation of a fresh matrix, which reads `inputs` numbers; 0: it begins as zeros.
[[gnu::noinline]] inline double matrix_deviation(std::string_view path, std::size_t inputs, const Initialisation& how) {
  if (path.ends_with("lora_b")) return 0;
  const bool residual = path.ends_with("o_proj.weight") || path.ends_with("down_proj.weight");
  const double deviation = residual && how.residual_deviation > 0 ? how.residual_deviation : how.deviation;
  const bool by_width = deviation == 0 || path.ends_with("lora_a");
  return by_width ? 1 / std::sqrt(static_cast<double>(inputs)) : deviation;
}

}  // namespace detail

/// Gives one parameter its start: matrices normal, norm weights 1 (0 where 1 + w scales), biases 0, LoRA's B 0. What it
/// gets depends on its path and the seed alone.
template <class P>
void initialise_parameter(const std::string& path, P& parameter, const Initialisation& how,
                          bool norm_is_one_plus = false) {
  using T = typename P::tensor_type;
  if constexpr (T::rank == 1) {
    detail::assign_constant(parameter, path.ends_with("weight") && !norm_is_one_plus ? 1 : 0);
  } else {
    const double deviation = detail::matrix_deviation(path, LastAxisOf<T>::extent, how);
    detail::assign_normal(parameter, {how.seed, detail::hash(path)}, deviation);
  }
}

/// Gives every parameter of a transformer its start.
template <class M>
void initialise(M& model, const Initialisation& how = {}) {
  constexpr bool one_plus = M::spec::config.norm == NormKind::rms_plus_one;
  for_each_parameter(model, [&](const std::string& path, auto& p) { initialise_parameter(path, p, how, one_plus); });
  settle(model);
  CpuPool::instance().trim();  // of packed matrices, the unpacked ones
}

/// Gives only the trainable parameters (LoRA's corrections) their start; the frozen ones stay as loaded.
template <class M>
void initialise_trainable(M& model, const Initialisation& how = {}) {
  for_each_trainable(model, [&](const std::string& path, auto& p) { initialise_parameter(path, p, how); });
}

}  // namespace calm::nn
