#include "tools/compose/bounded_retokenizer.hpp"

#include <memory>
#include <span>
#include <vector>

#include <catch2/catch.hpp>

using namespace calm;

namespace {

/// Reads each token of the anchor as itself twice; a push changes the last token before.
class Doubled final : public RetokenizedText {
 public:
  std::vector<Index> begin(std::span<const Index> prompt) override {
    std::vector<Index> seen;
    for (const Index token : prompt) {
      tokens_.insert(tokens_.end(), 2, token);
      seen.push_back(static_cast<Index>(tokens_.size()));
    }
    return seen;
  }
  std::size_t push(Index token) override {
    const std::size_t kept = tokens_.empty() ? 0 : tokens_.size() - 1;
    tokens_.resize(kept);
    tokens_.insert(tokens_.end(), {token, token, token});
    return kept;
  }
  std::unique_ptr<RetokenizedText> clone() const override { return std::make_unique<Doubled>(*this); }
};
class Doubles final : public Retokenizer {
 public:
  std::unique_ptr<RetokenizedText> text() const override { return std::make_unique<Doubled>(); }
};

using Tokens = std::vector<Index>;

std::unique_ptr<RetokenizedText> bounded_text(std::size_t limit) {
  return programs::bounded(std::make_shared<const Doubles>(), limit)->text();
}

}  // namespace

TEST_CASE("of a text that is too long its beginning is read") {
  const auto text = bounded_text(5);
  const Tokens prompt{7, 8};
  CHECK(text->begin(prompt) == Tokens{2, 4});
  CHECK(text->push(9) == 3);
  CHECK(text->tokens() == Tokens{7, 7, 8, 9, 9});
  const auto other = text->clone();
  CHECK(text->push(1) == 5);  // what changed lies beyond
  CHECK(text->tokens() == Tokens{7, 7, 8, 9, 9});
  CHECK(other->tokens() == Tokens{7, 7, 8, 9, 9});
  CHECK(text->push(2) == 5);
}

TEST_CASE("a prompt that is too long is read to the bound") {
  const auto text = bounded_text(3);
  const Tokens prompt{7, 8, 9};
  CHECK(text->begin(prompt) == Tokens{2, 3, 3});
  CHECK(text->tokens() == Tokens{7, 7, 8});
  CHECK(text->push(1) == 3);
}
