/// \file  The strings of tests/fixtures/make_tokenizer_fixture.py, made anew from their numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "calm/text/tokenizer/unicode.hpp"

namespace calm::test {

/// SplitMix64 (Steele, Lea and Flood 2014).
class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t state) : state_(state) {}
  std::size_t below(std::size_t n) {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return static_cast<std::size_t>((z ^ z >> 31) % n);
  }

 private:
  std::uint64_t state_;
};

class RandomStrings {
 public:
  /// The tables of the fixture.
  explicit RandomStrings(const nlohmann::json& fixture)
      : words_(fixture["words"]),
        emoji_(fixture["emoji"]),
        units_(fixture["units"]),
        spaces_(fixture["spaces"]),
        ranges_(fixture["ranges"].get<std::vector<std::pair<char32_t, char32_t>>>()) {}

  std::string operator()(std::size_t i, bool takes_bytes) const {
    SplitMix64 rng(i);
    std::string out;
    for (std::size_t n = 1 + rng.below(12); n > 0; --n) add_fragment(rng, takes_bytes, out);
    return out;
  }

 private:
  using Texts = std::vector<std::string>;

  template <class Table>
  static const auto& pick(SplitMix64& rng, const Table& table) { return table[rng.below(table.size())]; }
  static std::string character(SplitMix64& rng, const std::pair<char32_t, char32_t>& range) {
    return text::detail::utf8_of(range.first + static_cast<char32_t>(rng.below(range.second - range.first + 1)));
  }

  void add_fragment(SplitMix64& rng, bool takes_bytes, std::string& out) const {
    static constexpr std::string_view marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    const std::size_t kind = rng.below(16);
    const auto repeat = [&](std::size_t most, const auto& make) {
      for (std::size_t n = 1 + rng.below(most); n > 0; --n) out += make();
    };
    const auto ascii = [](std::size_t c) { return static_cast<char>(c); };
    if (kind < 5) {
      if (rng.below(2) != 0) out += ' ';
      out += pick(rng, words_);
    } else if (kind == 5) {
      repeat(8, [&] {
        const std::size_t first = rng.below(6) == 0 ? 'A' : 'a';
        return ascii(first + rng.below(26));
      });
    } else if (kind == 6) {
      repeat(6, [&] { return ascii('0' + rng.below(10)); });
    } else if (kind == 7) {
      repeat(5, [&] { return pick(rng, spaces_); });
    } else if (kind == 8) {
      repeat(4, [&] { return pick(rng, marks); });
    } else if (kind < 11) {
      const auto& range = pick(rng, ranges_);
      repeat(6, [&] { return character(rng, range); });
    } else if (kind == 11) {
      repeat(3, [&] { return character(rng, pick(rng, ranges_)); });
    } else if (kind == 12) {
      out += pick(rng, emoji_);
    } else if (kind == 13) {
      repeat(3, [&] {
        const std::size_t low = rng.below(33);
        return text::detail::utf8_of(static_cast<char32_t>(low + (rng.below(4) == 0 ? 0x7F : 0)));
      });
    } else if (kind == 14) {
      const std::string& unit = pick(rng, units_);
      const std::size_t most = rng.below(16) == 0 ? 200 : 12;
      repeat(most, [&] { return unit; });
    } else {
      repeat(4, [&] {
        const auto byte = static_cast<char>(static_cast<unsigned char>(0x80 + rng.below(128)));
        return takes_bytes ? std::string(1, byte) : std::string("\xEF\xBF\xBD");
      });
    }
  }

  Texts words_, emoji_, units_, spaces_;
  std::vector<std::pair<char32_t, char32_t>> ranges_;
};

}  // namespace calm::test
