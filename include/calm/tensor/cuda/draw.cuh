/// \file  The GPU's kernels that draw a token from each row of logits, as generate/sample.hpp does on the host.
///
/// Nothing is sorted. The least likely token that may come is found from the bits of its logit, four at a time, by how
/// many tokens (top-k) or how much probability (top-p) lie at each digit (a radix select: Alabi et al. 2012, "Fast
/// k-selection algorithms for graphics processing units"); the draw then runs over the tokens in their own order. All
/// sums are doubles in an order that the extents alone fix. It is not the host's order, and the device's exponential
/// may differ in its last bit: so another token than the host's comes where a border between two tokens, or that of
/// the nucleus, is met to within rounding, 10^-12 of all probability.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "calm/tensor/cuda/argmax.cuh"

namespace calm::cuda {

inline constexpr unsigned digit_bits = 4, digits = 1u << digit_bits;
template <class T>
inline constexpr unsigned key_bits = 8 * sizeof(T);

/// Bits that are ordered as the numbers are, both zeros alike.
template <class T>
CALM_KERNEL std::uint64_t key_of(const T& x) {
  constexpr std::uint64_t sign = std::uint64_t{1} << (key_bits<T> - 1);
  std::uint64_t bits = 0;
  memcpy(&bits, &x, sizeof(T));
  if (bits == sign) bits = 0;
  return bits & sign ? ~bits & (sign | (sign - 1)) : bits | sign;
}
/// The number of those bits.
template <class T>
CALM_KERNEL double number_of(std::uint64_t key) {
  constexpr std::uint64_t sign = std::uint64_t{1} << (key_bits<T> - 1);
  const std::uint64_t bits = key & sign ? key ^ sign : ~key & (sign | (sign - 1));
  T x;
  memcpy(static_cast<void*>(&x), &bits, sizeof(T));
  return static_cast<double>(wide(x));
}

/// What is known of a row: tokens above `least` may come, and the first `ties` of those at it, each of probability
/// `tie` (as a part of the most likely one's).
struct DrawState {
  kernel::Draw draw;
  double top;
  std::uint64_t least;
  double ties, tie;

  /// The probability of a token with logit x, as a part of the most likely one's.
  CALM_KERNEL double weight(double x) const { return std::exp((x - top) / draw.temperature); }
  /// The same, or 0 if min-p drops it.
  CALM_KERNEL double kept_weight(double x) const {
    const double w = weight(x);
    return w < draw.min_p ? 0 : w;
  }
};

/// Logits of some rows, cut into parts of `argmax_part`.
template <class T>
struct DrawRows {
  std::size_t cols, parts;
  const T* x;
  DrawState* state;

  CALM_KERNEL std::size_t first(std::size_t item) const { return item % parts * argmax_part; }
  CALM_KERNEL std::size_t size(std::size_t item) const {
    return cols - first(item) < argmax_part ? cols - first(item) : argmax_part;
  }
  CALM_KERNEL const T* at(std::size_t item) const { return x + item / parts * cols + first(item); }
};

template <class T>
struct BeginDraw {
  DrawRows<T> rows;
  const Index* best;
  const kernel::Draw* draws;
  CALM_KERNEL void operator()(std::size_t r) const {
    const T& top = rows.x[r * rows.cols + static_cast<std::size_t>(best[r])];
    rows.state[r] = {draws[r], static_cast<double>(wide(top)), 0, 0, 0};
  }
};

/// How much lies at each value of a digit.
struct Digits {
  double of[digits];
};
struct AddDigits {
  CALM_KERNEL Digits operator()(Digits a, const Digits& b) const {
    for (unsigned i = 0; i < digits; ++i) a.of[i] += b.of[i];
    return a;
  }
};

/// A row's search for the least likely token that may come: its digits so far, and how much must still lie at or above
/// it among the tokens that have these.
struct Search {
  std::uint64_t runs;  ///< 0 or 1; as wide as the others: no padding, which would be copied though nobody wrote it
  std::uint64_t prefix;
  double need;
};

/// Measures what lies in each part of a row, by the next digit of the row's search; `found` and `before` are of the
/// digit before. by_mass: top-p, else top-k.
template <class T, bool by_mass>
struct MeasureDigits {
  DrawRows<T> rows;
  unsigned shift;  ///< of the digit
  const Digits* found;
  const Search* before;
  Digits* measured;
  Search* search;

  CALM_KERNEL Search begin(const kernel::Draw& d) const {
    if (by_mass) return {d.keeps_nucleus(), 0, d.top_p};
    return {d.keeps_most_likely(rows.cols), 0, static_cast<double>(d.top_k)};
  }
  /// The search with one digit more.
  CALM_KERNEL Search narrowed(const Team& team, std::size_t r) const {
    Search s = before[r];
    if (!s.runs) return s;
    const Digits all = team.fold(rows.parts, Digits{}, [&](std::size_t p) { return found[r * rows.parts + p]; },
                                 AddDigits{});
    if (by_mass && shift + 2 * digit_bits == key_bits<T>) {  // only now is known of how much
      double total = 0;
      for (unsigned i = 0; i < digits; ++i) total += all.of[i];
      s.need *= total;
    }
    unsigned lowest = 0, at = digits - 1;  // rounding may leave less than is needed: then all of it
    while (lowest < at && !(all.of[lowest] > 0)) ++lowest;
    for (; at > lowest && all.of[at] < s.need; --at) s.need -= all.of[at];
    s.prefix = s.prefix << digit_bits | at;
    return s;
  }
  CALM_KERNEL void operator()(const Team& team, std::size_t item) const {
    const std::size_t r = item / rows.parts;
    const DrawState state = rows.state[r];
    const Search s = shift + digit_bits == key_bits<T> ? begin(state.draw) : narrowed(team, r);
    if (item % rows.parts == 0) team.each(1, [&](std::size_t) { search[r] = s; });
    if (!s.runs) return;
    const T* const x = rows.at(item);
    const Digits mine = team.fold(rows.size(item), Digits{}, [&](std::size_t i) {
      const std::uint64_t key = key_of(x[i]), digit = key >> shift & (digits - 1);
      double measure = key >> shift >> digit_bits == s.prefix && key >= state.least ? 1 : 0;
      if (by_mass && measure > 0) measure = state.weight(static_cast<double>(wide(x[i])));
      Digits one;
      for (unsigned d = 0; d < digits; ++d) one.of[d] = d == digit ? measure : 0;
      return one;
    }, AddDigits{});
    team.each(1, [&](std::size_t) { measured[item] = mine; });
  }
};

/// Says what the search found. Of tokens as likely as the least one top-k keeps all, top-p the first that suffice.
template <class T, bool by_mass>
struct EndSearch {
  MeasureDigits<T, by_mass> last;
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    const Search s = last.narrowed(team, r);
    if (!s.runs) return;
    team.each(1, [&](std::size_t) {
      DrawState& state = last.rows.state[r];
      const double x = number_of<T>(s.prefix);
      state.least = s.prefix;
      state.ties = by_mass ? std::ceil(s.need / state.weight(x)) : std::numeric_limits<double>::infinity();
      state.tie = state.kept_weight(x);
    });
  }
};

/// Sums over some tokens: e^(logit - top) of all, the probability of those that may come, and how many are at `least`.
struct DrawSum {
  double all, mass, ties;

  template <class T>
  CALM_KERNEL static DrawSum of(const DrawState& state, const T& x) {
    const double v = static_cast<double>(wide(x));
    const std::uint64_t key = key_of(x);
    const bool draws = state.draw.temperature > 0;
    return {std::exp(v - state.top), draws && key > state.least ? state.kept_weight(v) : 0,
            key == state.least ? 1.0 : 0.0};
  }
};
struct AddDrawSums {
  CALM_KERNEL DrawSum operator()(DrawSum a, DrawSum b) const {
    return {a.all + b.all, a.mass + b.mass, a.ties + b.ties};
  }
};

template <class T>
struct SumParts {
  DrawRows<T> rows;
  DrawSum* parts;
  CALM_KERNEL void operator()(const Team& team, std::size_t item) const {
    const DrawState state = rows.state[item / rows.parts];
    const T* const x = rows.at(item);
    const DrawSum sum = team.fold(rows.size(item), DrawSum{}, [&](std::size_t i) { return DrawSum::of(state, x[i]); },
                                AddDrawSums{});
    team.each(1, [&](std::size_t) { parts[item] = sum; });
  }
};

/// The way through a row's tokens to the one that is drawn.
struct Walk {
  double rest;  ///< probability up to it
  double ties, tie;

  CALM_KERNEL double mass(const DrawSum& p) const { return p.mass + (p.ties < ties ? p.ties : ties) * tie; }
  /// Which of n pieces it is in; the walk goes on at its beginning. The last that has any if rounding ate the rest.
  template <class F>
  CALM_KERNEL std::size_t through(std::size_t n, const F& piece) {
    std::size_t last = 0;
    Walk at_last = *this;
    for (std::size_t i = 0; i < n; ++i) {
      const DrawSum p = piece(i);
      const double m = mass(p);
      if (rest < m) return i;
      if (m > 0) last = i, at_last = *this;
      rest -= m;
      ties -= p.ties < ties ? p.ties : ties;
    }
    *this = at_last;
    return last;
  }
};

/// drawn[r]: the part of the row, then the piece of the part, then the token.
template <class T>
struct DrawToken {
  static constexpr std::size_t pieces = 64, in_piece = argmax_part / pieces;
  struct Shared {
    DrawSum piece[pieces];
    Walk walk;
    std::size_t part;
  };
  DrawRows<T> rows;
  const DrawSum* parts;
  const Index* best;
  kernel::Drawn* drawn;

  /// Tokens of a piece.
  CALM_KERNEL static std::size_t size_of(std::size_t piece, std::size_t part_size) {
    const std::size_t first = piece * in_piece;
    return first >= part_size ? 0 : part_size - first < in_piece ? part_size - first : in_piece;
  }
  CALM_KERNEL void operator()(const Team& team, std::size_t r) const {
    const DrawState state = rows.state[r];
    const DrawSum* const mine = parts + r * rows.parts;
    Shared* const shared = team.shared<Shared>();
    const DrawSum sum = team.fold(rows.parts, DrawSum{}, [&](std::size_t p) { return mine[p]; }, AddDrawSums{});
    team.each(1, [&](std::size_t) {
      Walk walk{0, state.ties, state.tie};
      walk.rest = walk.mass(sum) * state.draw.uniform;
      shared->part = walk.through(rows.parts, [&](std::size_t p) { return mine[p]; });
      shared->walk = walk;
    });
    const std::size_t item = r * rows.parts + shared->part, size = rows.size(item);
    const T* const x = rows.at(item);
    const auto of = [&](std::size_t i) { return DrawSum::of(state, x[i]); };
    team.each(pieces, [&](std::size_t p) {
      DrawSum total{};
      for (std::size_t i = 0; i < size_of(p, size); ++i) total = AddDrawSums{}(total, of(p * in_piece + i));
      shared->piece[p] = total;
    });
    team.each(1, [&](std::size_t) {
      Walk walk = shared->walk;
      const std::size_t p = walk.through(pieces, [&](std::size_t i) { return shared->piece[i]; });
      const std::size_t i = walk.through(size_of(p, size), [&](std::size_t j) { return of(p * in_piece + j); });
      drawn[r] = result(state, sum.all, rows.first(item) + p * in_piece + i, r);
    });
  }
  CALM_KERNEL kernel::Drawn result(const DrawState& state, double all, std::size_t walked, std::size_t r) const {
    if (!(all < std::numeric_limits<double>::infinity())) return {-1, 0};  // some logit is no number
    const std::size_t token = state.draw.temperature > 0 ? walked : static_cast<std::size_t>(best[r]);
    const double x = static_cast<double>(wide(rows.x[r * rows.cols + token]));
    return {static_cast<Index>(token), x - (state.top + std::log(all))};
  }
};

/// Narrows what may come in each row, digit by digit; what one launch measures the next one reads.
template <class T, bool by_mass>
void search_rows(std::size_t rows, const DrawRows<T>& logits) {
  const std::size_t items = rows * logits.parts;
  const Scratch<Digits> sums(2 * items);
  const Scratch<Search> searches(2 * rows);
  Digits* const measured[2] = {sums.data(), sums.data() + items};
  Search* const search[2] = {searches.data(), searches.data() + rows};
  unsigned to = 0;
  for (unsigned shift = key_bits<T>; shift > 0; to = 1 - to) {
    shift -= digit_bits;
    teams("draw_rows", items, argmax_part,
          MeasureDigits<T, by_mass>{logits, shift, measured[1 - to], search[1 - to], measured[to], search[to]});
  }
  const MeasureDigits<T, by_mass> last{logits, 0u - digit_bits, measured[1 - to], search[1 - to], nullptr, nullptr};
  teams("draw_rows", rows, logits.parts, EndSearch<T, by_mass>{last});
}

}  // namespace calm::cuda

namespace calm::kernel {

template <class T>
void draw_rows(Cuda, std::size_t rows, std::size_t cols, const T* x, const Index* best, const Draw* draws,
               Drawn* drawn) {
  const std::size_t count = (cols + cuda::argmax_part - 1) / cuda::argmax_part;
  const cuda::Scratch<cuda::DrawState> states(rows);
  const cuda::Scratch<cuda::DrawSum> parts(rows * count);
  const cuda::DrawRows<T> logits{cols, count, x, states.data()};
  cuda::each("draw_rows", rows, cuda::BeginDraw<T>{logits, best, draws});
  const auto any = [&](auto wanted) { return std::any_of(draws, draws + rows, wanted); };
  if (any([=](const Draw& d) { return d.keeps_most_likely(cols); })) cuda::search_rows<T, false>(rows, logits);
  if (any([](const Draw& d) { return d.keeps_nucleus(); })) cuda::search_rows<T, true>(rows, logits);
  cuda::teams("draw_rows", rows * count, cuda::argmax_part, cuda::SumParts<T>{logits, parts.data()});
  cuda::teams("draw_rows", rows, cuda::argmax_part, cuda::DrawToken<T>{logits, parts.data(), best, drawn},
              sizeof(typename cuda::DrawToken<T>::Shared));
}

#define CALM_DRAW(T) \
  template void draw_rows<T>(Cuda, std::size_t, std::size_t, const T*, const Index*, const Draw*, Drawn*);
CALM_FOR_COMPUTE_TYPES(CALM_DRAW)
#undef CALM_DRAW

}  // namespace calm::kernel
