#include "tools/compose/pair_header.hpp"

#include <catch2/catch.hpp>

using namespace calm;
using Catch::Contains;

namespace {

programs::Pair a_pair() {
  return {.anchor = {.vocab = 10, .hidden = 12, .layers = 3, .heads = 2, .context = 8},
          .augment = {.vocab = 10, .hidden = 8, .layers = 2, .heads = 2, .context = 8},
          .links = {{0, 1}, {1, 2}}};
}

}  // namespace

TEST_CASE("a pair's header names its models, links and options") {
  auto pair = a_pair();
  const std::string plain = programs::pair_header(pair);
  CHECK_THAT(plain, Contains(".hidden = 12") &&
                        Contains("<AugmentSpec, float, calm::Cpu, calm::FrozenAs<calm::bf16>>"));
  CHECK_THAT(plain, Contains("calm::LayerMap<calm::Link<0, 1>, calm::Link<1, 2>>"));
  CHECK_THAT(plain, Contains("calm::With<Augment, Links, Options>") && !Contains("Retokenized"));
  pair.own_tokenizer = true;
  pair.dtype = "fp32";
  pair.bridge = "local";
  pair.heads = 3;
  pair.rank = 4;
  const std::string other = programs::pair_header(pair);
  CHECK_THAT(other, Contains("calm::Retokenized<Augment, Links, Options>") && Contains("FrozenAs<float>"));
  CHECK_THAT(other, Contains("calm::bridge::Local::config") && Contains("c.heads = 3;") && Contains("c.rank = 4;"));
}

TEST_CASE("what would not compile is refused before") {
  const auto check = [](auto change, const char* what) {
    auto pair = a_pair();
    change(pair);
    CHECK_THROWS_WITH(programs::pair_header(pair), Contains(what));
  };
  check([](auto& p) { p.bridge = "wide"; }, "--bridge wide: expected one of normalised, local");
  check([](auto& p) { p.dtype = "fp8"; }, "--dtype fp8: expected one of bf16, fp32");
  check([](auto& p) { p.heads = 5; }, "--bridge-heads 5: they do not divide the anchor's width of 12");
  check([](auto& p) { p.heads = 0; }, "--bridge-heads 0");
  check([](auto& p) { p.rank = 9; }, "--bridge-rank 9: expected 1 to 8");
}
