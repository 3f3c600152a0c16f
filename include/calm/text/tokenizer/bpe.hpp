/// \file  Byte-pair encoding (Sennrich et al., arXiv 1508.07909): a word's symbols merged pair by pair, in the order of
/// the merges' ranks, of equal ranks the leftmost first.
///
/// One table of pairs serves all kinds: that of tokenizer.json and GPT-2 lists its merges; tiktoken and SentencePiece
/// merge whatever two pieces make a third, so their tables hold every way of cutting a piece in two (`add_cuts`).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "calm/text/tokenizer/trie.hpp"
#include "calm/text/tokenizer/vocabulary.hpp"
#include "calm/text/utf8.hpp"

namespace calm::text {

/// How words are cut before anything is merged, and what becomes of symbols without a piece.
struct BpeOptions {
  bool bytes = false;          ///< symbols are bytes, else characters
  bool ignore_merges = false;  ///< a word that is a piece is taken whole
  bool byte_fallback = false;  ///< a character without a piece becomes those of its bytes, where all have one
  bool fuse_unknown = false;   ///< neighbouring unknown characters are one token
  TokenId unknown = no_token;  ///< what else an unknown character becomes; with no_token it is dropped
  std::string word_end;        ///< stands behind the last character of a word in the pieces ("</w>")
};

/// The model. Words must be valid UTF-8 unless symbols are bytes.
class Bpe {
 public:
  /// What one call after the other reuses.
  struct Scratch {
    struct Symbol {
      TokenId id;
      std::uint32_t begin, end;
      std::int32_t previous, next;
      bool is_fixed;  ///< takes part in no merge
    };
    struct Candidate {
      std::uint32_t rank;
      std::int32_t left;
      TokenId left_id, right_id, merged;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  Bpe() = default;
  Bpe(const Vocabulary& vocabulary, BpeOptions options) : options_(std::move(options)) {
    for (std::size_t b = 0; b < 256; ++b) {
      const char c = static_cast<char>(static_cast<unsigned char>(b));
      single_[b] = options_.bytes || b < 0x80 ? vocabulary.find({&c, 1}) : no_token;
    }
    if (options_.byte_fallback) fallback_ = vocabulary.byte_pieces();
  }

  /// From now on (left, right) merge to `merged`; of two merges of one pair the last counts, as in `tokenizers`.
  void add_merge(TokenId left, TokenId right, std::uint32_t rank, TokenId merged) {
    merges_.set(static_cast<std::uint32_t>(left), static_cast<std::uint32_t>(right), {rank, merged});
  }

  /// All merges of two pieces that make the piece `id`, at every place where a symbol may end.
  void add_cuts(const Vocabulary& vocabulary, TokenId id, std::uint32_t rank) {
    const std::string& piece = vocabulary.piece(id);
    for (std::size_t i = step(piece, 0); i < piece.size(); i += step(piece, i)) {
      const TokenId left = vocabulary.find(std::string_view(piece).substr(0, i));
      const TokenId right = vocabulary.find(std::string_view(piece).substr(i));
      if (left != no_token && right != no_token) add_merge(left, right, rank, id);
    }
  }

  /// A string that is one symbol wherever it stands, and is never merged (SentencePiece's user-defined symbols).
  void add_fixed(std::string_view piece, TokenId id) { fixed_.add(piece, id); }

  /// Appends the tokens of `word` to `out`.
  void tokenize(const Vocabulary& vocabulary, std::string_view word, Scratch& scratch, std::vector<Piece>& out) const {
    const auto size = static_cast<std::uint32_t>(word.size());
    if (options_.ignore_merges) {
      const TokenId whole = vocabulary.find(word);
      if (whole != no_token) return out.push_back({whole, 0, size});
    }
    cut(vocabulary, word, scratch);
    merge(scratch);
    for (std::int32_t i = scratch.symbols.empty() ? -1 : 0; i >= 0;) {
      const auto& symbol = scratch.symbols[static_cast<std::size_t>(i)];
      out.push_back({symbol.id, symbol.begin, symbol.end});
      i = symbol.next;
    }
  }

 private:
  struct Merge {
    std::uint32_t rank = 0;
    TokenId merged = no_token;
  };

  std::size_t step(std::string_view text, std::size_t at) const {
    return options_.bytes ? 1 : code_point_at(text, at).bytes;
  }

  void cut(const Vocabulary& vocabulary, std::string_view word, Scratch& scratch) const {
    auto& symbols = scratch.symbols;
    symbols.clear();
    const auto add = [&](TokenId id, std::size_t begin, std::size_t end, bool is_fixed = false) {
      symbols.push_back({id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), 0, 0, is_fixed});
    };
    for (std::size_t i = 0, end; i < word.size(); i = end) {
      if (!fixed_.empty()) {
        if (const auto match = fixed_.longest(word, i); match.bytes > 0) {
          add(match.value, i, end = i + match.bytes, true);
          continue;
        }
      }
      end = i + step(word, i);
      const TokenId id = character(vocabulary, word, i, end);
      if (id != no_token) add(id, i, end);
      else add_unknown(word, i, end, symbols, add);
    }
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      symbols[i].previous = static_cast<std::int32_t>(i) - 1;
      symbols[i].next = i + 1 < symbols.size() ? static_cast<std::int32_t>(i) + 1 : -1;
    }
  }

  TokenId character(const Vocabulary& vocabulary, std::string_view word, std::size_t begin, std::size_t end) const {
    if (end == word.size() && !options_.word_end.empty())
      return vocabulary.find(std::string(word.substr(begin)) + options_.word_end);
    if (end - begin == 1) return single_[static_cast<unsigned char>(word[begin])];
    return vocabulary.find(word.substr(begin, end - begin));
  }

  template <class Add>
  void add_unknown(std::string_view word, std::size_t begin, std::size_t end, auto& symbols, const Add& add) const {
    const auto has_piece = [&](char c) { return fallback_[static_cast<unsigned char>(c)] != no_token; };
    if (options_.byte_fallback && std::all_of(word.begin() + static_cast<std::ptrdiff_t>(begin),
                                              word.begin() + static_cast<std::ptrdiff_t>(end), has_piece)) {
      for (std::size_t i = begin; i < end; ++i) add(fallback_[static_cast<unsigned char>(word[i])], i, i + 1);
    } else if (options_.unknown != no_token) {
      const bool fuses = options_.fuse_unknown && !symbols.empty() && symbols.back().id == options_.unknown &&
                         symbols.back().end == begin;
      if (fuses) symbols.back().end = static_cast<std::uint32_t>(end);
      else add(options_.unknown, begin, end);
    }
  }

  const Merge* find(TokenId left, TokenId right) const {
    return merges_.find(static_cast<std::uint32_t>(left), static_cast<std::uint32_t>(right));
  }

  void merge(Scratch& scratch) const {
    auto& symbols = scratch.symbols;
    auto& heap = scratch.heap;
    heap.clear();
    const auto at = [&](std::int32_t i) -> Scratch::Symbol& { return symbols[static_cast<std::size_t>(i)]; };
    const auto later = [](const Scratch::Candidate& a, const Scratch::Candidate& b) {
      return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
    };
    const auto propose = [&](std::int32_t left, std::int32_t right) {
      if (left < 0 || right < 0 || at(left).is_fixed || at(right).is_fixed) return;
      const Merge* found = find(at(left).id, at(right).id);
      if (!found) return;
      heap.push_back({found->rank, left, at(left).id, at(right).id, found->merged});
      std::push_heap(heap.begin(), heap.end(), later);
    };
    for (std::size_t i = 1; i < symbols.size(); ++i)
      propose(static_cast<std::int32_t>(i) - 1, static_cast<std::int32_t>(i));
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), later);
      const Scratch::Candidate top = heap.back();
      heap.pop_back();
      Scratch::Symbol& left = at(top.left);
      if (left.id == no_token || left.next < 0) continue;  // merged away
      Scratch::Symbol& right = at(left.next);
      if (left.id != top.left_id || right.id != top.right_id) {  // stale, unless it makes the same piece
        const Merge* now = find(left.id, right.id);
        if (!now || now->merged != top.merged || right.is_fixed) continue;
      }
      left.id = top.merged;
      left.end = right.end;
      left.next = right.next;
      right.id = no_token;
      if (left.next >= 0) at(left.next).previous = top.left;
      propose(left.previous, top.left);
      propose(top.left, left.next);
    }
  }

  BpeOptions options_;
  PairTable<Merge> merges_;
  Trie fixed_;
  std::array<TokenId, 256> single_{}, fallback_{};
};

}  // namespace calm::text
