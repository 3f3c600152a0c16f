/// \file  GPT-2's alphabet (Radford et al. 2019): each byte as one printable character, in which files of byte-level
/// tokenizers spell their pieces. Inside, pieces are bytes.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "calm/text/utf8.hpp"

namespace calm::text::detail {

/// For each character below U+0144 the byte that it spells; -1 if it spells none.
inline const std::array<int, 324>& byte_alphabet() {
  static const std::array<int, 324> table = [] {
    std::array<int, 324> out;
    out.fill(-1);
    std::size_t next = 256;  // bytes that print nothing take the characters from U+0100 on, in their order
    for (std::size_t b = 0; b < 256; ++b) {
      const bool prints = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      out[prints ? b : next++] = static_cast<int>(b);
    }
    return out;
  }();
  return table;
}

/// The bytes that `piece`, valid UTF-8, spells; nothing if it has characters outside of the alphabet.
inline std::optional<std::string> spelled_bytes(std::string_view piece) {
  std::string out;
  for (std::size_t i = 0; i < piece.size();) {
    const CodePoint c = code_point_at(piece, i);
    if (c.value >= byte_alphabet().size() || byte_alphabet()[c.value] < 0) return std::nullopt;
    out += static_cast<char>(static_cast<unsigned char>(byte_alphabet()[c.value]));
    i += c.bytes;
  }
  return out;
}

}  // namespace calm::text::detail
