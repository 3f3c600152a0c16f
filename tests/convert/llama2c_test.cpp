#include "tools/convert/llama2c.hpp"

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/generate/generate.hpp"
#include "calm/io/hugging_face/model_directory.hpp"
#include "calm/nn/transformer.hpp"
#include "io/temporary_folder.hpp"
#include "text/test_data.hpp"

namespace {

using namespace calm;
using Catch::Contains;

/// What `calm-spec` writes for it.
struct Stories260K {
  static constexpr nn::TransformerConfig config{.vocab = 512,
                                                .hidden = 64,
                                                .layers = 5,
                                                .heads = 8,
                                                .kv_heads = 4,
                                                .inner = 172,
                                                .context = 512};
};

/// The pieces of a tokenizer of llama2.c: after the longest length a score, a length and the bytes of each.
std::vector<std::string> pieces_of(const std::string& path) {
  const std::string bytes = test::contents_of(path);
  std::vector<std::string> pieces;
  for (std::size_t at = 4; at + 8 <= bytes.size();) {
    std::int32_t length = 0;
    std::memcpy(&length, bytes.data() + at + 4, 4);
    const std::string piece = bytes.substr(at + 8, static_cast<std::size_t>(length));
    at += 8 + piece.size();
    const bool byte = piece.size() == 6 && piece.starts_with("<0x");  // "<0x0A>"
    pieces.push_back(byte ? std::string(1, static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16))) : piece);
  }
  return pieces;
}

/// The first story in EXPECTED_stories260K.md, which the authors' program wrote at temperature 0.
std::string expected_story(const std::string& path) {
  const std::string text = test::contents_of(path);
  const std::size_t command = text.find("-t 0.0\n");
  REQUIRE(command != std::string::npos);
  const std::size_t begin = command + 7;
  return text.substr(begin, text.find("\n```", begin) - begin);
}

std::string spoilt(std::string bytes, std::size_t at, std::int32_t number) {
  std::memcpy(bytes.data() + at, &number, 4);
  return bytes;
}

}  // namespace

TEST_CASE("stories260K writes its authors' story, token by token at temperature 0") {
  const auto weights = test::find_test_data("stories260K/stories260K.bin");
  const auto tokens = test::find_test_data("stories260K/tok512.bin");
  const auto expected = test::find_test_data("stories260K/EXPECTED_stories260K.md");
  if (!weights || !tokens || !expected) {
    WARN("skipped: no stories260K in the folder of test data; set CALM_TEST_DATA");
    return;
  }
  const test::TemporaryFolder folder;
  convert::convert_llama2c(*weights, folder / "stories260K");
  nn::Transformer<Stories260K, float, Cpu> model;
  io::load(model, folder / "stories260K");

  const std::vector<std::string> pieces = pieces_of(*tokens);
  REQUIRE(pieces.size() == 512);
  const std::vector<std::vector<Index>> prompts{{1}};  // the beginning of a text
  const auto said = generate(model, prompts, {.max_new_tokens = 256, .end_tokens = {1}});
  std::string story;
  for (const Index token : said[0]) story += pieces[static_cast<std::size_t>(token)];
  CHECK(story.substr(1) == expected_story(*expected));  // the blank before the first word is not shown
}

TEST_CASE("what is no checkpoint of llama2.c is refused") {
  const auto weights = test::find_test_data("stories260K/stories260K.bin");
  if (!weights) {
    WARN("skipped: no stories260K in the folder of test data; set CALM_TEST_DATA");
    return;
  }
  const std::string whole = test::contents_of(*weights);
  const test::TemporaryFolder folder;
  const auto check = [&](const std::string& bytes, const std::string& what) {
    test::put_contents(folder / "x.bin", bytes);
    CHECK_THROWS_WITH(convert::convert_llama2c(folder / "x.bin", folder / "out"), Contains("x.bin") && Contains(what));
    CHECK(folder.files() == 1);  // nothing was written
  };
  check("", "found 0 bytes");
  check(whole.substr(0, 27), "found 27 bytes");
  check(whole.substr(0, whole.size() - 1), "it was cut off");
  check(whole + "x", "it was cut off");
  check(spoilt(whole, 0, -64), "the number -64");
  check(spoilt(whole, 8, 1 << 30), "the number 1073741824");
  check(spoilt(whole, 12, 3), "do not divide");
  check(spoilt(whole, 20, 0), "no size");
  check(spoilt(whole, 20, 1 << 20), "it was cut off");
}
