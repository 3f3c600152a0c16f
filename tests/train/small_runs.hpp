/// \file  Small training runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "calm/train/fit_options.hpp"
#include "calm/train/step_loss.hpp"
#include "compose/models.hpp"
#include "io/temporary_folder.hpp"

namespace calm::test {

using Composed = Small<float>;
using Trained = nn::Transformer<AnchorSpec, float, Cpu, Trainable>;

using Stream = std::function<void(std::uint64_t, train::Example&)>;
/// `train::fit`, compiled once for all tests, in fit_test.cpp.
train::FitResult fit(Composed& model, const Stream& stream, const train::FitOptions& options);
train::FitResult fit(Trained& model, const Stream& stream, const train::FitOptions& options);

template <class Model>
std::unique_ptr<Model> fresh(std::uint64_t seed = 1) {
  if constexpr (std::is_same_v<Model, Trained>) {
    auto m = std::make_unique<Model>();
    nn::initialise(*m, {.seed = seed});
    return m;
  } else {
    return make_small<Model>(false, seed);
  }
}

/// Counts up by one or by two from anywhere, in texts of 3 to 9 tokens; the first two tokens are the prompt.
inline void counting(std::uint64_t i, train::Example& out) {
  const std::uint32_t first = random_below({4, 0}, i, 16), step = 1 + random_below({4, 1}, i, 2);
  out.tokens.resize(3 + random_below({4, 2}, i, 7));
  for (std::size_t t = 0; t < out.tokens.size(); ++t) out.tokens[t] = static_cast<Index>((first + step * t) % 16);
  out.prompt = 2;
}

inline train::FitOptions twelve_steps() {
  return {.steps = 12, .batch_size = 4, .learning_rate = 1e-2, .warmup_steps = 3, .progress = false};
}

/// Every trainable parameter of a model, end to end.
template <class Model>
std::vector<float> parameters_of(Model& model) {
  std::vector<float> all;
  nn::for_each_trainable(model, [&](const std::string&, auto& p) {
    all.insert(all.end(), p.value().data(), p.value().data() + p.value().size());
  });
  return all;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline std::vector<nlohmann::json> lines_of(const std::string& path) {
  std::istringstream in(contents_of(path));
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

}  // namespace calm::test
