/// \file  SentencePiece's compiled normalisation rules ("precompiled_charsmap"): a double array (Aoe 1989, in the form
/// of darts-clone) from byte strings to places in a list of replacements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "calm/tensor/error.hpp"

namespace calm::text {

/// The rules. A damaged blob is an `Error` when it is read, or has rules that match nothing; it is never read beyond.
class Charsmap {
 public:
  struct Rule {
    std::string_view replacement;
    std::size_t bytes = 0;  ///< of the text that it replaces; 0 if no rule applies
  };

  Charsmap() = default;
  /// Reads the bytes of a blob: the array's size in bytes, the array, the replacements with a zero byte behind each.
  /// Throws `Error` with `place`.
  Charsmap(std::string_view blob, const std::string& place) {
    std::uint32_t bytes = 0;
    if (blob.size() > 4) std::memcpy(&bytes, blob.data(), 4);
    calm::detail::require(blob.size() > 4 && bytes > 0 && bytes % 4 == 0 && bytes <= blob.size() - 4, [&] {
      return "calm::text: " + place + ": expected rules with an array of at most " +
             std::to_string(blob.size() < 4 ? 0 : blob.size() - 4) + " bytes, found one of " + std::to_string(bytes) +
             "; the file is damaged";
    });
    units_.resize(bytes / 4);
    std::memcpy(units_.data(), blob.data() + 4, bytes);
    replacements_ = blob.substr(4 + bytes);
  }

  bool empty() const { return units_.empty(); }

  /// The rule of the longest string, or of the shortest, that stands at the beginning of `text`.
  Rule longest(std::string_view text) const { return find(text, false); }
  Rule shortest(std::string_view text) const { return find(text, true); }

 private:
  Rule find(std::string_view text, bool is_shortest) const {
    Rule best;
    if (units_.empty()) return best;
    std::size_t node = offset(units_[0]);
    for (std::size_t i = 0; i < text.size() && text[i] != '\0'; ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      node ^= byte;
      if (node >= units_.size()) return best;
      const std::uint32_t unit = units_[node];
      if ((unit & 0x800000FFu) != byte) return best;
      node ^= offset(unit);
      if ((unit >> 8 & 1) == 0 || node >= units_.size()) continue;
      const std::size_t place = units_[node] & 0x7FFFFFFFu;
      if (place >= replacements_.size()) continue;
      const std::string_view rest = std::string_view(replacements_).substr(place);
      best = {rest.substr(0, rest.find('\0')), i + 1};
      if (is_shortest) return best;
    }
    return best;
  }

  static std::size_t offset(std::uint32_t unit) {
    return static_cast<std::size_t>(unit >> 10) << ((unit & 0x200u) >> 6);
  }

  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace calm::text
