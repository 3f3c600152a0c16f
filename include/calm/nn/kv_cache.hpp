/// \file  Keys and values, or other rows, of texts seen so far.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "calm/nn/layout.hpp"
#include "calm/nn/module.hpp"  // detail::is_list
#include "calm/tensor/cpu/index.hpp"

namespace calm::nn {

/// A row for each token of a batch of texts.   [Batch, Positions, Row...]
template <class T, class Device, Axis Positions, Axis... Row>
class TokenRows {
 public:
  using Rows = Tensor<T, Device, Batch, Positions, Row...>;

  TokenRows() = default;
  TokenRows(std::size_t batch, std::size_t capacity)
      : rows_(Shape<Batch, Positions, Row...>(batch, capacity), Place::lasting) {}

  std::size_t texts() const { return rows_.extent(0); }
  std::size_t capacity() const { return rows_.extent(1); }
  const Rows& rows() const { return rows_; }

  /// Writes the rows of new tokens, padding excepted, at their positions.   fresh: [Batch, New, Row...]
  /// Throws `Error` for a position beyond the capacity.
  template <class Fresh>
  void put(const Fresh& fresh, const Layout<Device>& layout) {
    const std::size_t time = layout.time();
    for (std::size_t b = 0; b < layout.batch(); ++b) {
      for (std::size_t t = 0; t < time; ++t) {
        if (layout.is_padding(b, t)) continue;
        const auto position = static_cast<std::size_t>(layout.position[b * time + t]);
        calm::detail::require(position < capacity(), [&] {
          return "calm::nn: text " + std::to_string(b) + " reaches position " + std::to_string(position) +
                 ", the cache holds " + std::to_string(capacity());
        });
      }
    }
    kernel::keep_rows(Device{}, layout.batch(), time, capacity(), width, layout.position.data(),
                      layout.keys.end.data(), fresh.data(), rows_.mutable_data());
  }

  /// Writes the first `positions` rows of one text of another cache over text `to_text` of this one. Throws `Error` if
  /// either has no such rows.
  void copy_text(const TokenRows& from, std::size_t from_text, std::size_t positions, std::size_t to_text) {
    from.check_rows(from_text, positions);
    check_rows(to_text, positions);
    kernel::copy(Device{}, positions * width, from.rows_.data() + from_text * from.capacity() * width,
                 rows_.mutable_data() + to_text * capacity() * width);
  }

 private:
  static constexpr std::size_t width = (Row::extent * ...);

  void check_rows(std::size_t text, std::size_t positions) const {
    calm::detail::require(text < texts() && positions <= capacity(), [&] {
      return "calm::nn: " + std::to_string(positions) + " positions of text " + std::to_string(text) +
             " are to be copied; the cache holds " + std::to_string(texts()) + " texts of up to " +
             std::to_string(capacity());
    });
  }

  Rows rows_;
};

/// The keys and values of one attention layer for a batch of texts.   [Batch, Positions, KvHeads, Width]
template <class T, class Device, Axis Positions, Axis KvHeads, Axis Width>
class KeyValueCache {
 public:
  using Side = TokenRows<T, Device, Positions, KvHeads, Width>;
  using Rows = typename Side::Rows;

  KeyValueCache() = default;
  KeyValueCache(std::size_t batch, std::size_t capacity) : keys_(batch, capacity), values_(batch, capacity) {}

  std::size_t texts() const { return keys_.texts(); }
  std::size_t capacity() const { return keys_.capacity(); }
  const Rows& keys() const { return keys_.rows(); }
  const Rows& values() const { return values_.rows(); }

  /// Writes those of new tokens, as TokenRows::put.   new_keys, new_values: [Batch, New, KvHeads, Width]
  template <class New>
  void put(const New& new_keys, const New& new_values, const Layout<Device>& layout) {
    keys_.put(new_keys, layout);
    values_.put(new_values, layout);
  }

  /// As TokenRows::copy_text.
  void copy_text(const KeyValueCache& from, std::size_t from_text, std::size_t positions, std::size_t to_text) {
    keys_.copy_text(from.keys_, from_text, positions, to_text);
    values_.copy_text(from.values_, from_text, positions, to_text);
  }

 private:
  Side keys_, values_;
};

namespace detail {

template <class C>
inline constexpr bool is_cache = false;
template <class T, class Device, Axis P, Axis K, Axis W>
inline constexpr bool is_cache<KeyValueCache<T, Device, P, K, W>> = true;
template <class T, class Device, Axis P, Axis... R>
inline constexpr bool is_cache<TokenRows<T, Device, P, R...>> = true;

template <class C>
inline constexpr bool is_caches_tuple = false;
template <class... C>
inline constexpr bool is_caches_tuple<std::tuple<C...>> = true;

/// f(a's, b's) for each cache of two collections of one type: arrays, vectors, tuples, and structs whose
/// `parts(self)` is a tuple of what a text owns in them.
template <class A, class B, class F>
void for_each_cache(A& a, B& b, const F& f) {
  using C = std::remove_cv_t<A>;
  if constexpr (is_cache<C>) {
    f(a, b);
  } else if constexpr (is_list<C>) {
    for (std::size_t i = 0; i < a.size(); ++i) for_each_cache(a[i], b[i], f);
  } else if constexpr (is_caches_tuple<C>) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (for_each_cache(std::get<I>(a), std::get<I>(b), f), ...);
    }(std::make_index_sequence<std::tuple_size_v<C>>{});
  } else {
    auto parts_a = C::parts(a);
    auto parts_b = C::parts(b);
    for_each_cache(parts_a, parts_b, f);
  }
}

}  // namespace detail

/// Empty caches like those of a model, for `texts` texts of up to `capacity` tokens. What belongs to no text (folded
/// projections) is shared, not computed again.
template <class Caches>
Caches empty_caches(const Caches& like, std::size_t texts, std::size_t capacity) {
  Caches made = like;
  detail::for_each_cache(made, like, [&](auto& to, const auto&) {
    to = std::remove_cvref_t<decltype(to)>(texts, capacity);
  });
  return made;
}

/// Copies what `from` holds of the first `positions` tokens of its text `from_text` over text `to_text` of `to`: a text
/// joins a batch, or begins where another stands.
template <class Caches>
void copy_text(const Caches& from, std::size_t from_text, std::size_t positions, Caches& to, std::size_t to_text) {
  detail::for_each_cache(to, from, [&](auto& t, const auto& f) { t.copy_text(f, from_text, positions, to_text); });
}

/// Caches of the texts that `texts` names, in its order and as often as it names them, `positions` tokens of each, with
/// room for `capacity`: beams are reordered, doubled and dropped. One layer at a time stands in memory twice.
template <class Caches>
void select_texts(Caches& caches, std::span<const std::size_t> texts, std::size_t positions, std::size_t capacity) {
  detail::for_each_cache(caches, caches, [&](auto& cache, const auto&) {
    std::remove_cvref_t<decltype(cache)> selected(texts.size(), capacity);
    for (std::size_t i = 0; i < texts.size(); ++i) selected.copy_text(cache, texts[i], positions, i);
    cache = std::move(selected);
  });
}

}  // namespace calm::nn
