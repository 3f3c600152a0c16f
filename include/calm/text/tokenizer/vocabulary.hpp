/// \file  The pieces of a tokenizer and their numbers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace calm::text {

/// The number of a token, as tensors of tokens hold it.
using TokenId = std::int32_t;
inline constexpr TokenId no_token = -1;

/// A token and the bytes of its word or text that it stands for.
struct Piece {
  TokenId id = no_token;
  std::uint32_t begin = 0, end = 0;
};

/// Pieces by number and numbers by piece.
class Vocabulary {
 public:
  std::size_t size() const { return pieces_.size(); }
  bool contains(TokenId id) const { return id >= 0 && static_cast<std::size_t>(id) < pieces_.size(); }
  /// The bytes of a piece; empty for a number that has none.
  const std::string& piece(TokenId id) const { return pieces_[static_cast<std::size_t>(id)]; }

  /// The number of a piece that texts are made of; `no_token` if there is none.
  TokenId find(std::string_view piece) const {
    const auto it = ids_.find(piece);
    return it == ids_.end() ? no_token : it->second;
  }

  /// Gives `piece` the number `id`; of equal pieces the last is found. One that is not `in_texts` is never found.
  void set(TokenId id, std::string piece, bool in_texts = true) {
    const auto i = static_cast<std::size_t>(id);
    if (i >= pieces_.size()) pieces_.resize(i + 1);
    pieces_[i] = std::move(piece);
    if (in_texts) ids_.insert_or_assign(pieces_[i], id);
  }

  /// The numbers of the pieces "<0x00>" to "<0xFF>", by which bytes without a piece are spelled; `no_token` where one
  /// is missing.
  std::array<TokenId, 256> byte_pieces() const {
    std::array<TokenId, 256> ids;
    ids.fill(no_token);
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const int byte = byte_of(pieces_[i]);
      if (byte >= 0) ids[static_cast<std::size_t>(byte)] = static_cast<TokenId>(i);
    }
    return ids;
  }
  /// The byte that a piece like "<0x0A>" names; -1 if it names none.
  static int byte_of(std::string_view piece) {
    if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
    static constexpr std::string_view digits = "0123456789ABCDEF";
    const auto high = digits.find(piece[3]), low = digits.find(piece[4]);
    return high == digits.npos || low == digits.npos ? -1 : static_cast<int>(16 * high + low);
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };

  std::vector<std::string> pieces_;
  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> ids_;
};

}  // namespace calm::text
