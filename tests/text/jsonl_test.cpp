#include "calm/text/jsonl.hpp"

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/philox.hpp"
#include "io/temporary_folder.hpp"

using namespace calm;
using namespace calm::text;
using namespace calm::test;
using Catch::Contains;
using Catch::Matchers::Equals;

namespace {

/// What opening a file with these contents says.
std::string error_of(const std::string& contents, const JsonlOptions& options = {}) {
  const TemporaryFolder folder;
  put_contents(folder / "data.jsonl", contents);
  try {
    Jsonl::open(folder / "data.jsonl", options);
  } catch (const Error& e) {
    const std::string what = e.what();
    return what.substr(what.find("data.jsonl") + 10);
  }
  return "no error";
}

const std::string good = "{\"text\": \"a\"}\n";

}  // namespace

TEST_CASE("JSONL: texts and pairs are read by line, in any order") {
  const TemporaryFolder folder;
  put_contents(folder / "texts", R"({"text": "one"}
{"id": [1, {"text": 2}], "text": "zw\u00f6lf \ud83d\ude00"}
  {"text":"", "note": null})");
  const Jsonl texts = Jsonl::open(folder / "texts");
  CHECK(texts.kind() == JsonlKind::text);
  REQUIRE(texts.size() == 3);
  CHECK(texts[2].text == "");
  CHECK(texts[0].text == "one");
  CHECK(texts[1].text == "zw\u00f6lf \U0001f600");

  put_contents(folder / "pairs", "{\"prompt\": \"2+2=\", \"completion\": \"4\"}\r\n"
                                 "{\"completion\": \"\\n\", \"prompt\": \"\"}\n");
  const Jsonl pairs = Jsonl::open(folder / "pairs");
  CHECK(pairs.kind() == JsonlKind::pair);
  REQUIRE(pairs.size() == 2);
  JsonlLine line{.text = "stale"};
  pairs.read(0, line);
  CHECK(line.text.empty());
  CHECK(line.prompt == "2+2=");
  CHECK(line.completion == "4");
  CHECK(pairs[1].completion == "\n");
  CHECK_THROWS_WITH(pairs[2], Contains("pairs: expected a line below 2, counted from 0, found 2"));
}

TEST_CASE("JSONL: lines of any length are indexed where they stand, checked or not") {
  const TemporaryFolder folder;
  std::string contents;
  std::vector<std::string> expected;
  const RandomKey key{7};
  for (std::uint64_t i = 0; i < 400; ++i) {  // 4 MB: longer than a piece of reading, with lines across pieces
    const std::uint32_t length = i == 200 ? 2'500'000 : random_below(key, i, 8000);
    expected.emplace_back(length, static_cast<char>('a' + i % 26));
    contents += "{\"text\":\"" + expected.back() + "\"}" + (i < 399 ? "\n" : "");
  }
  put_contents(folder / "long", contents);
  for (const bool check : {true, false}) {
    const Jsonl file = Jsonl::open(folder / "long", {.check = check});
    REQUIRE(file.size() == expected.size());
    std::size_t wrong = 0;
    for (std::size_t i = file.size(); i-- > 0;) wrong += file[i].text != expected[i];
    CHECK(wrong == 0);
  }
}

TEST_CASE("JSONL: each mistake has its place and its remedy") {
  CHECK_THAT(error_of(""), Equals(": expected at least one line, {\"text\": ...}, {\"prompt\": ..., "
                                  "\"completion\": ...} or {\"messages\": [...]}, found an empty file"));
  CHECK_THAT(error_of(good + "\n" + good), Equals(":2: expected an object, found an empty line; remove it"));
  CHECK_THAT(error_of("\n"), Contains(":1: expected an object, found an empty line"));
  CHECK_THAT(error_of(good + "{\"text\": \"caf\xE9\"}\n"), Equals(":2: expected UTF-8, found an invalid byte at 13 of "
                                                                 "the line; convert the file, as with iconv"));
  CHECK_THAT(error_of("\xEF\xBB\xBF" + good), Contains(":1: expected an object, found a byte order mark; save"));
  CHECK_THAT(error_of(good + "{\"text\": \"a\""), Contains(":2: expected JSON, found at byte 13 of the line: syntax"));
  CHECK_THAT(error_of("{\"text\": \"a\"} {}\n"), Contains(":1: expected JSON, found at byte 15 of the line"));
  CHECK_THAT(error_of("{\"text\": \"\\ud800\"}\n"), Contains(":1: expected JSON"));
  CHECK_THAT(error_of("[\"a\"]\n"), Contains(":1: expected an object, {\"text\": ...}") && Contains("found an array"));
  CHECK_THAT(error_of("\"a\"\n"), Contains(":1: expected an object") && Contains("found a string"));
  CHECK_THAT(error_of("{\"text\": 3}\n"), Equals(":1: key \"text\": expected a string, found a number"));
  CHECK_THAT(error_of("{\"text\": {\"text\": \"a\"}}\n"),
             Equals(":1: key \"text\": expected a string, found an object"));
  CHECK_THAT(error_of("{\"prompt\": \"a\", \"completion\": null}\n"),
             Equals(":1: key \"completion\": expected a string, found null"));
  CHECK_THAT(error_of("{\"text\": \"a\", \"note\": " + std::string(1000, '[')),
             Equals(":1: expected values at most 64 deep, found deeper ones"));
  CHECK_THAT(error_of("{\"text\": \"a\", \"text\": \"b\"}\n"),
             Equals(":1: expected each key once, found \"text\" twice"));
}

TEST_CASE("JSONL: missing, mixed and foreign keys are named") {
  CHECK_THAT(error_of("{\"prompt\": \"a\", \"answer\": \"b\"}\n"),
             Equals(":1: expected the key \"completion\" beside \"prompt\", found \"answer\""));
  CHECK_THAT(error_of("{\"completion\": \"a\"}\n"),
             Equals(":1: expected the key \"prompt\" beside \"completion\", found no other"));
  CHECK_THAT(error_of("{\"question\": \"a\", \"answer\": \"b\"}\n"),
             Contains("found only the keys \"question\", \"answer\"; rename the key that holds the text"));
  CHECK_THAT(error_of("{}\n"), Contains("found an object without keys"));
  CHECK_THAT(error_of("{\"text\": \"a\", \"completion\": \"b\"}\n"),
             Contains(":1: found two kinds, \"text\" and \"completion\"; expected either"));
  CHECK_THAT(error_of(good + good + "{\"prompt\": \"a\", \"completion\": \"b\"}\n"),
             Equals(R"(:3: found {"prompt": ..., "completion": ...}, but line 1 is {"text": ...}; )"
                    "put the two kinds into two files"));
  CHECK_THAT(error_of("{\"completion\": \"a\", \"prompt\": \"b\", \"messages\": [{\"role\": \"user\"}]}\n"),
             Contains(":1: found two kinds, \"prompt\" and \"messages\"; expected either"));
  CHECK_THAT(error_of("{\"conversations\": []}\n"), Contains(":1: found the key \"conversations\": expected") &&
                                                        Contains("{\"role\": ..., \"content\": ...}; rename the keys"));
}

TEST_CASE("JSONL: chats are kept as they stand, their messages looked at") {
  const TemporaryFolder folder;
  const std::string chat =
      R"({"messages": [{"role": "user", "content": "a"}, {"content": [{"role": 3}], "role": "x"}]})";
  put_contents(folder / "chats", chat + "\n" + chat + "\n");
  const Jsonl chats = Jsonl::open(folder / "chats");
  CHECK(chats.kind() == JsonlKind::chat);
  CHECK(chats[1].chat == chat);

  const auto error_of_messages = [](const std::string& messages) {
    return error_of(R"({"id": 1, "messages": )" + messages + "}\n");
  };
  CHECK_THAT(error_of_messages("\"a\""), Equals(":1: key \"messages\": expected a list of messages, found a string"));
  CHECK_THAT(error_of_messages("{}"), Equals(":1: key \"messages\": expected a list of messages, found an object"));
  CHECK_THAT(error_of_messages("[]"), Equals(":1: key \"messages\": expected a message, found none"));
  CHECK_THAT(error_of_messages("[{\"role\": \"user\"}, \"a\"]"),
             Equals(R"(:1: message 2: expected an object, {"role": ..., "content": ...}, found a string)"));
  CHECK_THAT(error_of_messages("[[]]"), Contains(":1: message 1: expected an object") && Contains("found an array"));
  CHECK_THAT(error_of_messages("[{\"content\": {\"role\": \"user\"}}]"),
             Equals(":1: message 1: expected the key \"role\", found none"));
  CHECK_THAT(error_of_messages("[{\"role\": [\"user\"]}]"),
             Equals(":1: message 1: key \"role\": expected a string, found an array"));
  CHECK_THAT(error_of(good + chat + "\n"), Equals(R"(:2: found {"messages": [...]}, but line 1 is {"text": ...}; )"
                                                  "put the two kinds into two files"));
}

TEST_CASE("JSONL: without the check, a bad line is found when it is read") {
  const TemporaryFolder folder;
  put_contents(folder / "data", good + "nonsense\n" + good);
  CHECK_THROWS_WITH(Jsonl::open(folder / "data"), Contains("data:2: expected JSON"));
  const Jsonl file = Jsonl::open(folder / "data", {.check = false});
  CHECK(file[2].text == "a");
  CHECK_THROWS_WITH(file[1], Contains("data:2: expected JSON"));
  CHECK_THAT(error_of("nonsense\n", {.check = false}), Contains(":1: expected JSON"));  // the kind stands in line 1
}

TEST_CASE("JSONL: a file without line ends is refused before it fills the memory") {
  const TemporaryFolder folder;
  put_contents(folder / "data", "[");
  std::filesystem::resize_file(folder / "data", std::uintmax_t{1} << 29);  // a hole: it takes no room on the disk
  CHECK_THROWS_WITH(Jsonl::open(folder / "data"), Contains("data:1: expected a line of at most 268435456 bytes"));
}

TEST_CASE("JSONL: what is no file, or has changed, is not read") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(Jsonl::open(folder / "none"), Contains("none: cannot open: No such file"));
  CHECK_THROWS_WITH(Jsonl::open(folder / ""), Contains("expected a regular file, found a directory"));
  put_contents(folder / "data", good + good);
  const Jsonl file = Jsonl::open(folder / "data");
  const Jsonl copy = file;
  put_contents(folder / "data", good);
  CHECK_THROWS_WITH(file[0], Contains("expected 28 bytes as when it was opened") && Contains("(14 bytes); open it"));
  put_contents(folder / "data", good + good);
  const auto now = std::filesystem::file_time_type::clock::now();
  std::filesystem::last_write_time(folder / "data", now - std::chrono::hours(1));
  CHECK_THROWS_WITH(copy[0], Contains("found a file written to since"));
}
