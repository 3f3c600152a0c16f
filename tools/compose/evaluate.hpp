/// \file  What a composition makes of held-out lines, beside its anchor alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "calm/compose/link_place.hpp"
#include "calm/generate/decoder.hpp"
#include "calm/text/perplexity.hpp"
#include "calm/text/tokenizer/tokenizer.hpp"
#include "calm/text/utf8.hpp"
#include "calm/train/evaluation.hpp"
#include "tools/compose/report.hpp"
#include "tools/generate/ends.hpp"

namespace calm::programs {

/// Measures one model on held-out examples.
template <class Model>
class Evaluator {
 public:
  Evaluator(Model& model, const text::Tokenizer& tokenizer, const Ends& ends, std::span<const train::Example> examples)
      : model_(model), tokenizer_(tokenizer), ends_(ends), examples_(examples) {}

  /// In nats per token.
  double loss(std::size_t batch) const {
    const auto stream = [&](std::uint64_t i, train::Example& e) { e = examples_[static_cast<std::size_t>(i)]; };
    return train::mean_loss(model_, stream, examples_.size(), batch);
  }

  /// The share of the first `count` answers that greedy decoding gives, but for white space at either end. An answer
  /// may be as long as the line's own and end with an end token; where the model has none, as long as the line's own.
  double exact_match(std::size_t count) const {
    count = std::min(count, examples_.size());
    Decoder<Model> decoder(model_, {.slots = std::min<std::size_t>(count, 16)});
    for (std::size_t i = 0; i < count; ++i) {
      const auto& e = examples_[i];
      const auto prompt = e.tokens.begin() + static_cast<std::ptrdiff_t>(e.prompt);
      decoder.submit({e.tokens.begin(), prompt},
                     {.max_new_tokens = e.tokens.size() - e.prompt, .end_tokens = ends_.end});
    }
    decoder.run();
    std::size_t right = 0;
    for (std::size_t i = 0; i < count; ++i) right += text_of(decoder.take(i)->tokens) == text_of(answer(examples_[i]));
    return static_cast<double>(right) / static_cast<double>(count);
  }

  /// Passes take `batch` examples; the first `decoded` are decoded.
  Scores operator()(std::size_t batch, std::size_t decoded) const {
    Scores scores{text::perplexity(loss(batch), 1)};
    const auto has_one_answer = [](const train::Example& e) { return e.prompt > 0 && e.labels.empty(); };
    if (std::ranges::all_of(examples_, has_one_answer) && decoded > 0) scores.exact_match = exact_match(decoded);
    return scores;
  }

  /// The same with all bridges off.
  Scores of_anchor(std::size_t batch, std::size_t decoded) const {
    const auto off = without_links(model_);
    return (*this)(batch, decoded);
  }

 private:
  std::vector<Index> answer(const train::Example& e) const {
    std::vector<Index> tokens(e.tokens.begin() + static_cast<std::ptrdiff_t>(e.prompt), e.tokens.end());
    if (!ends_.end.empty() && tokens.back() == ends_.end.front()) tokens.pop_back();
    return tokens;
  }
  std::string text_of(const std::vector<Index>& tokens) const {
    return std::string(text::strip(tokenizer_.decode(tokens)));
  }

  Model& model_;
  const text::Tokenizer& tokenizer_;
  const Ends& ends_;
  std::span<const train::Example> examples_;
};

}  // namespace calm::programs
