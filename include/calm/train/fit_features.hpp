/// \file  Training that keeps on disk what it would compute anew in each epoch, where that pays.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "calm/compose/cost.hpp"  // bytes_text
#include "calm/train/feature_cache.hpp"
#include "calm/train/fit.hpp"

namespace calm::train {

/// Where features may be kept, and what of the stream decides whether they are.
struct FeatureOptions {
  std::string path{};           ///< the file; one that is there is used if it is of the same models
  std::uint64_t examples = 0;   ///< so many are an epoch, behind which the same texts come again; 0: none ever does
  KeptAs kept_as = KeptAs::exact;
  bool leave = false;           ///< the file stays for other runs; false: it goes when the run has finished
  std::function<void(const std::string&)> tell{};  ///< told what was chosen and why: "kept in ..."
};

/// True of models whose frozen part `FeatureCache` can keep.
template <class Model>
concept HasFeatures = requires { typename Model::Features; } && std::is_same_v<typename Model::device, Cpu> &&
                      detail::reads_one_way<Model> && detail::reads_anchor_tokens<Model>;

/// Whether a run keeps features; `why` goes on behind "features are".
struct FeatureChoice {
  bool kept = false;
  std::string why{};
};

/// Features that take `bytes` are worth a file at `path` if texts are read more than once and the disk has room for
/// twice that.
inline FeatureChoice choose_features(const std::string& path, std::uint64_t bytes, double epochs) {
  if (epochs <= 1) return {false, "not kept: no text comes twice"};
  std::error_code code;
  const std::filesystem::path file = std::filesystem::absolute(path);
  const std::uint64_t there = std::filesystem::file_size(file, code);
  std::uint64_t room = code ? 0 : there;
  const std::filesystem::space_info space = std::filesystem::space(file.parent_path(), code);
  room += code ? 0 : space.available;
  const bool kept = 2 * bytes <= room;
  std::array<char, 32> times{};
  std::snprintf(times.data(), times.size(), "%.3g epochs, ", epochs);
  std::string why = kept ? "kept in " + path : "not kept";
  why.append(": ").append(times.data()).append(calm::detail::bytes_text(bytes)).append(" on a disk with room for ");
  return {kept, why.append(calm::detail::bytes_text(room))};
}

namespace detail {

/// Bytes of a token's features.
template <class Model>
std::uint64_t feature_bytes(KeptAs kept_as) {
  std::uint64_t values = 0;
  const typename Model::Features features;
  for_each_feature(features, [&](const auto& x) {
    values += LastAxisOf<std::remove_cvref_t<decltype(x)>>::extent;
  });
  return values * (kept_as == KeptAs::bf16 ? sizeof(bf16) : sizeof(typename Model::value_type));
}

template <class Model>
constexpr const char* why_no_features() {
  if constexpr (!requires { typename Model::Features; })
    return "the model is no composition";
  else if constexpr (!std::is_same_v<typename Model::device, Cpu>)
    return "the models are not on the host";
  else if constexpr (!reads_one_way<Model>)
    return "an augment reads the anchor's states, which training changes";
  else
    return "an augment has a tokenizer of its own";
}

/// The tokens of an epoch, from up to 256 of its examples.
template <class Stream>
std::uint64_t estimated_tokens(Stream& stream, std::uint64_t examples) {
  const std::uint64_t asked = std::min<std::uint64_t>(examples, 256);
  std::uint64_t tokens = 0;
  Example example;
  for (std::uint64_t k = 0; k < asked; ++k) {
    stream(k * examples / asked, example);
    tokens += positions(example);
  }
  return tokens * examples / asked;
}

}  // namespace detail

/// As `fit` with AdamW, and to the same bits (but see `FeatureCache`): the frozen part of each text is kept in a file
/// if the run has more than one epoch and the disk has room. A run that goes on goes on with its file. Models without
/// features are trained as by `fit`. Throws `Error`.
template <class Model, ExampleStream Stream>
FitResult fit(Model& model, Stream stream, const FitOptions& options, const FeatureOptions& features) {
  const auto tell = [&](const std::string& what) {
    if (features.tell) features.tell(what);
  };
  if constexpr (!HasFeatures<Model>) {
    tell(std::string("not kept: ").append(detail::why_no_features<Model>()));
    return fit(model, std::move(stream), options);
  } else {
    calm::detail::require(!features.path.empty(), [] {
      return std::string("calm::train::fit: FeatureOptions::path is empty; name the file, or leave the features out");
    });
    const double passed = static_cast<double>(options.steps) * static_cast<double>(options.batch_size);
    const double epochs = features.examples == 0 ? 0 : passed / static_cast<double>(features.examples);
    const std::uint64_t tokens = epochs > 1 ? detail::estimated_tokens(stream, features.examples) : 0;
    const FeatureChoice choice =
        choose_features(features.path, tokens * detail::feature_bytes<Model>(features.kept_as), epochs);
    tell(choice.why);
    FitResult result;
    {
      FeatureCache cache(model, {.path = choice.kept ? features.path : "", .kept_as = features.kept_as});
      result = fit(cache, std::move(stream), options);
      if (!cache.problem().empty()) tell("kept as far as they could be: " + cache.problem());
    }
    std::error_code none;
    if (result.finished && !features.leave) std::filesystem::remove(features.path, none);
    return result;
  }
}

}  // namespace calm::train
