// Damaged and hostile files: each is one Error that says where, before anything large is allocated.
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/text/tokenizer.hpp"
#include "io/temporary_folder.hpp"
#include "text/test_data.hpp"

using namespace calm;
using namespace calm::text;

namespace {

using Load = Tokenizer (*)(const std::string&);

/// The message of what `load` says of a file with these contents.
std::string message(Load load, std::string_view contents) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "file";
  test::put_contents(path, contents);
  try {
    load(path);
  } catch (const Error& error) {
    const std::string text = error.what();
    CHECK(text.find(path) != text.npos);
    CHECK(find_invalid_utf8(text) == text.npos);
    return text;
  }
  return "no Error";
}

std::string repeated(std::string_view part, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += part;
  return out;
}

/// llama_tokenizer.json with its first `from` replaced.
std::string changed(const std::string& from, const std::string& to) {
  std::string text = test::contents_of(CALM_FIXTURES "/llama_tokenizer.json");
  const std::size_t at = text.find(from);
  REQUIRE(at != text.npos);
  return text.replace(at, from.size(), to);
}

/// A field of a protocol buffer.
std::string field(unsigned number, std::string_view data) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  for (std::size_t n = data.size();; n >>= 7) {
    out += static_cast<char>(static_cast<unsigned char>(n < 128 ? n : (n & 127) | 128));
    if (n < 128) break;
  }
  return out += data;
}
std::string number(unsigned field, unsigned value) {
  return {static_cast<char>(field << 3), static_cast<char>(value)};
}
std::string piece(std::string_view text, unsigned type) { return field(1, field(1, text) + number(3, type)); }

std::string llama2c(std::int32_t longest, std::int32_t length, std::string_view text) {
  std::string out(12, '\0');
  std::memcpy(out.data(), &longest, 4);
  std::memcpy(out.data() + 8, &length, 4);
  return out.append(text);
}

}  // namespace

TEST_CASE("tokenizer.json: what is damaged is named with its place") {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "expected JSON"},
      {"{\"model\": ", "expected JSON, found at its byte 11"},
      {"[]", "expected an object, found array"},
      {"{}", "expected the key \"model\", found none"},
      {"{\"a\": 1, \"a\": 2}", "the key \"a\" stands twice"},
      {"\xFF", "expected UTF-8, found an invalid byte at 0"},
      {repeated("[", 100'000), "at most 32 deep"},
      {repeated("{\"a\":", 100'000), "at most 32 deep"},
      {R"({"model": {"type": "WordLevel"}})",
       "expected a model of type BPE, Unigram or WordPiece, found \"WordLevel\""},
      {R"({"model": {"type": "BPE", "vocab": {"a": 4000000000}, "merges": []}})", "vocab: \"a\": expected an id below"},
      {R"({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}})", "expected an unsigned whole number"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 1e0}, "merges": []}})", "expected an unsigned whole number"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 1, "b": 1}, "merges": []}})", "the number 1 stands twice"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 1}, "merges": ["a b"]}})", "expected a piece \"b\""},
      {R"({"model": {"type": "BPE", "vocab": {"a": 1}, "merges": ["a"]}})", "expected two pieces with a blank"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 1}, "merges": [["a"]]}})", "expected two pieces, found 1"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 1}, "merges": [], "dropout": 0.1}})", "dropout"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 1}, "merges": [], "unk_token": "u"}})", "a piece of the vocabulary"},
      {R"({"model": {"type": "WordPiece", "vocab": {"a": 1}, "unk_token": "u"}})", "a piece of the vocabulary"},
      {R"({"model": {"type": "WordPiece", "vocab": {"a": 1}, "unk_token": "a"}})", "continuing_subword_prefix"},
      {R"({"model": {"type": "Unigram", "unk_id": 3, "vocab": [["a", 0.0]]}})", "a piece below 1"},
      {R"({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a"]]}})", "a piece and its score"},
      {R"({"model": {"type": "Unigram", "unk_id": 0, "vocab": []}})", "an array of pieces"},
  };
  for (const auto& [contents, expected] : cases) {
    CAPTURE(contents.substr(0, 80));
    CHECK_THAT(message(load_tokenizer_json, contents), Catch::Contains(expected));
  }
}

TEST_CASE("tokenizer.json: steps and values that are not known are refused by name") {
  const std::vector<std::array<std::string, 3>> cases{
      {R"("type":"Prepend")", R"("type":"ByteLevel")", "normalizer: normalizers[0]: type: expected one of NFC"},
      {R"("pre_tokenizer":null)", R"("pre_tokenizer":{"type":"UnicodeScripts"})", "found \"UnicodeScripts\""},
      {R"("pre_tokenizer":null)", R"("pre_tokenizer":{"type":"Metaspace","replacement":"_","prepend_scheme":"x"})",
       "expected always, first or never, found \"x\""},
      {R"("pre_tokenizer":null)",
       R"("pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated","invert":false})",
       "expected a regular expression, found at its byte 1"},
      {R"("pre_tokenizer":null)",
       R"("pre_tokenizer":{"type":"Split","pattern":{"String":""},"behavior":"Isolated","invert":false})",
       "found an empty one"},
      {R"("type":"Fuse")", R"("type":"CTC")", "found \"CTC\""},
      {R"("type":"TemplateProcessing")", R"("type":"Other")", "found \"Other\""},
      {R"("ids":[1])", R"("ids":[515])", "expected ids below 515, found 515"},
      {R"("ids":[1])", R"("ids":[4294967297])", "expected an id below 2^31"},
      {"\"pattern\":{\"String\":\"\xE2\x96\x81\"}", R"("pattern":{"String":""})", "found an empty one"},
      {R"("type":"TemplateProcessing")", R"("type":"BertProcessing","cls":[])", "expected a token and its id"},
      {R"("id":512,)", R"("id":4000000000,)", "expected an id below"},
      {R"("id":1,)", R"("id":7,)", "expected 1, the number of \"<s>\""},
      {R"("content":"wordy")", R"("content":"")", "found an empty one"},
  };
  for (const auto& [from, to, expected] : cases) {
    CAPTURE(to);
    CHECK_THAT(message(load_tokenizer_json, changed(from, to)), Catch::Contains(expected));
  }
}

TEST_CASE("steps that would blow a text up are refused: when it is encoded, or when their decoder is read") {
  const std::string twice = R"({"type":"Replace","pattern":{"String":"a"},"content":"aa"})";
  std::string steps = twice;
  for (int i = 1; i < 40; ++i) (steps += ",") += twice;
  const auto with = [&](const std::string& normalizers, const std::string& decoders) {
    return R"({"normalizer":{"type":"Sequence","normalizers":[)" + normalizers +
           R"(]},"decoder":{"type":"Sequence","decoders":[)" + decoders +
           R"(]},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})";
  };
  CHECK_THAT(message(load_tokenizer_json, with("", steps)), Catch::Contains("at most 64 times longer"));
  const test::TemporaryFolder folder;
  test::put_contents(folder / "file", with(steps, ""));
  const Tokenizer tokenizer = load_tokenizer_json(folder / "file");
  CHECK_THROWS_WITH(tokenizer.encode("a"), Catch::Contains("make more than 65600 bytes"));
  CHECK(tokenizer.ids("b").empty());
}

TEST_CASE("expressions cannot cut characters in two, run backwards, or take all memory") {
  CHECK_THROWS_AS(Regex("\\C", "a file"), Error);
  std::size_t last = 0;
  try {  // newer versions of PCRE2 refuse it
    Regex("(?<=\\Ka)b", "a file").for_each("abab", [&](std::size_t begin, std::size_t end) {
      CHECK((begin >= last && begin < end));
      last = end;
    });
  } catch (const Error&) {
  }
  const Regex greedy("(*NO_JIT)(*NO_START_OPT)(?:(a)|b)*c", "a file");
  CHECK_THROWS_WITH(greedy.find(std::string(1'000'000, 'a'), 0), Catch::Contains("limit"));
}

TEST_CASE("SentencePiece: what is damaged is named with its byte") {
  const std::string unknown = piece("<unk>", 2);
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "expected an unknown piece, found none"},
      {"\x0a", "at byte 1: expected a number, found the end"},
      {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "expected 18446744073709551615 bytes, found 0"},
      {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "a number below 2^64"},
      {"\x0b", "wire type 0, 1, 2 or 5, found 3"},
      {std::string("\x02\x00", 2), "expected a field from 1"},
      {unknown + unknown, "expected one unknown piece, found two"},
      {unknown + field(1, ""), "expected a piece, found an empty one"},
      {unknown + piece("\xFF", 1), "expected a piece of UTF-8"},
      {unknown + piece("a", 9), "expected a type from 1 to 6"},
      {unknown + piece("a", 1) + piece("a", 1), "piece \"a\" stands twice"},
      {unknown + piece("<0x-1>", 6), "expected <0x00> to <0xFF>"},
      {unknown + field(2, number(35, 1)).replace(2, 1, "\x98\x02").replace(1, 1, "\x03"), "<0x00> to <0xFF>"},
      {unknown + field(2, number(3, 4)), "expected a model of type 1 (unigram) or 2 (BPE), found 4"},
      {unknown + piece("ab", 1) + field(2, number(3, 2)), "expected its character \"a\" as a piece"},
      {unknown + piece("a", 5) + field(2, number(3, 2)), "unused pieces"},
      {unknown + field(3, field(2, "abcdefgh")), "expected rules with an array of at most 4 bytes"},
      {unknown + field(1, field(1, "a") + number(2, 1)), "expected wire type 5, found 0"},
  };
  for (const auto& [contents, expected] : cases) {
    CAPTURE(expected);
    CHECK_THAT(message(load_sentencepiece, contents), Catch::Contains(expected));
  }
}

TEST_CASE("SentencePiece: rules of normalisation that point out of their blob match nothing") {
  std::string blob(4 + 1024, '\xFF');
  const std::uint32_t bytes = 1024;
  std::memcpy(blob.data(), &bytes, 4);
  const Charsmap rules(blob, "a file");
  for (int c = 0; c < 256; ++c) CHECK(rules.longest(std::string(3, static_cast<char>(c))).bytes <= 3);
}

TEST_CASE("tiktoken, GPT-2 and llama2.c: what is damaged is named with its line or byte") {
  const Load ranks = [](const std::string& path) { return load_tiktoken(path); };
  CHECK_THAT(message(ranks, ""), Catch::Contains("a rank for each of the 256 bytes, found none for byte 0"));
  CHECK_THAT(message(ranks, "IQ== 0\nIg=="), Catch::Contains(":2: expected a piece in base64, a blank and a rank"));
  CHECK_THAT(message(ranks, "I!== 0"), Catch::Contains(":1: expected base64, found \"!\""));
  CHECK_THAT(message(ranks, "IQ== 2147483647"), Catch::Contains("ranks without holes"));
  CHECK_THAT(message(ranks, "IQ== 99999999999"), Catch::Contains("a blank and a rank"));
  CHECK_THAT(message(ranks, "IQ== 0\nIg== 0"), Catch::Contains(":2: expected a piece and a rank that stand once"));

  const Load merges = [](const std::string& path) {
    const test::TemporaryFolder folder;
    test::put_contents(folder / "encoder.json", R"({"a": 0, "b": 1})");
    return load_gpt2_bpe(folder / "encoder.json", path);
  };
  CHECK_THAT(message(merges, "#version: 0.2\na b\n"),
             Catch::Contains(":2: merge 0 of \"a\" and \"b\": expected a piece"));
  CHECK_THAT(message(merges, "a b c\n"), Catch::Contains(":1: expected two pieces"));

  CHECK_THAT(message(load_llama2c, ""), Catch::Contains("at byte 0: expected 4 bytes, found 0"));
  CHECK_THAT(message(load_llama2c, llama2c(5, 5, "abcde")), Catch::Contains("at least 259 pieces, found 1"));
  CHECK_THAT(message(load_llama2c, llama2c(5, -1, "abcde")), Catch::Contains("found one of -1"));
  CHECK_THAT(message(load_llama2c, llama2c(2'000'000'000, 2'000'000'000, "a")), Catch::Contains("within the file"));
}

TEST_CASE("a tokenizer.model or tokenizer.bin cut off anywhere is an Error or a smaller tokenizer, never a crash") {
  for (const auto& [name, load] : {std::pair<const char*, Load>{"torchtune-tokenizers/m.model", load_sentencepiece},
                                   std::pair<const char*, Load>{"stories260K/tok512.bin", load_llama2c}}) {
    const auto path = test::find_test_data(name);
    if (!path) continue;
    const std::string whole = test::contents_of(*path);
    for (std::size_t i = 0; i < 60; ++i) message(load, whole.substr(0, whole.size() * i / 60));
  }
}
