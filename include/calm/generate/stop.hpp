/// \file  Where a text stops: end tokens, sequences of tokens, and strings that may end in the middle of a token.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "calm/generate/options.hpp"

namespace calm {

/// The new tokens of one text, watched for the stops of its options, which must outlive it.
///
/// A stop may end steps after it began. Until a token can no longer be the beginning of one it is not `certain()`.
class StopWatch {
 public:
  explicit StopWatch(const GenerateOptions& options) : options_(&options) {}

  /// Adds a token and says why the text ends with it, if it does. What stops a text is then no longer in `tokens()`. Of
  /// several stops that one counts which leaves the fewest tokens.
  std::optional<Finish> push(Index token) {
    const std::optional<Finish> finish = found_with(token);
    stopped_ = finish.has_value();
    return finish;
  }

  /// Drops all but the first `count` tokens, and their bytes.
  void cut(std::size_t count) {
    tokens_.resize(count);
    if (text_ends_.empty()) return;
    text_.resize(count == 0 ? 0 : text_ends_[count - 1]);
    text_ends_.resize(count);
  }

  const std::vector<Index>& tokens() const { return tokens_; }
  /// The bytes of `tokens()`, and of the token behind them those before a stop string.
  const std::string& text() const { return text_; }

  /// How many of `tokens()` are part of the output, whatever follows.
  std::size_t certain() const {
    if (stopped_) return tokens_.size();
    const std::size_t by_sequence = tokens_.size() - held(tokens_, options_->stop_sequences);
    const std::size_t bytes = held(text_, options_->stop_strings);
    return bytes == 0 ? by_sequence : std::min(by_sequence, tokens_within(text_.size() - bytes));
  }

 private:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  std::optional<Finish> found_with(Index token) {
    const auto& ends = options_->end_tokens;
    if (std::find(ends.begin(), ends.end(), token) != ends.end()) return Finish::end_token;
    tokens_.push_back(token);
    const std::size_t before = text_.size();
    if (options_->text_of) {
      text_ += options_->text_of(token);
      text_ends_.push_back(text_.size());
    }
    const std::size_t sequence = sequence_start(), byte = string_start(before);
    const std::size_t string = byte == none ? none : tokens_within(byte);
    if (sequence == none && string == none) return std::nullopt;
    if (string >= sequence) {
      cut(sequence);
      return Finish::stop_sequence;
    }
    std::string kept = text_.substr(0, byte);
    cut(string);
    text_ = std::move(kept);
    return Finish::stop_string;
  }

  /// How long the longest end of `text` is with which a stop begins.
  template <class Text>
  static std::size_t held(const Text& text, const std::vector<Text>& stops) {
    std::size_t longest = 0;
    for (const Text& stop : stops) {
      for (std::size_t n = std::min(stop.size() - 1, text.size()); n > longest; --n) {
        if (std::equal(text.end() - static_cast<std::ptrdiff_t>(n), text.end(), stop.begin())) longest = n;
      }
    }
    return longest;
  }

  /// The first token of the earliest stop sequence that ends with the last token.
  std::size_t sequence_start() const {
    std::size_t start = none;
    for (const auto& stop : options_->stop_sequences) {
      if (stop.size() <= tokens_.size() && std::equal(stop.rbegin(), stop.rend(), tokens_.rbegin())) {
        start = std::min(start, tokens_.size() - stop.size());
      }
    }
    return start;
  }

  /// The first byte of the earliest stop string; all that end within the first `seen` bytes were found before.
  std::size_t string_start(std::size_t seen) const {
    std::size_t start = none;
    for (const std::string& stop : options_->stop_strings) {
      start = std::min(start, text_.find(stop, seen < stop.size() ? 0 : seen - stop.size() + 1));
    }
    return start;
  }

  /// How many tokens end within the first `bytes` bytes.
  std::size_t tokens_within(std::size_t bytes) const {
    return static_cast<std::size_t>(std::upper_bound(text_ends_.begin(), text_ends_.end(), bytes) - text_ends_.begin());
  }

  const GenerateOptions* options_;
  std::vector<Index> tokens_;
  std::string text_;
  std::vector<std::size_t> text_ends_;  // per token, how many bytes there are with it
  bool stopped_ = false;
};

}  // namespace calm
