#include "calm/nn/kv_cache.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <tuple>
#include <vector>

#include <catch2/catch.hpp>

namespace {

using namespace calm;
using Catch::Contains;

struct Heads {
  static constexpr std::size_t extent = 2;
};
struct Width {
  static constexpr std::size_t extent = 3;
};
using Cache = nn::KeyValueCache<float, Cpu, Time, Heads, Width>;

/// A collection as a composition's: two kinds of lists, and what belongs to no text.
struct Caches {
  std::array<Cache, 2> first;
  std::tuple<std::vector<Cache>, Cache> second;
  std::vector<int> shared{1, 2};
  static auto parts(auto& self) { return std::tie(self.first, self.second); }
};

float key_at(std::size_t layer, std::size_t text, std::size_t position) {
  return static_cast<float>(100 * layer + 10 * text + position);
}

/// Keys that tell layer, text and position; values are their negatives.
Cache filled(std::size_t layer, std::size_t texts, std::size_t capacity) {
  Cache cache(texts, capacity);
  Cache::Rows keys(Shape<Batch, Time, Heads, Width>(texts, capacity)), values(keys.shape());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    keys.mutable_data()[i] = key_at(layer, i / 6 / capacity, i / 6 % capacity);
    values.mutable_data()[i] = -keys[i];
  }
  const std::vector<Index> lengths(texts, static_cast<Index>(capacity));
  cache.put(keys, values, nn::pad_right<Cpu>(lengths, capacity));
  return cache;
}

Caches all_filled(std::size_t texts, std::size_t capacity) {
  return {{filled(1, texts, capacity), filled(2, texts, capacity)},
          {{filled(3, texts, capacity)}, filled(4, texts, capacity)}};
}

std::array<const Cache*, 4> layers(const Caches& c) {
  return {&c.first[0], &c.first[1], &std::get<0>(c.second)[0], &std::get<1>(c.second)};
}

/// Whether text `at` of each layer holds the first `positions` rows of text `from` of `all_filled`.
bool holds(const Caches& caches, std::size_t at, std::size_t from, std::size_t positions) {
  bool all = true;
  std::size_t layer = 0;
  for (const Cache* c : layers(caches)) {
    ++layer;
    for (std::size_t p = 0; p < positions; ++p) {
      for (std::size_t w = 0; w < 6; ++w) {
        const std::size_t i = (at * c->capacity() + p) * 6 + w;
        all = all && c->keys()[i] == key_at(layer, from, p) && c->values()[i] == -key_at(layer, from, p);
      }
    }
  }
  return all;
}

}  // namespace

TEST_CASE("texts are chosen, doubled and dropped in every layer") {
  auto caches = all_filled(3, 5);
  const std::vector<std::size_t> texts{2, 0, 0, 2};
  nn::select_texts(caches, texts, 4, 7);
  for (const Cache* c : layers(caches)) {
    CHECK(c->texts() == 4);
    CHECK(c->capacity() == 7);
  }
  for (std::size_t i = 0; i < texts.size(); ++i) CHECK(holds(caches, i, texts[i], 4));
  CHECK(caches.shared == std::vector<int>{1, 2});
}

TEST_CASE("a text is copied into another batch and leaves its neighbours alone") {
  const auto from = all_filled(2, 3);
  auto to = all_filled(4, 6);
  nn::copy_text(from, 1, 3, to, 2);
  CHECK(holds(to, 2, 1, 3));
  CHECK(holds(to, 1, 1, 6));
  CHECK(holds(to, 3, 3, 6));
  CHECK(to.first[0].keys()[(2 * 6 + 3) * 6] == key_at(1, 2, 3));  // behind what was copied
}

TEST_CASE("empty caches share what belongs to no text and no row") {
  const auto like = all_filled(2, 3);
  auto made = nn::empty_caches(like, 5, 9);
  for (const Cache* c : layers(made)) {
    CHECK(c->texts() == 5);
    CHECK(c->capacity() == 9);
  }
  CHECK(made.shared == like.shared);
  nn::copy_text(like, 0, 3, made, 4);  // their memory is their own
  CHECK(holds(made, 4, 0, 3));
  CHECK(holds(like, 1, 1, 3));
}

TEST_CASE("rows that a cache does not have are named") {
  const auto from = all_filled(2, 3);
  auto to = all_filled(4, 6);
  CHECK_THROWS_WITH(nn::copy_text(from, 2, 3, to, 0), Contains("3 positions of text 2 are to be copied") &&
                                                          Contains("the cache holds 2 texts of up to 3"));
  CHECK_THROWS_WITH(nn::copy_text(from, 0, 4, to, 0), Contains("4 positions of text 0"));
  CHECK_THROWS_WITH(nn::copy_text(from, 0, 1, to, 4), Contains("the cache holds 4 texts of up to 6"));
}

TEST_CASE("a cache in bf16 rounds what is put there") {
  nn::KeyValueCache<bf16, Cpu, Time, Heads, Width> cache(1, 2);
  Cache::Rows rows(Shape<Batch, Time, Heads, Width>(1, 2));
  for (std::size_t i = 0; i < rows.size(); ++i) rows.mutable_data()[i] = 1.0f + static_cast<float>(i) / 300;
  cache.put(rows, rows, nn::pad_right<Cpu>(std::vector<Index>{2}, 2));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CHECK(cache.keys()[i].bits == bf16(rows[i]).bits);
    CHECK(cache.values()[i].bits == bf16(rows[i]).bits);
  }
}
