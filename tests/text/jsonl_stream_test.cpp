#include "calm/train/jsonl_stream.hpp"

#include <cctype>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/train/fit.hpp"
#include "io/temporary_folder.hpp"

using namespace calm;
using namespace calm::test;
using calm::text::Jsonl;
using Catch::Contains;
using train::Example;
using train::JsonlStream;
using Tokens = std::vector<Index>;

namespace {

Tokens bytes(const std::string& text) {
  Tokens out;
  for (const char c : text) out.push_back(static_cast<unsigned char>(c));
  return out;
}

static_assert(train::ExampleStream<JsonlStream<decltype(&bytes)>>);

/// A file of `count` texts, the i-th of which is "line i".
Jsonl numbered(const TemporaryFolder& folder, std::size_t count) {
  std::string contents;
  for (std::size_t i = 0; i < count; ++i) contents += "{\"text\": \"line " + std::to_string(i) + "\"}\n";
  put_contents(folder / "numbered", contents);
  return Jsonl::open(folder / "numbered");
}

Jsonl file_of(const TemporaryFolder& folder, const std::string& contents) {
  put_contents(folder / "data", contents);
  return Jsonl::open(folder / "data");
}

Tokens tokens_of(auto& stream, std::uint64_t i) {
  Example example;
  stream(i, example);
  return example.tokens;
}

}  // namespace

TEST_CASE("the walk visits each line once per epoch, in a new order each time") {
  const TemporaryFolder folder;
  for (const std::size_t count : {1u, 2u, 3u, 4u, 5u, 64u, 257u}) {
    JsonlStream stream(numbered(folder, count), bytes, {.seed = 5});
    REQUIRE(stream.size() == count);
    std::set<Tokens> orders;
    for (std::uint64_t epoch = 0; epoch < 6; ++epoch) {
      std::set<Tokens> seen;
      Tokens order;
      for (std::uint64_t i = 0; i < count; ++i) {
        seen.insert(tokens_of(stream, epoch * count + i));
        order.push_back(static_cast<Index>(stream.line_of(epoch * count + i)));
      }
      CHECK(seen.size() == count);
      orders.insert(order);
    }
    if (count >= 64) CHECK(orders.size() == 6);
  }
}

TEST_CASE("the walk resumes anywhere, from the example's number alone") {
  const TemporaryFolder folder;
  const Jsonl file = numbered(folder, 100);
  JsonlStream first(file, bytes, {.seed = 9});
  std::vector<Tokens> whole;
  for (std::uint64_t i = 0; i < 350; ++i) whole.push_back(tokens_of(first, i));
  for (const std::uint64_t from : {0u, 1u, 99u, 100u, 249u}) {
    JsonlStream resumed(Jsonl::open(folder / "numbered"), bytes, {.seed = 9});
    std::size_t different = 0;
    for (std::uint64_t i = from; i < 350; ++i) different += tokens_of(resumed, i) != whole[i];
    CHECK(different == 0);
  }
  JsonlStream other(file, bytes, {.seed = 10});
  std::size_t equal = 0;
  for (std::uint64_t i = 0; i < 100; ++i) equal += tokens_of(other, i) == whole[i];
  CHECK(equal < 10);
}

TEST_CASE("without shuffling, the walk is the file's order") {
  const TemporaryFolder folder;
  JsonlStream stream(numbered(folder, 3), bytes, {.shuffle = false});
  CHECK(tokens_of(stream, 0) == bytes("line 0"));
  CHECK(tokens_of(stream, 5) == bytes("line 2"));
}

TEST_CASE("a pair is learned from behind its prompt, a text from its beginning") {
  const TemporaryFolder folder;
  JsonlStream pairs(file_of(folder, "{\"prompt\": \"ab\", \"completion\": \"c\"}\n"), bytes, {.begin = {1}, .end = 2});
  Example example{.tokens = {5, 5, 5}, .prompt = 9, .labels = {1, 2, 3}};
  pairs(0, example);
  CHECK(example.tokens == Tokens{1, 'a', 'b', 'c', 2});
  CHECK(example.prompt == 3);
  CHECK(example.labels.empty());

  JsonlStream texts(file_of(folder, "{\"text\": \"abc\"}\n"), bytes, {.begin = {1}});
  texts(0, example);
  CHECK(example.tokens == Tokens{1, 'a', 'b', 'c'});
  CHECK(example.prompt == 0);
  const auto batch = train::collate<Cpu>(std::vector{example});
  CHECK(batch.token_count == 3);
}

namespace {

/// Reads letters as themselves, but "bc" and two new lines as one token each, and puts a blank in front of a text.
Tokens merged(const std::string& text) {
  Tokens out{' '};
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto pair = text.substr(i, 2);
    const bool merges = pair == "bc" || pair == "\n\n";
    out.push_back(merges ? 256 + pair[1] : text[i]);
    i += merges;
  }
  return out;
}

}  // namespace

TEST_CASE("a completion's tokens are those by which its prompt's go on, and none of them is the prompt's") {
  const TemporaryFolder folder;
  const auto read = [&](const std::string& prompt, const std::string& completion) {
    JsonlStream stream(
        file_of(folder, R"({"prompt": ")" + prompt + R"(", "completion": ")" + completion + "\"}\n"), merged);
    Example example;
    stream(0, example);
    const std::string begin = prompt == "a\\n" ? "a\n" : prompt;
    CHECK(Tokens(example.tokens.begin(), example.tokens.begin() + static_cast<std::ptrdiff_t>(example.prompt)) ==
          merged(begin));
    CHECK(train::target_count(std::vector{example}) == example.tokens.size() - example.prompt);
    return Tokens(example.tokens.begin() + static_cast<std::ptrdiff_t>(example.prompt), example.tokens.end());
  };
  CHECK(read("ab", "dbc") == Tokens{'d', 256 + 'c'});
  CHECK(read("ab", "cd") == bytes("cd"));           // "bc" would span the border
  CHECK(read("a\\n", "\\nd") == bytes(" \nd"));  // and behind a new line, "\n\n" would
}

TEST_CASE("examples that are too long are refused, or cut where told to") {
  const TemporaryFolder folder;
  const Jsonl file = file_of(folder, "{\"prompt\": \"ab\", \"completion\": \"cdef\"}\n");
  JsonlStream refusing(file, bytes, {.max_tokens = 5});
  Example example;
  CHECK_THROWS_WITH(refusing(0, example), Contains("data:1: expected at most max_tokens = 5 tokens, found 6") &&
                                              Contains("TooLong::cut"));
  JsonlStream cutting(file, bytes, {.end = 0, .max_tokens = 5, .too_long = train::TooLong::cut});
  CHECK(tokens_of(cutting, 0) == bytes("abcde"));
  CHECK(cutting.read(0, example) == 7);
  JsonlStream fitting(file, bytes, {.max_tokens = 6});
  CHECK(tokens_of(fitting, 0) == bytes("abcdef"));
  JsonlStream prompt_only(file, bytes, {.max_tokens = 2, .too_long = train::TooLong::cut});
  CHECK_THROWS_WITH(prompt_only(0, example),
                    Contains("data:1: expected at least 2 tokens and one after the prompt, found 6 tokens and a prompt "
                             "of 2, cut to max_tokens = 2"));
}

TEST_CASE("examples with nothing to predict are refused by line") {
  const TemporaryFolder folder;
  Example example;
  JsonlStream short_text(file_of(folder, "{\"text\": \"ab\"}\n{\"text\": \"a\"}\n"), bytes, {.shuffle = false});
  short_text(0, example);
  CHECK_THROWS_WITH(short_text(1, example),
                    Contains("data:2: expected at least 2 tokens") && Contains("found 1 tokens"));
  JsonlStream no_answer(file_of(folder, "{\"prompt\": \"abc\", \"completion\": \"\"}\n"), bytes);
  CHECK_THROWS_WITH(no_answer(0, example), Contains("found 3 tokens and a prompt of 3"));
  JsonlStream failing(file_of(folder, "{\"text\": \"ab\"}\n"),
                      [](const std::string&) -> Tokens { throw Error("no such letter"); });
  CHECK_THROWS_WITH(failing(0, example), Contains("data:1: no such letter"));
}

namespace {

/// Reads letters as themselves; of a chat the whole line, in which the assistant says what is upper-case.
struct Shouting {
  Tokens operator()(const std::string& text) const { return bytes(text); }
  text::TokenizedChat chat(const std::string& json) const {
    text::TokenizedChat out;
    for (const char c : json) {
      if (std::isalpha(static_cast<unsigned char>(c)) == 0) continue;
      if (std::isupper(static_cast<unsigned char>(c)) != 0) {
        const std::size_t n = out.tokens.size();
        if (out.answers.empty() || out.answers.back().end < n) out.answers.push_back({n, n});
        ++out.answers.back().end;
      }
      out.tokens.push_back(c);
    }
    return out;
  }
};

std::string chat_line(const std::string& role) { return "{\"messages\": [{\"role\": \"" + role + "\"}]}\n"; }

}  // namespace

TEST_CASE("of a chat, the assistant's words are learned and what follows them is left out") {
  static_assert(train::TokenizeChat<Shouting> && !train::TokenizeChat<decltype(&bytes)>);
  const TemporaryFolder folder;
  const std::string lines = chat_line("aBCd") + chat_line("aBcDEf") + chat_line("ab");
  JsonlStream stream(file_of(folder, lines), Shouting(), {.shuffle = false, .begin = {1}, .end = 2});
  const std::string front = "messagesrole";
  Example example{.tokens = {5}, .prompt = 9, .labels = {1, 2, 3}};
  stream(0, example);
  CHECK(example.tokens == bytes(front + "aBC"));
  CHECK(example.prompt == front.size() + 1);
  CHECK(example.labels.empty());

  stream(1, example);
  CHECK(example.tokens == bytes(front + "aBcD"));
  CHECK(example.prompt == front.size() + 1);
  Tokens labels(front.size(), -1);
  for (const Index label : {Index{'B'}, Index{-1}, Index{'D'}, Index{'E'}}) labels.push_back(label);
  CHECK(example.labels == labels);
  CHECK(train::target_count(std::vector{example}) == 3);

  CHECK_THROWS_WITH(stream(2, example), Contains("data:3: expected something that the assistant says") &&
                                            Contains("found 0 answers, none of them within 14 tokens"));
}

TEST_CASE("chats that are too long are refused or cut, and need a tokenizer that reads them") {
  const TemporaryFolder folder;
  const Jsonl file = file_of(folder, chat_line("aBcDEf"));
  Example example;
  JsonlStream refusing(file, Shouting(), {.max_tokens = 16});
  CHECK_THROWS_WITH(refusing(0, example), Contains("data:1: expected at most max_tokens = 16 tokens, found 17"));
  JsonlStream cutting(file, Shouting(), {.max_tokens = 16, .too_long = train::TooLong::cut});
  cutting(0, example);
  CHECK(example.labels.back() == 'D');
  JsonlStream first_only(file, Shouting(), {.max_tokens = 15, .too_long = train::TooLong::cut});
  first_only(0, example);
  CHECK(example.tokens == bytes("messagesroleaB"));
  JsonlStream none(file, Shouting(), {.max_tokens = 13, .too_long = train::TooLong::cut});
  CHECK_THROWS_WITH(none(0, example), Contains("found 2 answers, none of them within 13 tokens"));
  JsonlStream plain(file, bytes);
  CHECK_THROWS_WITH(plain(0, example), Contains("data:1: found a chat") && Contains("text::ChatTokenizer"));
}
