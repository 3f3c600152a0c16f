/// \file  A text that remembers, byte by byte, which bytes of the original text it stands for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "calm/tensor/error.hpp"

namespace calm::text {

/// Bytes [begin, end) of a text. Texts of tokenizers are shorter than 4 GiB.
struct Span {
  std::uint32_t begin = 0, end = 0;

  friend bool operator==(const Span&, const Span&) = default;
};

/// What normalisation makes of a text. Bytes that were kept stand for themselves, others for all that they replace.
///
/// A tokenizer's file says by how much its steps lengthen a text, so that a hostile one could fill the memory with a
/// few bytes: nothing becomes more than 64 times as long as the original and 64 KiB. (NFKC makes at most 11 of one.)
class Aligned {
 public:
  Aligned() = default;
  /// A view of `text`, which begins at byte `offset` of the original.
  Aligned(std::string_view text, std::uint32_t offset)
      : view_(text), limit_(64 * text.size() + (std::size_t{1} << 16)), offset_(offset), is_view_(true) {}
  /// An empty text that a step makes of this one.
  Aligned successor() const {
    Aligned out;
    out.limit_ = limit_;
    return out;
  }

  std::string_view text() const { return is_view_ ? view_ : std::string_view(own_); }

  /// The bytes of the original that [begin, end) of this text stand for.
  Span span(std::size_t begin, std::size_t end) const {
    if (is_view_) return {offset_ + static_cast<std::uint32_t>(begin), offset_ + static_cast<std::uint32_t>(end)};
    if (begin == end) {
      const std::uint32_t at = begin < spans_.size() ? spans_[begin].begin : spans_.empty() ? 0 : spans_.back().end;
      return {at, at};
    }
    Span all = spans_[begin];
    for (std::size_t i = begin + 1; i < end; ++i) {  // reordered marks are not in order
      all.begin = std::min(all.begin, spans_[i].begin);
      all.end = std::max(all.end, spans_[i].end);
    }
    return all;
  }

  /// Appends bytes that stand for `from`. The text must not be a view. Throws `Error` where it becomes too long.
  void append(std::string_view bytes, Span from) {
    require_room(bytes.size());
    own_ += bytes;
    spans_.insert(spans_.end(), bytes.size(), from);
  }
  /// Appends bytes [begin, end) of `source` as they are.
  void append(const Aligned& source, std::size_t begin, std::size_t end) {
    require_room(end - begin);
    own_ += source.text().substr(begin, end - begin);
    for (std::size_t i = begin; i < end; ++i) spans_.push_back(source.span(i, i + 1));
  }
  /// Removes what stands behind the first `bytes` bytes.
  void truncate(std::size_t bytes) {
    own_.resize(bytes);
    spans_.resize(bytes);
  }

  /// Bytes [begin, end) as a text of their own; a part of a view is a view.
  Aligned part(std::size_t begin, std::size_t end) const {
    if (is_view_) return Aligned(view_.substr(begin, end - begin), offset_ + static_cast<std::uint32_t>(begin));
    Aligned out = successor();
    out.append(*this, begin, end);
    return out;
  }

 private:
  void require_room(std::size_t bytes) const {
    calm::detail::require(bytes <= limit_ && own_.size() <= limit_ - bytes, [&] {
      return "calm::text: the tokenizer's steps make more than " + std::to_string(limit_) +
             " bytes of a text; its file is damaged";
    });
  }

  std::string own_;
  std::vector<Span> spans_;  // one for each byte of own_
  std::string_view view_;
  std::size_t limit_ = std::numeric_limits<std::uint32_t>::max();  // of own_, in bytes
  std::uint32_t offset_ = 0;
  bool is_view_ = false;
};

}  // namespace calm::text
