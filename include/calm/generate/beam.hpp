/// \file  Beam search: the likeliest texts, not the likeliest tokens.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "calm/generate/log_probability.hpp"
#include "calm/generate/options.hpp"
#include "calm/generate/prompts.hpp"
#include "calm/generate/reading.hpp"
#include "calm/nn/kv_cache.hpp"

namespace calm {

/// When the search for a text's continuations ends before the limit. None before `beams` of them have ended.
enum class EarlyStop {
  when_full,  ///< as soon as that many have
  likely,     ///< when the best open beam, were it to end now, is no better than the worst of them
  certain,    ///< when no open beam can become better than the worst of them
};

/// What beam search is asked for.
struct BeamOptions {
  std::size_t max_new_tokens = 64;
  std::size_t beams = 4;            ///< how many texts stay open per prompt, and come back
  double length_penalty = 1;        ///< score = log-probability / length^penalty: above 0 favours long texts
  EarlyStop stop = EarlyStop::likely;
  std::vector<Index> end_tokens{};  ///< they count in log-probability and length, but are not part of the output
};

/// One continuation that beam search found.
struct Beam {
  std::vector<Index> tokens;
  double score = 0;
  double log_probability = 0;  ///< of all its tokens and its end, under the model's own distribution
  Finish finish = Finish::length;
};

namespace detail {

inline void check_beams(const BeamOptions& o, std::size_t vocab) {
  require(o.beams > 0, [] { return std::string("calm::beam_search: 0 beams; expected at least one"); });
  require(o.max_new_tokens > 0, [] {
    return std::string("calm::beam_search: 0 new tokens are asked for; expected at least one");
  });
  require(std::isfinite(o.length_penalty), [&] {
    return "calm::beam_search: length_penalty is " + std::to_string(o.length_penalty) + "; expected a finite number";
  });
  for (const Index token : o.end_tokens) check_end_token("calm::beam_search", token, vocab);
}

/// The search behind one prompt.
class BeamSearch {
 public:
  /// A text that may go on; its caches stand in row `row` of the batch.
  struct Open {
    std::vector<Index> tokens;
    double log_probability = 0;
    std::size_t row = 0;
  };

  BeamSearch(const BeamOptions& options, std::size_t row) : options_(&options), open_{{{}, 0, row}} {}

  bool done() const { return done_; }
  std::vector<Open>& open() { return open_; }

  /// Extends every open text by one token and keeps the best.   logits: [Batch, Vocab], behind each row's last token
  template <class T>
  void advance(const T* logits, std::size_t vocab) {
    const std::size_t width = options_->beams, length = open_.front().tokens.size() + 1;
    // As many as leave `width` open texts even if every end token is among them.
    const std::size_t wanted = width * std::max<std::size_t>(2, 1 + options_->end_tokens.size());
    const auto candidates = best_candidates(logits, vocab, wanted);
    std::vector<Open> next;
    for (std::size_t rank = 0; rank < candidates.size() && next.size() < width; ++rank) {
      const Candidate& c = candidates[rank];
      const Open& from = open_[c.from];
      if (ends(c.token)) {
        // An end below the first `width` would not have stayed open either.
        if (rank < width) {
          add({from.tokens, score(c.log_probability, length), c.log_probability, Finish::end_token});
        }
        continue;
      }
      next.push_back({from.tokens, c.log_probability, from.row});
      next.back().tokens.push_back(c.token);
    }
    open_ = std::move(next);
    if (length == options_->max_new_tokens) {
      // Those still open compete as they are.
      for (const Open& o : open_) add({o.tokens, score(o.log_probability, length), o.log_probability, Finish::length});
      open_.clear();
    }
    done_ = open_.empty() || enough(length);
  }

  /// The best texts, best first.
  std::vector<Beam> result() && { return std::move(ended_); }

 private:
  struct Candidate {
    std::size_t from;  // which open text
    Index token;
    double log_probability;
    std::size_t place;  // among all candidates: by open text, and for each in the order of its logits
  };

  bool ends(Index token) const {
    return std::find(options_->end_tokens.begin(), options_->end_tokens.end(), token) != options_->end_tokens.end();
  }
  double score(double log_probability, std::size_t length) const {
    return log_probability / std::pow(static_cast<double>(length), options_->length_penalty);
  }

  template <class T>
  std::vector<Candidate> best_candidates(const T* logits, std::size_t vocab, std::size_t count) const {
    std::vector<Candidate> all;
    for (std::size_t i = 0; i < open_.size(); ++i) {
      const T* row = logits + open_[i].row * vocab;
      for (const auto& [token, log_probability] : most_likely(row, vocab, count, log_sum_exp(row, vocab))) {
        all.push_back({i, token, open_[i].log_probability + log_probability, all.size()});
      }
    }
    count = std::min(count, all.size());
    // What rounding makes equal stays in its place: one beam is greedy decoding.
    const auto better = [](const Candidate& a, const Candidate& b) {
      return a.log_probability > b.log_probability || (a.log_probability == b.log_probability && a.place < b.place);
    };
    std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count), all.end(), better);
    all.resize(count);
    return all;
  }

  void add(Beam beam) {
    const auto worse = [](const Beam& a, const Beam& b) { return a.score > b.score; };
    ended_.insert(std::upper_bound(ended_.begin(), ended_.end(), beam, worse), std::move(beam));
    if (ended_.size() > options_->beams) ended_.pop_back();
  }

  bool enough(std::size_t length) const {
    if (ended_.size() < options_->beams) return false;
    if (options_->stop == EarlyStop::when_full) return true;
    // A log-probability only falls; divided by a power of the length it may still rise.
    const bool may_rise = options_->stop == EarlyStop::certain && options_->length_penalty > 0;
    const std::size_t best_length = may_rise ? options_->max_new_tokens : length;
    return ended_.back().score >= score(open_.front().log_probability, best_length);
  }

  const BeamOptions* options_;
  std::vector<Open> open_;   // best first
  std::vector<Beam> ended_;  // best first, at most `beams`
  bool done_ = false;
};

/// Gives every open text of the searches that go on a row of its own, in their order, and says which it stood in.
inline std::vector<std::size_t> number_rows(std::vector<BeamSearch>& searches) {
  std::vector<std::size_t> rows;
  for (BeamSearch& search : searches) {
    if (search.done()) continue;
    for (auto& open : search.open()) {
      rows.push_back(open.row);
      open.row = rows.size() - 1;
    }
  }
  return rows;
}

}  // namespace detail

/// The `beams` best continuations of each prompt, best first: at each step the texts of greatest log-probability stay
/// open, and those that end are ranked by log-probability / length^length_penalty (as transformers defines both; the
/// length is that of the new tokens, an end token included). One beam is greedy decoding. All beams of all prompts are
/// read in one pass; their rows of every cache are copied as beams are reordered. Throws `Error` as `generate` does.
template <class Model>
std::vector<std::vector<Beam>> beam_search(const Model& model, std::span<const std::vector<Index>> prompts,
                                           const BeamOptions& options = {}) {
  constexpr std::size_t vocab = Model::spec::config.vocab;
  detail::check_beams(options, vocab);
  detail::check_prompts<Model>("calm::beam_search", prompts, options.max_new_tokens);
  std::size_t longest = 0;
  std::vector<detail::BeamSearch> searches;
  std::vector<detail::Reading> readings;
  for (std::size_t b = 0; b < prompts.size(); ++b) {
    longest = std::max(longest, prompts[b].size());
    searches.emplace_back(options, b);
    readings.push_back({prompts[b], 0, prompts[b].size()});
  }
  const std::size_t capacity = longest + options.max_new_tokens - 1;
  auto caches = model.make_caches(prompts.size(), capacity);
  std::size_t texts = prompts.size();
  for (std::size_t step = 0; step < options.max_new_tokens; ++step) {
    const auto logits = detail::read_texts(model, std::span<const detail::Reading>(readings), caches);
    for (auto& search : searches) {
      if (!search.done()) search.advance(logits.data(), vocab);
    }
    const auto rows = detail::number_rows(searches);
    if (rows.empty()) break;
    std::vector<std::size_t> same(texts);
    std::iota(same.begin(), same.end(), std::size_t{0});
    if (rows != same) nn::select_texts(caches, rows, longest + step, capacity);
    texts = rows.size();
    readings.clear();
    for (std::size_t b = 0; b < prompts.size(); ++b) {
      if (searches[b].done()) continue;
      for (const auto& open : searches[b].open()) {
        readings.push_back({std::span(open.tokens).last(1), prompts[b].size() + step, prompts[b].size()});
      }
    }
  }
  std::vector<std::vector<Beam>> beams;
  for (auto& search : searches) beams.push_back(std::move(search).result());
  return beams;
}

/// The best continuations of one prompt.
template <class Model>
std::vector<Beam> beam_search(const Model& model, const std::vector<Index>& prompt, const BeamOptions& options = {}) {
  return std::move(beam_search(model, std::span(&prompt, 1), options)[0]);
}

}  // namespace calm
