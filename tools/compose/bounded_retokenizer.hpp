/// \file  An augment with a short context, behind an anchor with a longer one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "calm/compose/retokenizer.hpp"

namespace calm::programs {

/// The first `limit` tokens of a reading; what comes behind them is not read.
class BoundedText final : public RetokenizedText {
 public:
  BoundedText(std::unique_ptr<RetokenizedText> all, std::size_t limit) : all_(std::move(all)), limit_(limit) {}

  std::vector<Index> begin(std::span<const Index> prompt) override {
    std::vector<Index> seen = all_->begin(prompt);
    take(0);
    for (Index& n : seen) n = std::min(n, static_cast<Index>(limit_));
    return seen;
  }
  std::size_t push(Index token) override {
    const std::size_t kept = std::min(all_->push(token), limit_);
    take(kept);
    return kept;
  }
  std::unique_ptr<RetokenizedText> clone() const override {
    auto copy = std::make_unique<BoundedText>(all_->clone(), limit_);
    copy->tokens_ = tokens_;
    return copy;
  }

 private:
  void take(std::size_t kept) {
    const auto& all = all_->tokens();
    const auto at = [&](std::size_t i) { return all.begin() + static_cast<std::ptrdiff_t>(i); };
    tokens_.resize(kept);
    tokens_.insert(tokens_.end(), at(kept), at(std::max(kept, std::min(all.size(), limit_))));
  }

  std::unique_ptr<RetokenizedText> all_;
  std::size_t limit_;
};

/// `all`, of which an augment reads the first `limit` tokens of each text: those that its context has room for.
inline std::shared_ptr<const Retokenizer> bounded(std::shared_ptr<const Retokenizer> all, std::size_t limit) {
  class Bounded final : public Retokenizer {
   public:
    Bounded(std::shared_ptr<const Retokenizer> a, std::size_t n) : all_(std::move(a)), limit_(n) {}
    std::unique_ptr<RetokenizedText> text() const override {
      return std::make_unique<BoundedText>(all_->text(), limit_);
    }

   private:
    std::shared_ptr<const Retokenizer> all_;
    std::size_t limit_;
  };
  return std::make_shared<const Bounded>(std::move(all), limit);
}

}  // namespace calm::programs
