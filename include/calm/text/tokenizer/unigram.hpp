/// \file  Unigram language model (Kudo, arXiv 1804.10959): the pieces of a text whose scores have the largest sum.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "calm/text/tokenizer/trie.hpp"
#include "calm/text/tokenizer/vocabulary.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text {

/// The model. Sums are of type `Score`: float as in SentencePiece, double as in `tokenizers`, which on long words
/// decides differently between paths that are nearly equal. Words must be valid UTF-8.
template <class Score>
class Unigram {
 public:
  /// What one call after the other reuses.
  struct Scratch {
    struct Node {
      TokenId id = no_token;
      Score score = 0;
      std::uint32_t begin = 0;
    };
    std::vector<Node> best;  // by the byte at which a path ends
  };

  Unigram() = default;
  /// `unknown` is what characters without a piece become; with `byte_fallback`, those of their bytes if all have one.
  Unigram(const Vocabulary& vocabulary, TokenId unknown, bool byte_fallback)
      : unknown_(unknown), byte_fallback_(byte_fallback), fallback_(vocabulary.byte_pieces()) {}

  /// A piece with its score (the logarithm of its probability).
  void add(std::string_view piece, TokenId id, Score score) {
    if (static_cast<std::size_t>(id) >= scores_.size()) scores_.resize(static_cast<std::size_t>(id) + 1);
    scores_[static_cast<std::size_t>(id)] = {score, false};
    least_ = std::min(least_, score);
    if (!piece.empty()) trie_.add(piece, id);
  }
  /// A piece that is taken wherever it stands. SentencePiece scores it as 0.1 below nothing.
  void add_fixed(std::string_view piece, TokenId id) {
    if (static_cast<std::size_t>(id) >= scores_.size()) scores_.resize(static_cast<std::size_t>(id) + 1);
    scores_[static_cast<std::size_t>(id)] = {0, true};
    if (!piece.empty()) trie_.add(piece, id);
  }

  /// Appends the tokens of `word` to `out`; neighbouring unknown characters are one.
  void tokenize(const Vocabulary&, std::string_view word, Scratch& scratch, std::vector<Piece>& out) const {
    search(word, scratch.best);
    const std::size_t first = out.size();
    for (std::size_t end = word.size(); end > 0;) {
      const auto& node = scratch.best[end];
      const bool fuses = node.id == unknown_ && out.size() > first && out.back().id == unknown_;
      if (fuses) out.back().begin = node.begin;
      else out.push_back({node.id, node.begin, static_cast<std::uint32_t>(end)});
      end = node.begin;
    }
    std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
    if (byte_fallback_) spell_unknown(word, first, out);
  }

 private:
  struct Entry {
    Score score = 0;
    bool is_fixed = false;
  };

  /// The best path to each byte, from the left (Viterbi); of equal ones that found first.
  void search(std::string_view word, std::vector<typename Scratch::Node>& best) const {
    best.assign(word.size() + 1, {});
    const Score unknown_score = least_ - Score(10);
    const auto improve = [&](std::size_t begin, std::size_t bytes, TokenId id, Score score) {
      auto& target = best[begin + bytes];
      const Score sum = score + best[begin].score;
      if (target.id == no_token || sum > target.score) target = {id, sum, static_cast<std::uint32_t>(begin)};
    };
    for (std::size_t begin = 0; begin < word.size();) {
      const std::size_t character = code_point_at(word, begin).bytes;
      bool is_known = false;
      trie_.prefixes(word, begin, [&](TokenId id, std::size_t bytes) {
        const Entry& entry = scores_[static_cast<std::size_t>(id)];
        improve(begin, bytes, id, entry.is_fixed ? Score(-0.1) : entry.score);
        is_known = is_known || bytes == character;
      });
      if (!is_known) improve(begin, character, unknown_, unknown_score);
      begin += character;
    }
  }

  void spell_unknown(std::string_view word, std::size_t first, std::vector<Piece>& out) const {
    const auto byte_piece = [&](std::size_t i) { return fallback_[static_cast<unsigned char>(word[i])]; };
    std::vector<Piece> spelled;
    for (std::size_t i = first; i < out.size(); ++i) {
      const Piece& piece = out[i];
      bool possible = piece.id == unknown_;
      for (std::size_t k = piece.begin; possible && k < piece.end; ++k) possible = byte_piece(k) != no_token;
      if (!possible) {
        spelled.push_back(piece);
        continue;
      }
      for (std::uint32_t k = piece.begin; k < piece.end; ++k) spelled.push_back({byte_piece(k), k, k + 1});
    }
    out.resize(first);
    out.insert(out.end(), spelled.begin(), spelled.end());
  }

  TokenId unknown_ = no_token;
  bool byte_fallback_ = false;
  std::array<TokenId, 256> fallback_{};
  Trie trie_;
  std::vector<Entry> scores_;
  Score least_ = std::numeric_limits<Score>::max();
};

}  // namespace calm::text
