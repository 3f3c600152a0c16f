/// \file  What training never changes of a composition's forward pass, computed once per text and kept on disk.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "calm/io/record_file.hpp"
#include "calm/nn/layout.hpp"
#include "calm/tensor/cpu/few_rows.hpp"
#include "calm/tensor/cpu/memory.hpp"  // kernel::copy
#include "calm/train/features.hpp"

namespace calm::train {

/// How features are written.
enum class KeptAs {
  exact,  ///< in the models' own type
  bf16,   ///< rounded: half of the disk. What is computed anew is rounded, too, so the run has the same bits either way
};

/// Where frozen states are kept, and how.
struct FeatureCacheOptions {
  std::string path{};  ///< the file, made if it is not there; empty: nothing is kept
  KeptAs kept_as = KeptAs::exact;
};

/// A composition whose frozen part is computed once per text: give it to `fit` in the composition's place. It must not
/// outlive the composition, whose frozen weights must be in place and stay as they are.
///
/// Texts are known by their tokens, so the order of a stream, its epochs and other data in the same file do not matter.
/// What frozen models make of a text has the same bits whatever stands beside it. So a batch of which some text is not
/// kept is computed as the composition itself does, and runs have the composition's own bits, with or without a file,
/// whatever of it is there already. Kept in bf16, features are rounded, wherever they come from. And products of up to
/// `few_rows` rows (4, or 32 of models in bf16) add up in another order: a batch of so few tokens is computed with
/// padding below it, so there alone a run differs in rounding from one on the composition.
///
/// The process may be killed at any moment (`io::RecordFile`). The file is bound to the models' weights and
/// configurations and to the layers that are read; another composition is refused by an `Error`.
template <class Model>
class FeatureCache {
  static_assert(detail::reads_one_way<Model>,
                "calm::train::FeatureCache: an augment of a TwoWay reads the anchor, so training changes its states");
  static_assert(detail::reads_anchor_tokens<Model>,
                "calm::train::FeatureCache: an augment with a tokenizer of its own has states of other tokens than the "
                "anchor's; give fit the composition itself");

 public:
  using spec = typename Model::spec;
  using value_type = typename Model::value_type;
  using device = typename Model::device;
  using Tokens = nn::Tokens<device>;
  using Layout = nn::Layout<device>;
  using Features = typename Model::Features;

  explicit FeatureCache(Model& model, const FeatureCacheOptions& options = {})
      : model_(model), options_(options), parts_(parts_of(model)) {
    calm::detail::require(sizeof(value_type) <= sizeof(float) || options.kept_as == KeptAs::exact, [] {
      return std::string("calm::train::FeatureCache: features in double are kept exactly; choose KeptAs::exact");
    });
    for (const Part& part : parts_) values_per_token_ += part.shared ? 0 : part.width;
    if (options_.path.empty()) return;
    const std::string kept_as = as_bf16() ? dtype_name<bf16> : dtype_name<value_type>;
    file_.emplace(options_.path, detail::features_identity(model, kept_as));
  }

  /// As Model::loss.
  auto loss(const Tokens& tokens, const Layout& layout, const Tokens& targets) const {
    return model_.loss(features(tokens, layout), layout, targets);
  }

  /// As Model::features; of what was kept, zeros where no text stands. Where the disk is full, no more is kept
  /// (`problem`). Throws `Error` if the layout is not one of whole texts.
  Features features(const Tokens& tokens, const Layout& layout) const {
    missing_.clear();
    const bool as_computed = !file_ && !as_bf16() && tokens.size() > few;
    Features features;
    if (!as_computed) features = blank(layout.position.shape());
    nn::for_each_text("calm::train::FeatureCache", layout, [&](std::size_t at, std::size_t length) {
      Text text{{}, at, length};
      const std::size_t bytes = length * bytes_per_token();
      if (file_) {
        text.key = io::sha256(tokens.data() + at, length * sizeof(Index));
        const Storage<Cpu> record(bytes);
        if (file_->read(text.key, record.data(), bytes)) {
          ++hits_;
          return unpack(record.data(), at, length);
        }
      }
      missing_.push_back(text);
    });
    if (missing_.empty()) return features;
    Features all = computed(tokens, layout);
    if (as_computed) {
      misses_ += missing_.size();
      return all;
    }
    for (const Text& text : missing_) take(text, all);
    return features;
  }

  /// The bridges, as Model::visit.
  void visit(auto&& v) { model_.visit(v); }

  /// Bytes on disk per token.
  std::size_t bytes_per_token() const { return values_per_token_ * (as_bf16() ? sizeof(bf16) : sizeof(value_type)); }
  /// How many texts were found in the file, and how many had to be computed.
  std::uint64_t hits() const { return hits_; }
  std::uint64_t misses() const { return misses_; }
  /// Bytes of the file.
  std::uint64_t bytes() const { return file_ ? file_->bytes() : 0; }
  /// Why no more texts are kept; empty while they are.
  const std::string& problem() const { return problem_; }

 private:
  /// A tensor of the features. `shared`: it is an earlier one, as where two links read one layer.
  struct Part {
    std::size_t width = 0;
    std::size_t same_as = 0;
    bool shared = false;
  };

  /// A text of a batch, `at` counted in tokens from the batch's first.
  struct Text {
    io::Digest key;
    std::size_t at = 0, length = 0;
  };

  static constexpr std::size_t few = kernel::detail::few_rows<value_type>;

  bool as_bf16() const { return options_.kept_as == KeptAs::bf16; }

  /// The features of a batch; one so small that its products would have few rows gets rows of padding below its own.
  Features computed(const Tokens& tokens, const Layout& layout) const {
    const std::size_t size = tokens.size(), time = layout.time();
    if (size > few) return model_.features(tokens, layout);
    const Shape<Batch, Time> shape(layout.batch() + (few - size) / time + 1, time);
    const auto padded = [&](const Tokens& x) {
      if (!x.defined()) return x;
      Tokens y = Tokens::zeros(shape);
      std::copy_n(x.data(), size, y.mutable_data());
      return y;
    };
    Layout all = layout;
    all.position = padded(layout.position);
    all.keys.begin = padded(layout.keys.begin);
    all.keys.end = padded(layout.keys.end);
    all.prompt = padded(layout.prompt);
    return model_.features(padded(tokens), all);
  }

  /// Which tensors there are, read off the features of a text of one token.
  static std::vector<Part> parts_of(const Model& model) {
    const Index token = 0;
    const Features probe = model.features(Tokens::from(Shape<Batch, Time>(1, 1), &token),
                                          nn::pad_right<device>(std::array<Index, 1>{1}, 1));
    std::vector<Part> parts;
    std::vector<const value_type*> seen;
    detail::for_each_feature(probe, [&](const auto& x) {
      const auto before = std::find(seen.begin(), seen.end(), x.data());
      parts.push_back({LastAxisOf<std::remove_cvref_t<decltype(x)>>::extent,
                       static_cast<std::size_t>(before - seen.begin()), before != seen.end()});
      seen.push_back(x.data());
    });
    return parts;
  }

  /// Features of a batch, all zeros, and where their memory is.
  Features blank(const Shape<Batch, Time>& shape) const {
    Features features;
    memory_.clear();
    std::vector<Storage<device>> storage;
    detail::for_each_feature(features, [&](auto& x) {
      using X = std::remove_reference_t<decltype(x)>;
      const Part& part = parts_[memory_.size()];
      const auto extents = X::shape_type::from(shape.dynamic_extents());
      x = part.shared ? X(storage[part.same_as], memory_[part.same_as], extents) : X::zeros(extents);
      memory_.push_back(part.shared ? memory_[part.same_as] : x.mutable_data());
      storage.push_back(x.storage());
    });
    return features;
  }

  /// A text's features, out of those of its batch: to the file, and to the features that are being made.
  void take(const Text& text, const Features& all) const {
    const std::size_t bytes = text.length * bytes_per_token();
    const Storage<Cpu> record(bytes);
    std::size_t i = 0, done = 0;
    detail::for_each_feature(all, [&](const auto& x) {
      const Part& part = parts_[i++];
      if (part.shared) return;
      copy_values(text.length * part.width, x.data() + text.at * part.width, record.data(), done);
      done += text.length * part.width;
    });
    const bool twice = file_ && file_->has(text.key);  // in its batch
    ++(twice ? hits_ : misses_);
    if (!twice) keep(text.key, record.data(), bytes);
    unpack(record.data(), text.at, text.length);
  }
  /// Values to the record, from its value number `at` on.
  void copy_values(std::size_t n, const value_type* x, void* record, std::size_t at) const {
    value_type* const exact = static_cast<value_type*>(record) + at;
    if (!as_bf16()) {
      kernel::copy_to_host(device{}, n * sizeof(value_type), x, exact);
    } else if constexpr (std::is_same_v<device, Cpu>) {
      kernel::copy(Cpu{}, n, x, static_cast<bf16*>(record) + at);
    } else {
      const Storage<Cpu> host(n * sizeof(value_type));
      kernel::copy_to_host(device{}, n * sizeof(value_type), x, host.data());
      kernel::copy(Cpu{}, n, static_cast<const value_type*>(host.data()), static_cast<bf16*>(record) + at);
    }
  }

  void keep(const io::Digest& key, const void* record, std::size_t bytes) const {
    if (!file_ || !problem_.empty()) return;
    try {
      file_->append(key, record, bytes);
    } catch (const Error& error) {
      problem_ = error.what();
    }
  }

  /// The record's values to the batch, from its token `at` on.
  void unpack(const void* record, std::size_t at, std::size_t length) const {
    std::size_t done = 0;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (parts_[i].shared) continue;
      const std::size_t n = length * parts_[i].width;
      value_type* const to = memory_[i] + at * parts_[i].width;
      if (!as_bf16()) {
        kernel::copy_from_host(device{}, n * sizeof(value_type), static_cast<const value_type*>(record) + done, to);
      } else if constexpr (std::is_same_v<device, Cpu>) {
        kernel::copy(Cpu{}, n, static_cast<const bf16*>(record) + done, to);
      } else {
        const Storage<Cpu> host(n * sizeof(value_type));
        kernel::copy(Cpu{}, n, static_cast<const bf16*>(record) + done, static_cast<value_type*>(host.data()));
        kernel::copy_from_host(device{}, n * sizeof(value_type), host.data(), to);
      }
      done += n;
    }
  }

  Model& model_;
  FeatureCacheOptions options_;
  std::vector<Part> parts_;
  std::size_t values_per_token_ = 0;

  // A loss is asked of a constant model; what it leaves here is a memory, and changes no result.
  mutable std::optional<io::RecordFile> file_;
  mutable std::vector<value_type*> memory_;  // of the features that are being made
  mutable std::vector<Text> missing_;        // of the batch
  mutable std::uint64_t hits_ = 0, misses_ = 0;
  mutable std::string problem_;
};

}  // namespace calm::train
