// Algorithms of products, kept on disk.

#include <algorithm>
#include <fstream>

#include <catch2/catch.hpp>

#include "calm/io/product_choices.hpp"
#include "io/temporary_folder.hpp"

using namespace calm;

TEST_CASE("cuda products: choices are read as they were written") {
  const test::TemporaryFolder folder;
  const auto path = folder / "products.json";
  REQUIRE_FALSE(io::load_product_choices(path));
  cuda::choose_products({{"A · Bᵀ, 1 × 2 × 3 7 7", {1, 2, 3, ~std::uint64_t{0}, 5, 6, 7, 8}}});
  const auto before = cuda::product_choices();
  io::save_product_choices(path);
  REQUIRE(io::load_product_choices(path));
  const auto after = cuda::product_choices();
  const auto same = [&](const auto& choice) {
    return choice.product == before.back().product && choice.algorithm == before.back().algorithm;
  };
  REQUIRE(std::any_of(after.begin(), after.end(), same));
}

TEST_CASE("cuda products: choices for something else are left, other files refused") {
  const test::TemporaryFolder folder;
  const auto path = folder / "products.json";
  const auto write = [&](const char* text) { std::ofstream(path) << text; };
  write(R"({"for": "another GPU", "products": {}})");
  REQUIRE_FALSE(io::load_product_choices(path));
  write(R"({"products": 5})");
  REQUIRE_THROWS_WITH(io::load_product_choices(path), Catch::Contains("not a file of product choices"));
}
