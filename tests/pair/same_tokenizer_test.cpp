#include "tools/compose/same_tokenizer.hpp"

#include <filesystem>
#include <string>

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"

using namespace calm;

namespace {

struct Two {
  test::TemporaryFolder folder;
  std::string left = folder / "left", right = folder / "right";

  Two() {
    std::filesystem::create_directories(left);
    std::filesystem::create_directories(right);
  }
  void put(const std::string& name, const std::string& in_left, const std::string& in_right) const {
    test::put_contents(left + '/' + name, in_left);
    test::put_contents(right + '/' + name, in_right);
  }
  bool same() const { return programs::same_tokenizer(left, right) && programs::same_tokenizer(right, left); }
  bool different() const { return !programs::same_tokenizer(left, right) && !programs::same_tokenizer(right, left); }
};

}  // namespace

TEST_CASE("tokenizers are the same where the parts that make tokens are") {
  const Two two;
  CHECK(two.different());  // there is none
  two.put("tokenizer.json", R"({"model": {"vocab": {"a": 0}}, "post_processor": null})",
          R"({"post_processor": {"type": "X"}, "model": {"vocab": {"a": 0}}})");
  CHECK(two.same());
  two.put("tokenizer.json", R"({"model": {"vocab": {"a": 0}}})", R"({"model": {"vocab": {"b": 0}}})");
  CHECK(two.different());
  two.put("tokenizer.json", R"({"model": 1, "normalizer": {"type": "NFC"}})", R"({"model": 1})");
  CHECK(two.different());
  std::filesystem::remove(two.right + "/tokenizer.json");
  CHECK(two.different());
}

TEST_CASE("tokenizers of other files are the same byte for byte") {
  const Two two;
  two.put("tokenizer.model", "abc", "abd");
  CHECK(two.different());
  two.put("tokenizer.model", "abc", "abc");
  CHECK(two.same());
  const Two gpt2;
  gpt2.put("vocab.json", "{}", "{}");
  CHECK(gpt2.different());
  gpt2.put("merges.txt", "a b", "a c");
  CHECK(gpt2.different());
  gpt2.put("merges.txt", "a b", "a b");
  CHECK(gpt2.same());
}
