/// \file  Retokenized: an augment with a tokenizer of its own.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "calm/compose/branch.hpp"
#include "calm/compose/retokenizer.hpp"

namespace calm {

/// A part of a composition, as With, whose augment has other tokens than the anchor. Its branch needs a `retokenizer`
/// (calm::retokenizer makes one of two tokenizers); everything else is used as without, with the anchor's tokens.
///
/// Causal by text: behind each of its tokens, the anchor sees the augment's reading of the text up to there, as if the
/// augment had read nothing else; within a prompt, which is known as a whole, the tokens of the prompt's reading that
/// end no later. Where later text would change a reading's last tokens, whole texts are laid out with forks, and
/// decoding reads these tokens again: the same function. A prompt is read at once, then one token at a time.
template <class Augment, class Map, class Options = bridge::Normalised>
struct Retokenized {
  using augment = Augment;
  using map = Map;
  using options = Options;
  template <class Other>
  using with_options = Retokenized<Augment, Map, Other>;
};

namespace detail {

/// What decoding keeps of texts that a branch with a tokenizer of its own follows: where each text stands, the
/// augment's keys and values and each bridge's. Those grow as texts do; how many tokens the augment will have is not
/// known before.
template <class B>
class FollowedTexts {
 public:
  using AugmentCaches = typename B::augment_type::Caches;
  using BridgeCaches = std::array<typename B::Keeping::Cache, B::links>;

  FollowedTexts() = default;
  FollowedTexts(std::size_t texts, std::size_t capacity) : texts_(texts) { make_rows(capacity); }

  std::size_t texts() const { return texts_.size(); }
  const auto& augment() const { return rows_.augment; }
  auto& augment() { return rows_.augment; }
  const auto& bridges() const { return rows_.bridges; }
  auto& bridges() { return rows_.bridges; }

  /// A text begins anew in place b. How many of its augment's tokens each token of its prompt sees.
  std::vector<Index> begin(std::size_t b, const Retokenizer& retokenizer, std::span<const Index> prompt) {
    auto text = retokenizer.text();
    auto seen = text->begin(prompt);
    texts_[b] = std::move(text);
    return seen;
  }
  /// One more token of text b. How many of its augment's tokens stay.
  std::size_t push(std::size_t b, Index token) {
    if (texts_[b].use_count() > 1) texts_[b] = texts_[b]->clone();  // another batch or beam holds it, too
    return texts_[b]->push(token);
  }
  bool has(std::size_t b) const { return texts_[b] != nullptr; }
  const std::vector<Index>& tokens(std::size_t b) const { return texts_[b]->tokens(); }

  /// Makes room for the tokens of every text.
  void grow() {
    std::size_t longest = 0;
    for (const auto& text : texts_) longest = std::max(longest, text ? text->tokens().size() : 0);
    if (longest <= capacity_) return;
    const Rows before = std::move(rows_);
    const std::size_t kept = capacity_;
    make_rows(std::max(longest, 2 * capacity_));
    for (std::size_t b = 0; b < texts_.size(); ++b) nn::copy_text(before, b, kept, rows_, b);
  }

  /// As TokenRows::copy_text, but of all that `from` holds of the text: a part of a text's tokens is no part of its
  /// augment's.
  void copy_text(const FollowedTexts& from, std::size_t from_text, std::size_t, std::size_t to_text) {
    texts_[to_text] = from.texts_[from_text];
    grow();
    const std::size_t held = texts_[to_text] ? std::min(texts_[to_text]->tokens().size(), from.capacity_) : 0;
    nn::copy_text(from.rows_, from_text, held, rows_, to_text);
  }

 private:
  struct Rows {
    AugmentCaches augment;
    BridgeCaches bridges;
    static auto parts(auto& self) { return std::tie(self.augment, self.bridges); }
  };

  void make_rows(std::size_t capacity) {
    capacity_ = capacity;
    rows_.augment = B::augment_type::make_caches(texts_.size(), capacity);
    for (auto& bridge : rows_.bridges) bridge = typename B::Keeping::Cache(texts_.size(), capacity);
  }

  std::vector<std::shared_ptr<RetokenizedText>> texts_;
  std::size_t capacity_ = 0;  // in the augment's tokens
  Rows rows_;
};

/// Follows new tokens into the caches, and what each of them then sees.
template <class B>
class Follower {
 public:
  using device = typename B::device;

  Follower(const B& branch, const nn::Tokens<device>& tokens, const nn::Layout<device>& layout,
           typename B::Caches& caches)
      : branch_(branch), caches_(caches.read), start_(layout.batch()), count_(layout.batch()),
        seen_(empty_intervals<device>(layout.position.shape())) {
    for (std::size_t b = 0; b < layout.batch(); ++b) follow(b, tokens, layout);
    caches_.grow();
    read(caches.folded);
  }

  const KeyIntervals<device>& seen() const { return seen_; }

 private:
  void follow(std::size_t b, const nn::Tokens<device>& tokens, const nn::Layout<device>& layout) {
    std::size_t first = 0, length = 0;
    while (first < layout.time() && layout.is_padding(b, first)) ++first;
    while (first + length < layout.time() && !layout.is_padding(b, first + length)) ++length;
    if (length == 0) return;
    const std::size_t at = b * layout.time() + first;
    const std::span text(tokens.data() + at, length);
    const auto position = static_cast<std::size_t>(layout.position[at]);
    const std::size_t prompt = prompt_of(layout, at, position + length, position == 0 ? length : position);
    require(position == 0 ? prompt == length || length == 1 : length == 1 && position >= prompt && caches_.has(b), [&] {
      return "calm::Retokenized: text " + std::to_string(b) + ": " + std::to_string(length) + " tokens from position " +
             std::to_string(position) + " on, its prompt has " + std::to_string(prompt) +
             "; behind caches the prompt is read at once and then one token at a time";
    });
    std::size_t kept = 0;
    if (position == 0) {
      const auto ends = caches_.begin(b, *branch_.retokenizer, text.first(prompt));
      const Index all = static_cast<Index>(caches_.tokens(b).size());
      for (std::size_t t = 0; t < prompt; ++t) see(at + t, B::mask == BridgeMask::causal ? ends[t] : all, ends[t] - 1);
    }
    if (position + length > prompt) {
      // Under the encoder mask nothing but the prompt is ever read.
      if (B::mask != BridgeMask::encoder) kept = caches_.push(b, text.back());
      else if (position > 0) kept = caches_.tokens(b).size();
      const Index all = static_cast<Index>(caches_.tokens(b).size());
      const Index behind = B::mask == BridgeMask::encoder ? static_cast<Index>(position + 1 - prompt) : 0;
      see(at + length - 1, all, all - 1 + behind);
    }
    start_[b] = position == 0 ? 0 : static_cast<Index>(kept);
    count_[b] = static_cast<Index>(caches_.tokens(b).size()) - start_[b];
  }

  void see(std::size_t at, Index end, Index center) { set_interval(seen_, at, {0, 0, 0, end, 0, 0}, center); }

  void read(const std::array<typename B::Keeping::Folded, B::links>& folded) {
    const auto time = static_cast<std::size_t>(*std::max_element(count_.begin(), count_.end()));
    if (time == 0) return;
    auto tokens = nn::Tokens<device>::zeros(Shape<Batch, Time>(count_.size(), time));
    for (std::size_t b = 0; b < count_.size(); ++b) {
      if (count_[b] == 0) continue;
      std::copy_n(caches_.tokens(b).begin() + start_[b], count_[b], tokens.mutable_data() + b * time);
    }
    const auto layout = nn::continue_at<device>(start_, count_, time);
    const auto linked = linked_states(branch_, tokens, layout, &caches_.augment());
    for (std::size_t i = 0; i < B::links; ++i) {
      B::Keeping::remember(folded[i], linked[i], layout, caches_.bridges()[i]);
      mark_beside(device{}, B::map::target[i]);
    }
  }

  const B& branch_;
  FollowedTexts<B>& caches_;
  std::vector<Index> start_, count_;  // of each text's new tokens, the augment's
  KeyIntervals<device> seen_;
};

}  // namespace detail

namespace nn::detail {
template <class B>
inline constexpr bool is_cache<calm::detail::FollowedTexts<B>> = true;
}  // namespace nn::detail

template <class Anchor, class Augment, class Map, class Options>
struct Branch<Anchor, Retokenized<Augment, Map, Options>> : Branch<Anchor, With<Augment, Map, Options>> {
  using Base = Branch<Anchor, With<Augment, Map, Options>>;
  using device = typename Base::device;
  using Tokens = nn::Tokens<device>;
  using Layout = nn::Layout<device>;

  /// What is read of a text's beginning depends on where its prompt ends.
  static constexpr bool shares_prefixes = false;

  struct Caches {
    detail::FollowedTexts<Branch> read;
    std::array<typename Base::Keeping::Folded, Base::links> folded;  // the same for every text

    /// What each text owns.
    static auto parts(auto& self) { return std::tie(self.read); }
  };
  /// The states that its bridges read of whole texts, and which of them each token of the anchor sees.
  struct Linked {
    detail::AllLinkedStates<Branch> states;
    KeyIntervals<device> seen;
  };

  /// How the augment follows the anchor's tokens. Must be set before anything is computed; in no file.
  std::shared_ptr<const Retokenizer> retokenizer;

  Linked linked(const Tokens& tokens, const Layout& layout) const {
    require_retokenizer();
    auto read = detail::retokenize(*retokenizer, tokens, layout, Base::mask);
    return {detail::linked_states(*this, read.tokens, read.layout), std::move(read.seen)};
  }

  auto pass(const Linked& linked, const Layout&) const {
    return detail::WholeTexts<Branch>{*this, {this->bridges, linked.states}, linked.seen};
  }
  auto pass(const Tokens& tokens, const Layout& layout) const { return pass(linked(tokens, layout), layout); }
  template <class Observer>
  auto observed_pass(const Tokens& tokens, const Layout& layout, Observer observer) const {
    auto all = linked(tokens, layout);
    return detail::WholeTexts<Branch, Observer>{
        *this, {this->bridges, std::move(all.states)}, std::move(all.seen), std::move(observer)};
  }
  auto pass(const Tokens& tokens, const Layout& layout, Caches& caches) const {
    require_retokenizer();
    auto seen = detail::Follower<Branch>(*this, tokens, layout, caches).seen();
    return detail::BehindCaches<Branch>{*this, {this->bridges, caches.folded, caches.read.bridges()}, std::move(seen)};
  }

  /// `capacity` counts the anchor's tokens.
  Caches make_caches(std::size_t batch, std::size_t capacity) const {
    return {detail::FollowedTexts<Branch>(batch, capacity), this->folds()};
  }

 private:
  void require_retokenizer() const {
    calm::detail::require(retokenizer != nullptr, [] {
      return std::string("calm::Retokenized: the augment has no retokenizer; set branch<i>().retokenizer, for instance "
                         "to calm::retokenizer(anchor's tokenizer, augment's tokenizer)");
    });
  }
};

}  // namespace calm
