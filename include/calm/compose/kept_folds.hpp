/// \file  Folded bridges, kept from one pass to the next while no parameter of theirs changes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "calm/nn/module.hpp"

namespace calm::detail {

/// What decoding reads of `N` bridges, which `Keeping` folds. Folding takes as long as a prompt of some thirty tokens,
/// so it is done where a parameter's stamp is another one than before, or not known.
template <class Keeping, std::size_t N>
class KeptFolds {
 public:
  using Folds = std::array<typename Keeping::Folded, N>;

  KeptFolds() = default;
  KeptFolds(const KeptFolds&) noexcept {}  // of other bridges
  KeptFolds& operator=(const KeptFolds&) noexcept { return *this; }

  /// The bridges folded as they stand now. The memory is shared with whoever was given the same before.
  template <class Bridges>
  Folds of(const Bridges& bridges) {
    const std::lock_guard lock(mutex_);
    Folds folds;
    for (std::size_t i = 0; i < N; ++i) {
      auto stamps = stamps_of(bridges[i]);
      if (stamps.empty() || stamps != stamps_[i]) folds_[i] = Keeping::fold(bridges[i]);
      stamps_[i] = std::move(stamps);
      folds[i] = stamps_[i].empty() ? std::exchange(folds_[i], {}) : folds_[i];
    }
    return folds;
  }

 private:
  /// Of all parameters; none if one is not known.
  template <class Bridge>
  static std::vector<std::uint64_t> stamps_of(const Bridge& bridge) {
    std::vector<std::uint64_t> stamps;
    bool known = true;
    nn::for_each_trainable(const_cast<Bridge&>(bridge), [&](const auto&, const auto& p) {  // which changes nothing
      stamps.push_back(p.stamp());
      known = known && p.stamp() != 0;
    });
    if (!known) stamps.clear();
    return stamps;
  }

  std::mutex mutex_;
  Folds folds_;
  std::array<std::vector<std::uint64_t>, N> stamps_;
};

}  // namespace calm::detail
