#include "calm/text/pass_at_k.hpp"

#include <bit>
#include <vector>

#include <catch2/catch.hpp>

using namespace calm;
using namespace calm::text;
using Catch::Contains;

TEST_CASE("pass@k is the share of sets of k samples with one that passes, by enumeration") {
  for (unsigned n = 1; n <= 12; ++n) {
    for (unsigned c = 0; c <= n; ++c) {
      std::vector<double> sets(n + 1), good(n + 1);
      for (unsigned set = 0; set < (1u << n); ++set) {
        const auto k = static_cast<std::size_t>(std::popcount(set));
        sets[k] += 1;
        good[k] += (set & ((1u << c) - 1)) != 0;  // the first c samples pass
      }
      for (unsigned k = 1; k <= n; ++k) CHECK(pass_at_k(PassCount{n, c}, k) == Approx(good[k] / sets[k]).margin(1e-14));
    }
  }
}

TEST_CASE("pass@k of many samples does not overflow") {
  CHECK(pass_at_k(PassCount{200'000, 1}, 1) == Approx(1.0 / 200'000).epsilon(1e-9));
  CHECK(pass_at_k(PassCount{200'000, 100}, 100'000) == Approx(1).epsilon(1e-12));
  CHECK(pass_at_k(PassCount{1000, 3}, 998) == 1);
}

TEST_CASE("pass@k of problems is their mean") {
  CHECK(pass_at_k(std::vector<PassCount>{{10, 0}, {10, 10}, {4, 1}}, 2) == Approx((0 + 1 + 0.5) / 3));
}

TEST_CASE("pass@k refuses impossible counts, by problem") {
  CHECK_THROWS_WITH(pass_at_k(std::vector<PassCount>{}, 1), Contains("at least one problem"));
  CHECK_THROWS_WITH(pass_at_k(PassCount{5, 1}, 0), Contains("found samples 5, passed 1, k 0"));
  CHECK_THROWS_WITH(pass_at_k(PassCount{5, 6}, 1), Contains("samples 5, passed 6"));
  CHECK_THROWS_WITH(pass_at_k(std::vector<PassCount>{{10, 1}, {5, 1}}, 10),
                    Contains("problem 1:") && Contains("draw at least k samples"));
}
