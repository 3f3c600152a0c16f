/// \file  One text in the making: from the model's logits to its next token, and to its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "calm/generate/log_probability.hpp"
#include "calm/generate/options.hpp"
#include "calm/generate/sample.hpp"
#include "calm/generate/stop.hpp"
#include "calm/tensor/arguments.hpp"

namespace calm::detail {

/// A prompt and what has been added to it.
class Continuation {
 public:
  /// `name` is what the callback is told; draws come from `stream` of the options' seed.
  Continuation(std::size_t name, std::vector<Index> prompt, std::shared_ptr<const GenerateOptions> options,
               std::uint64_t stream)
      : name_(name), prompt_(prompt.size()), text_(std::move(prompt)), options_(std::move(options)),
        key_{options_->seed, stream}, watch_(*options_) {}

  std::size_t name() const { return name_; }
  std::size_t prompt_size() const { return prompt_; }
  /// The prompt and every token chosen so far.
  std::span<const Index> text() const { return text_; }

  /// Whether the next token is the most likely one, and nothing else is asked of the logits.
  bool only_most_likely() const {
    const GenerateOptions& o = *options_;
    return o.temperature == 0 && o.repetition_penalty == 1 && !o.policy && !o.log_probabilities &&
           o.alternatives == 0 && !o.on_token;
  }
  /// Adds that token, where `only_most_likely`. Whether the text goes on.
  bool advance(Index token) {
    return add(token, [] {});
  }
  /// How the next token is drawn, unless all is said by `only_most_likely` or something is asked for which the host
  /// needs the logits: a policy of the caller's, the repetition penalty, alternatives.
  std::optional<kernel::Draw> draw() const {
    const GenerateOptions& o = *options_;
    if (only_most_likely() || o.policy || o.repetition_penalty != 1 || o.alternatives > 0) return std::nullopt;
    return kernel::Draw{o.temperature, o.top_k, o.top_p, o.min_p,
                        static_cast<double>(random_uniform(key_, text_.size() - prompt_))};
  }
  /// Adds what came of that draw. Whether the text goes on.
  bool advance(const kernel::Drawn& drawn) {
    return add(drawn.token, [&] {
      if (options_->log_probabilities || options_->on_token) log_probabilities_.push_back(drawn.log_probability);
    });
  }
  /// Chooses the next token.   logits: [Vocab], behind the last token of `text()`. Whether the text goes on.
  template <class T>
  bool advance(const T* logits, std::size_t vocab) {
    const Index token = choose(logits, vocab, text_, *options_, key_, text_.size() - prompt_);
    return add(token, [&] { score(logits, vocab, token); });
  }

  /// What came of it. The continuation is of no further use.
  Completion completion() && {
    const std::size_t count = watch_.tokens().size();
    result_.tokens = watch_.tokens();
    result_.text = watch_.text();
    log_probabilities_.resize(options_->log_probabilities ? count : 0);
    result_.log_probabilities = std::move(log_probabilities_);
    if (options_->alternatives > 0) result_.alternatives.resize(count);
    return std::move(result_);
  }

 private:
  template <class Score>
  bool add(Index token, const Score& score) {
    std::optional<Finish> finish = watch_.push(token);
    if (finish != Finish::end_token) {
      text_.push_back(token);
      score();
    }
    if (!finish && watch_.tokens().size() == options_->max_new_tokens) finish = Finish::length;
    const std::size_t certain = finish ? watch_.tokens().size() : watch_.certain();
    while (announced_ < certain) {
      if (announce(announced_++)) continue;
      watch_.cut(announced_);
      finish = Finish::caller;
      break;
    }
    if (finish) result_.finish = *finish;
    return !finish;
  }

  template <class T>
  void score(const T* logits, std::size_t vocab, Index token) {
    if (!options_->log_probabilities && options_->alternatives == 0 && !options_->on_token) return;
    const double log_sum = log_sum_exp(logits, vocab);
    log_probabilities_.push_back(static_cast<double>(logits[static_cast<std::size_t>(token)]) - log_sum);
    if (options_->alternatives > 0) {
      result_.alternatives.push_back(most_likely(logits, vocab, options_->alternatives, log_sum));
    }
  }

  bool announce(std::size_t place) const {
    if (!options_->on_token) return true;
    return options_->on_token({name_, place, watch_.tokens()[place], log_probabilities_[place]});
  }

  std::size_t name_, prompt_;
  std::vector<Index> text_;
  std::shared_ptr<const GenerateOptions> options_;
  RandomKey key_;
  StopWatch watch_;
  std::vector<double> log_probabilities_;
  std::size_t announced_ = 0;
  Completion result_;
};

}  // namespace calm::detail
