#include "calm/text/perplexity.hpp"

#include <cmath>
#include <limits>

#include <catch2/catch.hpp>

using namespace calm::text;
using Catch::Contains;

TEST_CASE("perplexity of a uniform guess among V tokens is V") {
  for (const double vocabulary : {1.0, 2.0, 512.0, 49152.0, 256000.0}) {
    for (const std::size_t tokens : {1u, 7u, 1000u})
      CHECK(perplexity(static_cast<double>(tokens) * std::log(vocabulary), tokens) == Approx(vocabulary).epsilon(1e-9));
  }
}

TEST_CASE("perplexity refuses what cannot be one") {
  CHECK_THROWS_WITH(perplexity(1, 0), Contains("expected at least one predicted token"));
  CHECK_THROWS_WITH(perplexity(-3, 2), Contains("found -3") && Contains("not of log p"));
  CHECK_THROWS_WITH(perplexity(std::numeric_limits<double>::quiet_NaN(), 2), Contains("found nan"));
}
