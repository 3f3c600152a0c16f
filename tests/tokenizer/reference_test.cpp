// Every tokenizer of the test data against its reference library, on the 100 000 random strings each of which
// tests/fixtures/tokenizers.json holds the digests.
#include <cstdint>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/io/sha256.hpp"
#include "tokenizer/random_strings.hpp"
#include "tokenizer/reference.hpp"

using namespace calm;
using nlohmann::json;

namespace {

void add(io::Sha256& digest, std::size_t n) {
  const auto value = static_cast<std::uint32_t>(n);
  digest.update(&value, sizeof value);
}

/// The digests of one block of strings.
json digests(const text::Tokenizer& tokenizer, const json& row, std::size_t first) {
  static const test::RandomStrings strings(test::tokenizer_fixture());
  io::Sha256 ids_digest, text_digest;
  const std::size_t block = test::tokenizer_fixture()["block"];
  for (std::size_t i = first; i < first + block; ++i) {
    const auto ids = tokenizer.ids(strings(i, row["bytes"]));
    add(ids_digest, ids.size());
    ids_digest.update(ids.data(), ids.size() * sizeof ids[0]);
    const std::string decoded = tokenizer.decode(ids, test::shows_special(row));
    add(text_digest, decoded.size());
    text_digest.update(decoded.data(), decoded.size());
  }
  return {ids_digest.hex().substr(0, 16), text_digest.hex().substr(0, 16)};
}

}  // namespace

TEST_CASE("every tokenizer encodes and decodes random strings as its reference library does") {
  for (const json& row : test::tokenizer_fixture()["tokenizers"]) {
    const std::string name = row["name"];
    const auto tokenizer = test::load_reference(row);
    if (!tokenizer) {
      WARN("skipped: no " << row["files"][0] << " in the folder of test data; set CALM_TEST_DATA");
      continue;
    }
    const std::size_t block = test::tokenizer_fixture()["block"];
    REQUIRE(row["ids"].size() * block == test::tokenizer_fixture()["strings"]);
    for (std::size_t i = 0; i < row["ids"].size(); ++i) {
      CAPTURE(name, i * block);
      const json found = digests(*tokenizer, row, i * block);
      CHECK(found[0] == row["ids"][i]);
      CHECK(found[1] == row["text"][i]);
    }
  }
}
