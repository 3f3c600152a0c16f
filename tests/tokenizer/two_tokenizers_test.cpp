#include "calm/compose/two_tokenizers.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "text/test_data.hpp"
#include "tokenizer/random_strings.hpp"
#include "tokenizer/reference.hpp"

using namespace calm;
using text::Tokenizer;

namespace {

using Named = std::pair<std::string, std::shared_ptr<const Tokenizer>>;

const std::vector<Named>& tokenizers() {
  static const std::vector<Named> all = [] {
    std::vector<Named> found;
    for (const auto& row : test::tokenizer_fixture()["tokenizers"]) {
      if (auto t = test::load_reference(row)) {
        found.emplace_back(row["name"], std::make_shared<const Tokenizer>(std::move(*t)));
      }
    }
    return found;
  }();
  return all;
}

/// Prose, code, languages without blanks, runs of blanks and digits, and random strings.
std::vector<std::string> texts() {
  std::vector<std::string> all{
      "Once upon a time, there was a little girl named Lily. She didn't like 1234567 of the dragon's unbelievably "
      "antidisestablishmentarian words;   but she  read them again,\n\n and again, and again.\n\tThe end... or not?",
      "def f(x):\n    for i in range(10):\n        if x[i] == 'abc' and not(y is None):\n            return x[i]\n\n\n"
      "class A_b(object): pass  # 3.14159 == 2.71828 != 0xdeadbeef\n",
      "从前有一个小女孩，她的名字叫莉莉。她不喜欢一千二百三十四万五千六百七十八条龙，但是她把这本书读了一遍又一遍，直到最后一页为止。"
      "故事讲完了，或者还没有讲完？没有人知道这个问题的答案，因为没有人读过最后一页。",
      "กาลครั้งหนึ่งนานมาแล้วมีเด็กผู้หญิงคนหนึ่งชื่อลิลลี่เธอไม่ชอบมังกรแต่เธออ่"
      "านหนังสือเล่มนี้ซ้ำแล้วซ้ำเล่าจนถึงหน้าสุดท้าย",
      "Ünïcödé 👩‍👩‍👧‍👦 emoji 🏳️‍🌈🏳️‍🌈 and \xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82, नमस्ते दुनिया, "
      "e\xCC\x81galement a\xCC\x8A, aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa          !!!!!!!!!!!!!!"};
  const test::RandomStrings strings(test::tokenizer_fixture());
  std::string random;
  for (std::size_t i = 0; i < 40; ++i) random += strings(i, false);
  all.push_back(random);
  return all;
}

/// The tokens of a whole text, without what the template puts behind it.
std::vector<Index> reading(const Tokenizer& tokenizer, const std::string& text) {
  if (text.empty()) return {tokenizer.opening().begin(), tokenizer.opening().end()};
  std::vector<Index> ids;
  for (const text::Token& t : tokenizer.encode(text)) {
    if (t.begin < text.size()) ids.push_back(t.id);
  }
  return ids;
}

/// Letters that are tokens each, and nothing else.
std::shared_ptr<const Tokenizer> letters(const std::string& known) {
  text::TokenizerParts parts;
  for (const char c : known) parts.vocabulary.set(static_cast<Index>(parts.vocabulary.size()), {c});
  parts.model = text::Bpe(parts.vocabulary, {});
  return std::make_shared<const Tokenizer>(std::move(parts));
}

}  // namespace

TEST_CASE("followed token by token, the augment has read at each place what its tokenizer gives for that text") {
  if (tokenizers().empty()) {
    WARN("skipped: no tokenizers in the folder of test data; set CALM_TEST_DATA");
    return;
  }
  std::size_t places = 0, revised = 0;
  for (std::size_t a = 0; a < tokenizers().size(); ++a) {
    const auto& [augment_name, augment] = tokenizers()[a];
    for (const std::size_t step : {1u, 5u}) {
      const auto& [anchor_name, anchor] = tokenizers()[(a + step) % tokenizers().size()];
      const auto both = retokenizer(anchor, augment);
      for (const std::string& text : texts()) {
        const auto ids = anchor->ids(text);
        const std::size_t prompt = ids.size() / 3;
        const auto follower = both->text();
        const auto seen = follower->begin(std::span(ids).first(prompt));
        const std::size_t read_of_prompt = follower->tokens().size();
        CHECK(std::is_sorted(seen.begin(), seen.end()));
        auto spelled = anchor->stream();
        std::string so_far;
        for (std::size_t i = 0; i < ids.size(); ++i) {
          so_far += spelled.push(ids[i]);
          CAPTURE(anchor_name, augment_name, i, so_far);
          if (i >= prompt) {
            const auto before = follower->tokens();
            const std::size_t kept = follower->push(ids[i]);
            REQUIRE(kept <= std::min(before.size(), follower->tokens().size()));
            REQUIRE(std::equal(before.begin(), before.begin() + static_cast<std::ptrdiff_t>(kept),
                               follower->tokens().begin()));
            revised += kept < before.size();
            ++places;
          }
          if (i + 1 >= prompt) REQUIRE(follower->tokens() == reading(*augment, so_far));
        }
        if (prompt > 0) CHECK(static_cast<std::size_t>(seen.back()) == read_of_prompt);
      }
    }
  }
  // Else nothing was shown. With all tokenizers: 40 188 places, 2 907 revisions.
  CHECK(revised * 100 > places);
}

TEST_CASE("a text that the augment's tokenizer passes over, however long, has no tokens") {
  const auto anchor = letters("a1");
  const auto follower = retokenizer(anchor, letters("1"))->text();
  for (const std::size_t ones : {0u, 1u, 2u}) {
    for (const Index token : anchor->ids(std::string(1000, 'a'))) CHECK(follower->push(token) == ones);
    CHECK(follower->tokens() == std::vector<Index>(ones, 0));
    follower->push(1);
  }
}

namespace {

/// Follows `text` letter by letter; how often the augment's tokens were not those of the text so far.
std::size_t differences(std::shared_ptr<const Tokenizer> augment, const std::string& text) {
  const auto anchor = letters(" abcxy");
  const auto follower = retokenizer(anchor, augment)->text();
  std::string so_far;
  std::size_t count = 0;
  for (const Index token : anchor->ids(text)) {
    follower->push(token);
    so_far += text[so_far.size()];
    count += follower->tokens() != augment->ids(so_far);
  }
  REQUIRE(so_far == text);
  return count;
}

std::string times(int n, const std::string& part) {
  std::string out;
  while (n-- > 0) out += part;
  return out;
}

}  // namespace

TEST_CASE("a long word whose end changes its first tokens is read again from its beginning") {
  text::TokenizerParts pieces;
  for (const char* piece : {"?", "a", "##a", "b"})
    pieces.vocabulary.set(static_cast<Index>(pieces.vocabulary.size()), piece);
  pieces.model = text::WordPiece(pieces.vocabulary, 0, "##", 100);
  pieces.pre_tokenizers.push_back(text::pre_tokenizers::whitespace_split());
  const auto word_piece = std::make_shared<const Tokenizer>(std::move(pieces));
  CHECK(differences(word_piece, times(50, "b ") + times(100, "a")) == 0);
  CHECK(word_piece->ids(times(101, "a")) == std::vector<Index>{0});  // too long for a word: unknown
  CHECK(differences(word_piece, times(50, "b ") + times(150, "a") + times(50, " b")) == 0);

  // Pairs "ab" or pairs "ba", which the beginning and the end of the word decide together.
  text::TokenizerParts parts;
  const std::vector<std::pair<std::string, double>> scores{{"?", -50}, {"ab", -1},  {"ba", -1}, {" x", -1}, {" xa", -2},
                                                           {"a", -12}, {"b", -10}, {"c", -10}, {"bc", -1}, {" y", -1}};
  for (const auto& [piece, score] : scores) parts.vocabulary.set(static_cast<Index>(parts.vocabulary.size()), piece);
  text::Unigram<double> unigram(parts.vocabulary, 0, false);
  for (std::size_t i = 1; i < scores.size(); ++i) unigram.add(scores[i].first, static_cast<Index>(i), scores[i].second);
  parts.model = std::move(unigram);
  const auto whole_text = std::make_shared<const Tokenizer>(std::move(parts));
  CHECK(differences(whole_text, times(60, " y") + " x" + times(100, "ab") + "c") == 0);
}
