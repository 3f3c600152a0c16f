#include "calm/text/utf8.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

using namespace calm;
using namespace calm::text;
using Catch::Contains;
using namespace std::string_literals;

namespace {

/// The bits of `c` in `length` bytes, whether that is allowed or not.
std::string bytes_of(char32_t c, std::size_t length) {
  if (length == 1) return {static_cast<char>(c)};
  std::string out(length, '\0');
  for (std::size_t i = length; --i > 0; c >>= 6) out[i] = static_cast<char>(0x80 | (c & 0x3F));
  out[0] = static_cast<char>(static_cast<unsigned char>((0xF00u >> length) | c));
  return out;
}

}  // namespace

TEST_CASE("UTF-8: every code point decodes from its shortest form, and from no other") {
  std::size_t wrong = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
    const std::size_t shortest = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (std::size_t length = shortest; length <= 4; ++length) {
      const std::string bytes = bytes_of(c, length);
      const CodePoint found = code_point_at(bytes, 0);
      const bool ok = length == shortest && !surrogate;
      if (found.valid != ok || (ok && (found.value != c || found.bytes != length))) ++wrong;
    }
  }
  CHECK(wrong == 0);
  for (const char32_t c : {0x110000u, 0x13FFFFu, 0x1FFFFFu}) CHECK(!code_point_at(bytes_of(c, 4), 0).valid);
}

TEST_CASE("UTF-8: the first invalid byte is found at any place, behind ASCII too") {
  CHECK(find_invalid_utf8("") == std::string_view::npos);
  CHECK(find_invalid_utf8("h\u00e9 \u4e2d \U0001f600") == std::string_view::npos);
  for (std::size_t n = 0; n < 40; ++n) {
    CHECK(find_invalid_utf8(std::string(n, 'a') + "\xFF" + "b") == n);
    CHECK(find_invalid_utf8(std::string(n, 'a') + "\u4e2d\xE4\xB8") == n + 3);  // cut off inside of a character
  }
}

TEST_CASE("UTF-8: what is invalid is replaced as Python's errors=\"replace\" does it") {
  const std::string r = "\uFFFD";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"whole \u4e2d", "whole \u4e2d"},
      {"a\xE4\xB8", "a" + r},                // a beginning of one character
      {"\xE4\xB8z", r + "z"},
      {"\xF0\x9F\x98", r},
      {"\xC0\xAF", r + r},                   // overlong
      {"\xED\xA0\x80", r + r + r},           // a surrogate
      {"\xF4\x90\x80\x80", r + r + r + r},   // above U+10FFFF
      {"\x80\xBF", r + r},
      {"\xF0\x80\x80\x41", r + r + r + "A"},
  };
  for (const auto& [broken, whole] : cases) {
    CHECK(repair_utf8(broken) == whole);
    CHECK(find_invalid_utf8(repair_utf8(broken)) == std::string_view::npos);
  }
}

TEST_CASE("UTF-8: decoding gives code points, or the place of what is none") {
  CHECK(decode_utf8("a\u00e9\u4e2d\U0001f600\0"s) == U"a\u00e9\u4e2d\U0001f600\0"s);
  CHECK_THROWS_WITH(decode_utf8("ab\xFF"), Contains("invalid byte at 2 of 3") && Contains("repair_utf8"));
}

TEST_CASE("white space is Python's") {
  std::vector<char32_t> found;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (is_space(c)) found.push_back(c);
  }
  // [c for c in range(0x110000) if chr(c).isspace()]
  CHECK(found == std::vector<char32_t>{9,    10,   11,   12,   13,   28,   29,   30,   31,   32,
                                       133,  160,  5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198,
                                       8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288});
  using Words = std::vector<std::string_view>;
  CHECK(split_at_space("") == Words{});
  CHECK(split_at_space(" \t\u3000") == Words{});
  CHECK(split_at_space("a b") == Words{"a", "b"});
  CHECK(split_at_space("\u2003 a\u00a0\u4e2d\u200b\u2028\x1c" "b\n") == Words{"a", "\u4e2d\u200b", "b"});
  CHECK(strip("\u3000 a b\u2003\n") == "a b");
  CHECK(strip_right("\u3000 a b\u2003\n") == "\u3000 a b");
  CHECK(strip(" \u3000").empty());
}
