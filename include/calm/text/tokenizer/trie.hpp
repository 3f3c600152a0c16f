/// \file  A set of byte strings with a number each, searched from a place of a text onwards.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace calm::text {

/// A hash table from pairs of numbers to a value, by open addressing: the inner loop of BPE and tries is its `find`.
template <class Value>
class PairTable {
 public:
  PairTable() : slots_(16) {}

  /// Keeps `value` under (a, b), in the place of what was there.
  void set(std::uint32_t a, std::uint32_t b, Value value) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    Slot& slot = slots_[place(key(a, b))];
    if (slot.key == empty) ++size_;
    slot = {key(a, b), value};
  }

  /// The value under (a, b); null if there is none.
  const Value* find(std::uint32_t a, std::uint32_t b) const {
    const Slot& slot = slots_[place(key(a, b))];
    return slot.key == empty ? nullptr : &slot.value;
  }

 private:
  static constexpr std::uint64_t empty = ~std::uint64_t{0};
  struct Slot {
    std::uint64_t key = empty;
    Value value{};
  };

  static std::uint64_t key(std::uint32_t a, std::uint32_t b) { return std::uint64_t{a} << 32 | b; }

  std::size_t place(std::uint64_t k) const {
    std::size_t i = static_cast<std::size_t>(k * 0x9E3779B97F4A7C15u >> (64 - std::countr_zero(slots_.size())));
    while (slots_[i].key != empty && slots_[i].key != k) i = (i + 1) & (slots_.size() - 1);
    return i;
  }

  void grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.key != empty) slots_[place(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;  // a power of two of them, at most half of them taken
  std::size_t size_ = 0;
};

/// A prefix tree over bytes.
class Trie {
 public:
  static constexpr std::int32_t none = -1;

  struct Match {
    std::int32_t value = none;
    std::size_t bytes = 0;  ///< of the matched string
  };

  /// Adds the non-empty string `bytes`; the value of the last of equal strings counts.
  void add(std::string_view bytes, std::int32_t value) {
    std::uint32_t node = 0;
    for (const char c : bytes) {
      const auto* next = children_.find(node, static_cast<unsigned char>(c));
      if (next) {
        node = *next;
      } else {
        const auto fresh = static_cast<std::uint32_t>(values_.size());
        children_.set(node, static_cast<unsigned char>(c), fresh);
        values_.push_back(none);
        node = fresh;
      }
    }
    values_[node] = value;
    first_[static_cast<unsigned char>(bytes[0])] = true;
  }

  bool empty() const { return values_.size() == 1; }

  /// Calls visit(value, bytes) for each string that stands at byte `at` of `text`, the shortest first.
  template <class Visit>
  void prefixes(std::string_view text, std::size_t at, Visit&& visit) const {
    if (!first_[static_cast<unsigned char>(text[at])]) return;
    std::uint32_t node = 0;
    for (std::size_t i = at; i < text.size(); ++i) {
      const auto* next = children_.find(node, static_cast<unsigned char>(text[i]));
      if (!next) return;
      node = *next;
      if (values_[node] != none) visit(values_[node], i + 1 - at);
    }
  }

  /// The longest string that stands at byte `at` of `text`.
  Match longest(std::string_view text, std::size_t at) const {
    Match best;
    prefixes(text, at, [&](std::int32_t value, std::size_t bytes) { best = {value, bytes}; });
    return best;
  }

 private:
  PairTable<std::uint32_t> children_;  // (node, byte) -> node
  std::vector<std::int32_t> values_{none};
  std::vector<bool> first_ = std::vector<bool>(256);
};

}  // namespace calm::text
