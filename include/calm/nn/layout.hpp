/// \file  Where the tokens of a batch stand: positions, padding, and what each may see.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "calm/tensor/ops/attention.hpp"

namespace calm::nn {

/// The layout of one forward pass over tokens [Batch, Time]. Padding is a token whose interval of keys is empty.
template <class Device>
struct Layout {
  using PerToken = Tensor<Index, Device, Batch, Time>;

  PerToken position;          ///< place in its own text, from 0; 0 for padding
  KeyIntervals<Device> keys;  ///< the keys of self-attention: causal, own text, no padding
  PerToken prompt;            ///< how many tokens of its text were given, not generated; undefined: not known
  bool local = false;         ///< seen through a sliding window
  /// Of a layout that serves step after step: where `windowed` keeps the bounds that it makes, by the window.
  std::shared_ptr<std::map<std::size_t, PerToken>> windows = {};

  std::size_t batch() const { return position.extent(0); }
  std::size_t time() const { return position.extent(1); }
  bool is_padding(std::size_t b, std::size_t t) const { return keys.end[b * time() + t] == 0; }
};

namespace detail {

template <class Device>
Layout<Device> empty_layout(std::size_t batch, std::size_t time) {
  const Shape<Batch, Time> shape(batch, time);
  Layout<Device> l;
  l.position = Tensor<Index, Device, Batch, Time>::zeros(shape);
  l.keys.end = Tensor<Index, Device, Batch, Time>::zeros(shape);
  return l;
}

template <class Device>
Tensor<Index, Device, Batch> per_text(std::span<const Index> values) {
  return Tensor<Index, Device, Batch>::from(Shape<Batch>(values.size()), values.data());
}

/// Each text's value at each of its `time` columns.
template <class Device>
Tensor<Index, Device, Batch, Time> per_token(std::span<const Index> values, std::size_t time) {
  Tensor<Index, Device, Batch, Time> t(Shape<Batch, Time>(values.size(), time));
  for (std::size_t b = 0; b < values.size(); ++b) std::fill_n(t.mutable_data() + b * time, time, values[b]);
  return t;
}

inline void check_length(Index length, std::size_t time, std::size_t b) {
  calm::detail::require(length > 0 && static_cast<std::size_t>(length) <= time, [&] {
    return "calm::nn::Layout: text " + std::to_string(b) + " has length " + std::to_string(length) +
           ", expected 1 to " + std::to_string(time);
  });
}

}  // namespace detail

/// Texts of the given lengths, each at the start of its row, padding behind. Throws `Error` for a text of no tokens, or
/// of more than `time`.
template <class Device>
Layout<Device> pad_right(std::span<const Index> lengths, std::size_t time) {
  auto l = detail::empty_layout<Device>(lengths.size(), time);
  Index* position = l.position.mutable_data();
  Index* end = l.keys.end.mutable_data();
  for (std::size_t b = 0; b < lengths.size(); ++b) {
    detail::check_length(lengths[b], time, b);
    for (Index i = 0; i < lengths[b]; ++i) {
      position[b * time + static_cast<std::size_t>(i)] = i;
      end[b * time + static_cast<std::size_t>(i)] = i + 1;
    }
  }
  return l;
}

/// Texts of the given lengths, each at the end of its row, padding before. Throws `Error` as `pad_right`.
template <class Device>
Layout<Device> pad_left(std::span<const Index> lengths, std::size_t time) {
  auto l = detail::empty_layout<Device>(lengths.size(), time);
  l.keys.begin = Tensor<Index, Device, Batch, Time>::zeros(l.position.shape());
  Index* position = l.position.mutable_data();
  Index* begin = l.keys.begin.mutable_data();
  Index* end = l.keys.end.mutable_data();
  for (std::size_t b = 0; b < lengths.size(); ++b) {
    detail::check_length(lengths[b], time, b);
    const std::size_t pad = time - static_cast<std::size_t>(lengths[b]);
    for (std::size_t t = pad; t < time; ++t) {
      position[b * time + t] = static_cast<Index>(t - pad);
      begin[b * time + t] = static_cast<Index>(pad);
      end[b * time + t] = static_cast<Index>(t + 1);
    }
  }
  return l;
}

/// Where one text of a packed batch stands.
struct TextPlace {
  std::size_t row, column, length, prompt;
};

/// Texts anywhere in the rows, several to a row where they fit. None sees another.
template <class Device>
Layout<Device> packed(std::span<const TextPlace> texts, std::size_t rows, std::size_t time) {
  auto l = detail::empty_layout<Device>(rows, time);
  l.keys.begin = Tensor<Index, Device, Batch, Time>::zeros(l.position.shape());
  l.prompt = Tensor<Index, Device, Batch, Time>::zeros(l.position.shape());
  Index* position = l.position.mutable_data();
  Index* begin = l.keys.begin.mutable_data();
  Index* end = l.keys.end.mutable_data();
  Index* prompt = l.prompt.mutable_data();
  for (const TextPlace& text : texts) {
    for (std::size_t i = 0; i < text.length; ++i) {
      const std::size_t at = text.row * time + text.column + i;
      position[at] = static_cast<Index>(i);
      begin[at] = static_cast<Index>(text.column);
      end[at] = static_cast<Index>(text.column + i + 1);
      prompt[at] = static_cast<Index>(text.prompt);
    }
  }
  return l;
}

/// New tokens behind texts that a cache holds: text b continues at start[b] with lengths[b] tokens (0: none).
template <class Device>
Layout<Device> continue_at(std::span<const Index> start, std::span<const Index> lengths, std::size_t time) {
  auto l = detail::empty_layout<Device>(lengths.size(), time);
  Index* position = l.position.mutable_data();
  Index* end = l.keys.end.mutable_data();
  for (std::size_t b = 0; b < lengths.size(); ++b) {
    for (Index i = 0; i < lengths[b]; ++i) {
      position[b * time + static_cast<std::size_t>(i)] = start[b] + i;
      end[b * time + static_cast<std::size_t>(i)] = start[b] + i + 1;
    }
  }
  return l;
}

/// f(at, length) for each text of a batch of whole texts, `at` counted in tokens from the batch's first. Throws
/// `Error`, which begins with `who`, if a text begins in its middle, as behind a cache.
template <class Device, class F>
void for_each_text(const char* who, const Layout<Device>& layout, const F& f) {
  const std::size_t time = layout.time(), tokens = layout.position.size();
  for (std::size_t at = 0; at < tokens; ++at) {
    if (layout.keys.end[at] == 0) continue;
    calm::detail::require(layout.position[at] == 0, [&] {
      return std::string(who) + ": the text in row " + std::to_string(at / time) + " begins at position " +
             std::to_string(layout.position[at]) + "; expected whole texts, as collate lays them";
    });
    std::size_t length = 1;
    while ((at + length) % time != 0 && layout.position[at + length] == static_cast<Index>(length)) ++length;
    f(at, length);
    at += length - 1;
  }
}

namespace detail {

/// The first keys that are seen through a window of `window` tokens.   begin: [Batch, Time]
template <class Device>
void write_window(const Layout<Device>& layout, std::size_t window, Index* begin) {
  for (std::size_t i = 0; i < layout.position.size(); ++i) {
    const Index own = layout.keys.begin.defined() ? layout.keys.begin[i] : 0;
    Index first = layout.keys.end[i] - static_cast<Index>(window);
    // Where the text forks, the window goes on before the hole.
    if (layout.keys.hole_end.defined() && first < layout.keys.hole_end[i]) {
      first -= layout.keys.hole_end[i] - layout.keys.hole_begin[i];
    }
    begin[i] = std::max(own, first);
  }
}

}  // namespace detail

/// The same texts, seen through a sliding window of the last `window` tokens (Beltagy et al. 2020).
template <class Device>
Layout<Device> windowed(const Layout<Device>& layout, std::size_t window) {
  Layout<Device> l = layout;
  l.local = true;
  if (layout.windows) l.keys.begin = (*layout.windows)[window];
  if (layout.windows && l.keys.begin.defined()) return l;
  l.keys.begin = Tensor<Index, Device, Batch, Time>::zeros(layout.position.shape());
  detail::write_window(layout, window, l.keys.begin.mutable_data());
  if (layout.windows) (*layout.windows)[window] = l.keys.begin;
  return l;
}

/// What stands at token `last[b]` of each text; undefined if `all` is.   all: [Batch, Time] -> [Batch, 1]
template <class Device>
Tensor<Index, Device, Batch, Time> only_at(const Tensor<Index, Device, Batch, Time>& all,
                                           const Tensor<Index, Device, Batch>& last) {
  if (!all.defined()) return {};
  Tensor<Index, Device, Batch, Time> one(Shape<Batch, Time>(last.size(), 1));
  Index* const to = one.mutable_data();
  for (std::size_t b = 0; b < last.size(); ++b) to[b] = all[b * all.extent(1) + static_cast<std::size_t>(last[b])];
  return one;
}
template <class Device>
KeyIntervals<Device> only_at(const KeyIntervals<Device>& k, const Tensor<Index, Device, Batch>& last) {
  return {only_at(k.end, last), only_at(k.begin, last), only_at(k.center, last), only_at(k.hole_begin, last),
          only_at(k.hole_end, last)};
}
/// The layout of these tokens alone. Their keys stay where they are.
template <class Device>
Layout<Device> only_at(const Layout<Device>& l, const Tensor<Index, Device, Batch>& last) {
  return {only_at(l.position, last), only_at(l.keys, last), only_at(l.prompt, last), l.local};
}

}  // namespace calm::nn
