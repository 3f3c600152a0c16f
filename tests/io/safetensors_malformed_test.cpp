// Files that the reader must refuse, each with the message that it must give.
#include <cstdint>
#include <cstring>
#include <string>

#include <catch2/catch.hpp>

#include "calm/io/safetensors.hpp"
#include "calm/text/utf8.hpp"
#include "io/temporary_folder.hpp"

using namespace calm;
using namespace calm::test;
using Catch::Contains;

namespace {

std::string length_of(std::uint64_t n) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &n, 8);
  return bytes;
}

std::string file_of(const std::string& header, std::size_t data_bytes) {
  return length_of(header.size()) + header + std::string(data_bytes, '\0');
}

/// The header of one tensor 'a' with these values as they stand in the file.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

std::string message_for(const std::string& contents) {
  const TemporaryFolder folder;
  const std::string path = folder / "bad.safetensors";
  put_contents(path, contents);
  try {
    io::SafetensorsFile::open(path);
  } catch (const Error& e) {
    const std::string message = e.what();
    CHECK_THAT(message, Contains("bad.safetensors: "));
    return message;
  }
  return "accepted";
}

}  // namespace

TEST_CASE("lengths that do not fit the file are refused") {
  CHECK_THAT(message_for(""), Contains("expected at least 8 bytes, found 0"));
  CHECK_THAT(message_for("1234567"), Contains("expected at least 8 bytes, found 7"));
  CHECK_THAT(message_for(length_of(0)), Contains("begins with '{'"));
  CHECK_THAT(message_for(length_of(3) + "{}"), Contains("expected a header of 3 bytes, found 2"));
  CHECK_THAT(message_for(length_of(100'000'001) + "{}"), Contains("at most 100000000 bytes, found one of 100000001"));
  CHECK_THAT(message_for(length_of(~std::uint64_t{0}) + "{}"), Contains("found one of 18446744073709551615"));
  CHECK_THAT(message_for(length_of(~std::uint64_t{0} - 7) + "{}"), Contains("at most 100000000 bytes"));
}

TEST_CASE("headers that are not the format's JSON are refused") {
  CHECK_THAT(message_for(file_of(" {}", 0)), Contains("begins with '{'"));
  CHECK_THAT(message_for(file_of("\xef\xbb\xbf{}", 0)), Contains("begins with '{'"));
  CHECK_THAT(message_for(file_of("[]", 0)), Contains("begins with '{'"));
  CHECK_THAT(message_for(file_of("{", 0)), Contains("not valid JSON"));
  CHECK_THAT(message_for(file_of("{}x", 0)), Contains("not valid JSON"));
  CHECK_THAT(message_for(file_of("{} {}", 0)), Contains("not valid JSON"));
  CHECK_THAT(message_for(file_of(R"({"a\u0000)", 0)), Contains("not valid JSON"));
  CHECK_THAT(message_for(file_of("{\"__metadata__\":{\"a\":\"\xff\"}}", 0)), Contains("not valid JSON"));
  CHECK_THAT(message_for(file_of(std::string("{}\0garbage", 10), 0)), Contains("a zero byte in the header"));
  CHECK_THAT(message_for(file_of(R"({"a":1})", 0)), Contains("expected an object for each name, found the number 1"));
  CHECK_THAT(message_for(file_of(R"({"a":[]})", 0)), Contains("expected an object for each name, found an array"));
  CHECK_THAT(message_for(file_of("{\"a\":" + std::string(100'000, '['), 0)), Contains("found an array"));
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  CHECK_THAT(message_for(file_of(deep, 0)), Contains("found the key 'a'"));
}

TEST_CASE("metadata that are not text are refused") {
  CHECK_THAT(message_for(file_of(R"({"__metadata__":"x"})", 0)), Contains("'__metadata__'"));
  CHECK_THAT(message_for(file_of(R"({"__metadata__":null})", 0)), Contains("found null"));
  CHECK_THAT(message_for(file_of(R"({"__metadata__":{"a":1}})", 0)), Contains("expected text for each key"));
  CHECK_THAT(message_for(file_of(R"({"__metadata__":{"a":{}}})", 0)), Contains("found an object"));
}

TEST_CASE("names that stand twice are refused") {
  const std::string a = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  CHECK_THAT(message_for(file_of("{" + a + "," + a + "}", 1)), Contains("'a': the name stands twice"));
  CHECK_THAT(message_for(file_of(R"({"__metadata__":{},"__metadata__":{}})", 0)), Contains("the key stands twice"));
  CHECK_THAT(message_for(file_of(R"({"__metadata__":{"k":"1","k":"2"}})", 0)), Contains("the key 'k' stands twice"));
  CHECK_THAT(message_for(file_of(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1)),
             Contains("the key dtype stands twice"));
  CHECK_THAT(message_for(file_of(R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", 1)),
             Contains("the key shape stands twice"));
}

TEST_CASE("entries that lack something or have more are refused") {
  CHECK_THAT(message_for(file_of(R"({"a":{}})", 0)), Contains("expected the key dtype, found none"));
  CHECK_THAT(message_for(file_of(R"({"a":{"dtype":"U8","shape":[1]}})", 1)), Contains("expected the key data_offsets"));
  CHECK_THAT(message_for(file_of(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1)),
             Contains("expected the key shape"));
  CHECK_THAT(message_for(file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":0}})", 1)),
             Contains("found the key 'x'"));
  CHECK_THAT(message_for(file_of(one(R"("F31")", "[1]", "[0,4]"), 4)), Contains("found 'F31'"));
  CHECK_THAT(message_for(file_of(one(R"("f32")", "[1]", "[0,4]"), 4)), Contains("found 'f32'"));
  CHECK_THAT(message_for(file_of(one("1", "[1]", "[0,4]"), 4)), Contains("expected dtype as text"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "1", "[0,1]"), 1)), Contains("found the number 1"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", R"("1")", "[0,1]"), 1)), Contains("found the text '1'"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[[1]]", "[0,1]"), 1)), Contains("found an array"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[1]", "[1]"), 1)), Contains("expected two data_offsets, found 1"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[1]", "[0,1,1]"), 1)), Contains("two data_offsets, found more"));
  std::string many = "[1";
  for (int i = 0; i < 64; ++i) many += ",1";
  CHECK_THAT(message_for(file_of(one(R"("U8")", many + "]", "[0,1]"), 1)), Contains("at most 64 axes"));
}

TEST_CASE("numbers that are not unsigned whole 64-bit numbers are refused") {
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[-1]", "[0,1]"), 1)), Contains("found the number -1"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[-0]", "[0,1]"), 1)), Contains("unsigned whole numbers"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[1.0]", "[0,1]"), 1)), Contains("found the number '1.0'"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[1e3]", "[0,1000]"), 1000)), Contains("found the number '1e3'"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[18446744073709551616]", "[0,1]"), 1)),
             Contains("'18446744073709551616'"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[true]", "[0,1]"), 1)), Contains("found a boolean"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[1]", "[0,1.5]"), 1)), Contains("found the number '1.5'"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[1]", "[null,1]"), 1)), Contains("found null"));
}

TEST_CASE("sizes that overflow or disagree are refused") {
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[4294967296,4294967296]", "[0,0]"), 0)),
             Contains("not a countable number of bytes"));
  CHECK_THAT(message_for(file_of(one(R"("F64")", "[2305843009213693952]", "[0,0]"), 0)),
             Contains("not a countable number of bytes"));  // · 64 bits wraps to 0
  CHECK_THAT(message_for(file_of(one(R"("F4")", "[3]", "[0,2]"), 2)), Contains("not a countable number of bytes"));
  CHECK_THAT(message_for(file_of(one(R"("F32")", "[2]", "[0,4]"), 4)), Contains("expected 8 bytes, found 4"));
  CHECK_THAT(message_for(file_of(one(R"("F32")", "[]", "[0,0]"), 0)), Contains("expected 4 bytes, found 0"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[1]", "[1,0]"), 1)), Contains("[1, 0] run backwards"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[1]", "[18446744073709551615,0]"), 1)), Contains("run backwards"));
}

TEST_CASE("data that have holes, overlap or end elsewhere are refused") {
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a + R"(},"b":{"dtype":"U8","shape":[4],)" +
           R"("data_offsets":)" + b + "}}";
  };
  CHECK(message_for(file_of(two("[0,4]", "[4,8]"), 8)) == "accepted");
  CHECK(message_for(file_of(two("[4,8]", "[0,4]"), 8)) == "accepted");
  CHECK_THAT(message_for(file_of(two("[0,4]", "[5,9]"), 9)), Contains("'b': bytes 4 to 5 in front of its data"));
  CHECK_THAT(message_for(file_of(two("[1,5]", "[5,9]"), 9)), Contains("'a': bytes 0 to 1"));
  CHECK_THAT(message_for(file_of(two("[0,4]", "[3,7]"), 7)), Contains("'b': its data overlap"));
  CHECK_THAT(message_for(file_of(two("[0,4]", "[0,4]"), 4)), Contains("its data overlap"));
  CHECK_THAT(message_for(file_of(two("[0,4]", "[4,8]"), 7)), Contains("'b': its data end at byte 8, but"));
  CHECK_THAT(message_for(file_of(two("[0,4]", "[4,8]"), 9)), Contains("1 bytes at the end belong to no tensor"));
  CHECK_THAT(message_for(file_of("{}", 1)), Contains("1 bytes at the end belong to no tensor"));
  CHECK_THAT(message_for(file_of(one(R"("U8")", "[1]", "[18446744073709551614,18446744073709551615]"), 1)),
             Contains("belong to no tensor"));
}

TEST_CASE("names in messages cannot carry control characters or flood") {
  const std::string message = message_for(file_of("{\"\\u001b[2J" + std::string(5'000, 'x') + "\":0}", 0));
  CHECK(message.find('\x1b') == std::string::npos);
  CHECK(message.size() < 600);
  std::string umlauts;
  for (int i = 0; i < 100; ++i) umlauts += "\u00e4";
  const std::string shortened = message_for(file_of("{\"a" + umlauts + "\":0}", 0));  // the 120th byte is half of one
  CHECK(text::find_invalid_utf8(shortened) == std::string::npos);
  CHECK(shortened.size() < 600);
}

TEST_CASE("every cut of a file is refused, and no altered byte of a header breaks the reader") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  io::SafetensorsWriter writer;
  writer.add("weight", Tensor<float, Cpu, Sized<Time, 3>>::full({}, 1.5f));
  writer.add("bias", Tensor<double, Cpu, Sized<Time, 2>>::full({}, 2.5));
  writer.save(path);
  const std::string good = contents_of(path);
  for (std::size_t n = 0; n < good.size(); ++n) CHECK(message_for(good.substr(0, n)) != "accepted");
  CHECK(message_for(good + "x") != "accepted");
  for (std::size_t i = 0; i < good.size() - 28; ++i) {
    for (const char c : {'\0', '9', '"', '}', '\xff', '['}) {
      std::string altered = good;
      altered[i] = c;
      message_for(altered);  // refused or read: in either case without harm, as the sanitizers see it
    }
  }
}
