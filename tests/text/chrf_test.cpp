#include "calm/text/chrf.hpp"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

using namespace calm;
using namespace calm::text;
using Catch::Contains;
using Strings = std::vector<std::string>;

TEST_CASE("chrF of a small pair is what one counts by hand") {
  // "abc" against "abd": of lengths 1, 2, 3 match 2 of 3, 1 of 2, 0 of 1, both ways; longer ones neither has.
  CHECK(sentence_chrf("abc", {"abd"}).score == Approx(100 * (2.0 / 3 + 1.0 / 2) / 3));
  CHECK(sentence_chrf("a b c", {"ab\u3000c"}).score == Approx(100));  // white space does not count
  CHECK(sentence_chrf("a b c", {"ab\u3000c"}, {.whitespace = true}).score < 50);
}

TEST_CASE("chrF counts code points, not bytes") {
  // One of two characters matches, and no pair: (1/2 + 0) / 2.
  CHECK(sentence_chrf("\u4e2d\u6587", {"\u4e2d\u56fd"}).score == Approx(25));
}

TEST_CASE("chrF++ parts one mark from a word: its last, else its first") {
  using Words = std::vector<std::string_view>;
  CHECK(text::detail::chrf_words("(hi) \"you -- . a. \u4e2d\uff01") ==
        Words{"(hi", ")", "\"", "you", "-", "-", ".", "a", ".", "\u4e2d\uff01"});
}

TEST_CASE("chrF takes the reference that scores best") {
  const double best = sentence_chrf("the cat", {"the cats"}).score;
  CHECK(sentence_chrf("the cat", {"a dog", "the cats", "thecow"}).score == best);
}

TEST_CASE("chrF names itself as sacreBLEU does") {
  const auto score = sentence_chrf("a", {"a", "b"}, chrf_plus_plus);
  CHECK(score.name == "chrF2++");
  CHECK(score.signature == "nrefs:2|case:mixed|eff:yes|nc:6|nw:2|space:no|version:" + std::string(sacrebleu_version));
}

TEST_CASE("chrF refuses what it cannot score") {
  CHECK_THROWS_WITH(corpus_chrf(Strings{}, Strings{}), Contains("corpus_chrf: expected at least one hypothesis"));
  CHECK_THROWS_WITH(sentence_chrf("a", {"a"}, {.char_order = 0}), Contains("expected n-grams of characters or words"));
  CHECK_THROWS_WITH(sentence_chrf("\xC0", {"a"}), Contains("hypothesis 0: expected UTF-8"));
}
