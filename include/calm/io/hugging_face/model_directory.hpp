/// \file  Loads a model, or the part of it that a composition needs, from a Hugging Face directory.
#pragma once

#include <cstddef>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "calm/io/hugging_face/config_fields.hpp"
#include "calm/io/hugging_face/model_config.hpp"
#include "calm/io/hugging_face/names.hpp"
#include "calm/io/hugging_face/shards.hpp"
#include "calm/nn/module.hpp"

namespace calm::io {

namespace detail {

/// The tensors of a directory under the names of calm.
class Checkpoint {
 public:
  Checkpoint(SafetensorsShards shards, ModelConfig model)
      : shards_(std::move(shards)), model_(model), prefix_(prefix_in(shards_, model_.family)) {}

  Source source(std::string_view path) const { return source_of(model_.family, model_.config, path, prefix_); }

  /// Throws unless the parameter `path` with these extents is there, in the right shape and a type that becomes `T`.
  template <class T>
  void check(const std::string& path, std::vector<std::size_t> extents) {
    const Source s = source(path);
    const SafetensorsFile& file = shards_.file_of(s.name);
    if (s.fused > 0) extents[0] = s.fused;
    if (s.transposed) std::swap(extents[0], extents[1]);
    const SafetensorsEntry& found = file.entry(s.name);
    calm::detail::require(found.shape == extents && converts_from<T>(found.dtype), [&] {
      return "calm::io: " + file.path() + ": tensor " + in_quotes(s.name) + ": expected shape " + shape_text(extents) +
             " in F32, F64, BF16 or F16, found " + shape_text(found.shape) + " in " + std::string(found.dtype);
    });
    used_.insert(s.name);
  }

  /// The parameter `path`: `rows` rows of `columns` elements each. Call `check` first.
  template <class T>
  SafetensorsFile::Part<T> read(const std::string& path, std::size_t rows, std::size_t columns) {
    const Source s = source(path);
    const SafetensorsFile& file = shards_.file_of(s.name);
    if (!s.transposed) return file.read<T>(s.name, s.first * columns, rows * columns);
    const std::size_t outputs = s.fused > 0 ? s.fused : rows;
    const auto whole = file.read<T>(s.name, 0, columns * outputs);
    Storage<Cpu> storage(rows * columns * sizeof(T));
    T* to = static_cast<T*>(storage.data());
    kernel::parallel_ranges(rows, 16, [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        for (std::size_t c = 0; c < columns; ++c) to[r * columns + c] = whole.data[c * outputs + s.first + r];
      }
    });
    return {std::move(storage), to};
  }

  /// Throws if a tensor has no place in the whole model. A head that stands in the file of a model with tied embeddings
  /// must be the embedding.
  void check_all_used() {
    const std::string embedding = source("embed_tokens.weight").name;
    shards_.for_each_name([&](const std::string& name) {
      if (used_.contains(name) || is_leftover(name)) return;
      calm::detail::require(name == "lm_head.weight" && model_.config.tied_embeddings && same(name, embedding), [&] {
        return "calm::io: " + shards_.source() + ": tensor " + in_quotes(name) +
               " has no place in the model; the directory is not what its config.json says, or was changed";
      });
    });
  }

 private:
  static std::string_view prefix_in(const SafetensorsShards& shards, Family family) {
    const std::string_view prefix = trunk_prefix(family), embedding = family == Family::gpt2 ? "wte" : "embed_tokens";
    std::string bare(embedding);
    return shards.contains(bare.append(".weight")) ? std::string_view() : prefix;
  }

  bool same(const std::string& a, const std::string& b) {
    const SafetensorsFile &left = shards_.file_of(a), &right = shards_.file_of(b);
    const SafetensorsEntry &x = left.entry(a), &y = right.entry(b);
    return x.dtype == y.dtype && x.shape == y.shape && std::memcmp(left.data(a), right.data(b), x.bytes) == 0;
  }

  SafetensorsShards shards_;
  ModelConfig model_;
  std::string_view prefix_;
  std::set<std::string, std::less<>> used_;
};

/// Every parameter that a checkpoint has: all, or in a module with corrections of low rank those that they correct.
template <class M, class F>
void for_each_stored(M& module, F&& f) {
  using Mode = typename M::mode;
  nn::for_each_parameter(module, [&](const std::string& path, auto& parameter) {
    constexpr bool trainable = std::remove_cvref_t<decltype(parameter)>::trainable;
    if constexpr (!trainable || std::is_same_v<Mode, Trainable>) f(path, parameter);
  });
}

/// Fills `module` from `checkpoint`; all is checked before the first parameter is assigned.
template <class M>
void load_parameters(M& module, Checkpoint& checkpoint) {
  for_each_stored(module, [&](const std::string& path, auto& parameter) {
    using X = typename std::remove_cvref_t<decltype(parameter)>::tensor_type;
    const auto extents = typename X::shape_type().extents();
    checkpoint.template check<typename X::value_type>(path, {extents.begin(), extents.end()});
  });
  if constexpr (requires { module.norm; }) checkpoint.check_all_used();
  for_each_stored(module, [&](const std::string& path, auto& parameter) {
    using P = std::remove_cvref_t<decltype(parameter)>;
    using X = typename P::tensor_type;
    const typename X::shape_type shape;
    const std::size_t rows = shape.extent(0), columns = shape.size() / rows;
    auto part = checkpoint.template read<typename X::value_type>(path, rows, columns);
    const auto x = move_to<typename X::device>(OnDevice<X, Cpu>(std::move(part.storage), part.data, shape));
    parameter.assign(P::trainable ? x.clone() : x);  // mapped memory is read-only
  });
  nn::settle(module);
}

}  // namespace detail

/// Loads `model`, an `nn::Transformer` or a `Prefix` of one, from a directory with config.json and model.safetensors
/// (or shards and their index), as `save_pretrained` of transformers writes it. Weights of the wanted type are used
/// where they lie in the mapped file, others are converted tensor by tensor; a Prefix reads only its own
/// layers. Throws `Error`, and changes nothing of the model, if the specification is not that of the directory
/// (it names each field that differs) or a tensor is missing, has another shape or type, or has no place.
template <class M>
void load(M& model, const std::string& directory) {
  const ModelConfig found = read_model_config(directory + "/config.json");
  const std::string unlike = differences(M::spec::config, found.config);
  calm::detail::require(unlike.empty(), [&] {
    return "calm::io: " + directory + "/config.json is not the specification that was compiled:" + unlike +
           "\nWrite the specification anew with calm-spec, or load the directory that it was written from.";
  });
  detail::Checkpoint checkpoint(SafetensorsShards::open(directory), found);
  detail::load_parameters(model, checkpoint);
}

}  // namespace calm::io
