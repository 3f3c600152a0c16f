#include "calm/tensor/ops/embedding.hpp"

#include <catch2/catch.hpp>

#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;

using Tokens = Indices<Batch, Time>;

static_assert(Embeddable<Tokens, Floats<Vocabulary, Wide>>);
static_assert(!Embeddable<Floats<Batch, Time>, Floats<Vocabulary, Wide>>, "tokens are indices");
static_assert(!Embeddable<Tokens, Floats<Batch, Wide>>, "a vocabulary has a fixed size");
static_assert(std::is_same_v<decltype(embedding(Tokens{}, Floats<Vocabulary, Wide>{})), Floats<Batch, Time, Wide>>);

TEST_CASE("embedding copies the rows that the tokens name") {
  const auto table = random_tensor<Floats<Vocabulary, Wide>>({}, 1);
  const auto tokens = Tokens::from(Shape<Batch, Time>(2, 3), {6, 0, 2, 2, 5, 6});
  const auto y = embedding(tokens, table);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    for (std::size_t c = 0; c < 6; ++c) CHECK(y[i * 6 + c] == table[static_cast<std::size_t>(tokens[i]) * 6 + c]);
  }
}

TEST_CASE("a token outside the vocabulary is named, with its place") {
  const auto table = Floats<Vocabulary, Wide>::zeros({});
  const auto message = Catch::Equals("calm::embedding: token 7 at [1, 2] is outside the vocabulary of 7");
  CHECK_THROWS_WITH(embedding(Tokens::from(Shape<Batch, Time>(2, 3), {6, 0, 2, 2, 5, 7}), table), message);
  CHECK_THROWS_WITH(embedding(Tokens::from(Shape<Batch, Time>(1, 2), {-1, 0}), table),
                    Catch::Contains("token -1 at [0, 0]"));
}

TEST_CASE("gradients of embedding add up over repeated tokens") {
  auto table = random_parameter<Doubles<Vocabulary, Wide>>({}, 1);
  const auto tokens = Tokens::from(Shape<Batch, Time>(2, 4), {6, 0, 2, 2, 5, 6, 2, 2});
  check_gradients([&](const auto& t) { return embedding(tokens, t); }, table);
}

TEST_CASE("the embedding gradient in bf16 is summed in float") {
  using Table = Tensor<bf16, Cpu, Vocabulary, Two>;
  TrainableParameter<Table> table;
  table.assign(Table::zeros({}));
  const auto tokens = Tokens::full(Shape<Batch, Time>(1, 1000), 3);
  Tape<Cpu> tape;
  const auto recording = tape.record();
  backward(sum(embedding(tokens, table())));
  CHECK(static_cast<float>(gradient(table)[6]) == 1000);
  CHECK(static_cast<float>(gradient(table)[4]) == 0);
}
