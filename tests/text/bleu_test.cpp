#include "calm/text/bleu.hpp"

#include <cmath>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

using namespace calm;
using namespace calm::text;
using Catch::Contains;
using Strings = std::vector<std::string>;

TEST_CASE("BLEU of counts is the formula") {
  BleuCounts counts;
  counts.hypothesis_words = 8;
  counts.reference_words = 10;
  counts.matches = {6, 3, 0, 0};
  counts.totals = {8, 7, 6, 5};
  const BleuScore score = bleu_of(counts);
  CHECK(score.brevity_penalty == Approx(std::exp(1 - 10.0 / 8)));
  CHECK(score.precisions[0] == Approx(75));
  CHECK(score.precisions[1] == Approx(300.0 / 7));
  CHECK(score.precisions[2] == Approx(50.0 / 6));  // the first length without a match: half of one
  CHECK(score.precisions[3] == Approx(25.0 / 5));  // the second: a quarter
  const double product = 0.75 * 3 / 7 * 0.5 / 6 * 0.25 / 5;
  CHECK(score.score == Approx(100 * score.brevity_penalty * std::pow(product, 0.25)));
}

TEST_CASE("BLEU of two words counts two lengths only where told to") {
  CHECK(sentence_bleu("two words", {"two words"}).score == Approx(100));
  CHECK(sentence_bleu("two words", {"two words"}, {.effective_order = false}).score == 0);
}

TEST_CASE("BLEU of a corpus comes from summed counts, not from the mean of its sentences") {
  const Strings hypotheses = {"a b c d e", "x"}, references = {"a b c d e", "y"};
  const BleuScore score = corpus_bleu(hypotheses, references);
  CHECK(score.counts.totals[0] == 6);
  CHECK(score.counts.matches[0] == 5);
  CHECK(score.score == Approx(100 * std::pow(5.0 / 6, 0.25)));
}

TEST_CASE("BLEU refuses what it cannot score, by number") {
  const Strings one = {"a"}, two = {"a", "b"};
  CHECK_THROWS_WITH(corpus_bleu(Strings{}, Strings{}), Contains("corpus_bleu: expected at least one hypothesis"));
  CHECK_THROWS_WITH(corpus_bleu(two, one), Contains("for each of 2 hypotheses, found 1"));
  CHECK_THROWS_WITH(corpus_bleu(two, std::vector<References>{{"a"}, {}}),
                    Contains("hypothesis 1: expected at least one reference, found none"));
  CHECK_THROWS_WITH(corpus_bleu(Strings{"a", "b\xE4\xB8"}, two),
                    Contains("hypothesis 1: expected UTF-8, found an invalid byte at 1") && Contains("repair_utf8"));
  CHECK_THROWS_WITH(sentence_bleu("a", {"a", "\xFF"}),
                    Contains("sentence_bleu: a reference of hypothesis 0: expected UTF-8"));
}
