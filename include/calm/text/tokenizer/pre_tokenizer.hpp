/// \file  How a text is cut into words, each of which the model cuts into tokens: the steps of tokenizer.json's
/// "pre_tokenizer".
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/text/tokenizer/aligned.hpp"
#include "calm/text/tokenizer/normalizer.hpp"
#include "calm/text/tokenizer/regex.hpp"

namespace calm::text {

/// A text and the words that it is cut into, none of them empty.
struct Words {
  struct Range {
    std::size_t begin, end;
  };
  Aligned text;
  std::vector<Range> ranges;

  explicit Words(Aligned whole) : text(std::move(whole)) {
    if (!text.text().empty()) ranges.push_back({0, text.text().size()});
  }
  std::string_view word(const Range& range) const {
    return text.text().substr(range.begin, range.end - range.begin);
  }
};

/// One step: cuts words further, or writes them anew.
using PreTokenizer = std::function<void(Words&)>;

/// What becomes of a separator.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// To which words Metaspace puts a mark in front.
enum class PrependScheme { always, never, first };

namespace detail {

struct SplitPart {
  std::size_t begin, end;
  bool is_match;
};

/// The parts joined as `behavior` says, appended to `out`.
inline void join_parts(const std::vector<SplitPart>& parts, SplitBehavior behavior, std::vector<Words::Range>& out) {
  const std::size_t first = out.size();
  bool previous = false;
  const auto has_any = [&] { return out.size() > first; };
  if (behavior == SplitBehavior::merged_with_next) {
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
      if (part->is_match && !previous && has_any()) out.back().begin = part->begin;
      else out.push_back({part->begin, part->end});
      previous = part->is_match;
    }
    std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
    return;
  }
  for (const SplitPart& part : parts) {
    const bool joins = behavior == SplitBehavior::merged_with_previous ? part.is_match && !previous
                       : behavior == SplitBehavior::contiguous         ? part.is_match == previous
                                                                       : false;
    if (behavior == SplitBehavior::removed && part.is_match) continue;
    if (joins && has_any()) out.back().end = part.end;
    else out.push_back({part.begin, part.end});
    previous = part.is_match;
  }
}

/// Cuts each word at the ranges that find(word, visit) visits; with `invert`, at what is between them.
template <class Find>
void split_words(Words& words, SplitBehavior behavior, bool invert, const Find& find) {
  std::vector<Words::Range> out;
  out.reserve(2 * words.ranges.size());
  std::vector<SplitPart> parts;
  for (const Words::Range& range : words.ranges) {
    const std::string_view word = words.word(range);
    parts.clear();
    std::size_t done = 0;
    const auto add = [&](std::size_t begin, std::size_t end, bool is_match) {
      if (begin < end) parts.push_back({range.begin + begin, range.begin + end, is_match != invert});
    };
    find(word, [&](std::size_t begin, std::size_t end) {
      add(done, begin, false);
      add(begin, end, true);
      done = end;
    });
    add(done, word.size(), false);
    join_parts(parts, behavior, out);
  }
  words.ranges = std::move(out);
}

/// Visits each character for which `is(c)` holds.
template <class Is>
auto find_characters(const Is& is) {
  return [is](std::string_view text, auto visit) {
    for (std::size_t i = 0; i < text.size();) {
      const CodePoint c = code_point_at(text, i);
      if (is(c.value)) visit(i, i + c.bytes);
      i += c.bytes;
    }
  };
}

/// Writes all words anew: write(range, out) appends what stands in the place of one.
template <class Write>
void rewrite_words(Words& words, const Write& write) {
  Aligned out = words.text.successor();
  for (Words::Range& range : words.ranges) {
    const std::size_t begin = out.text().size();
    write(range, out);
    range = {begin, out.text().size()};
  }
  words.text = std::move(out);
}

}  // namespace detail

namespace pre_tokenizers {

/// GPT-2's expression (Radford et al. 2019).
inline constexpr const char* gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

inline PreTokenizer split(Regex pattern, SplitBehavior behavior, bool invert) {
  return [=](Words& words) {
    detail::split_words(words, behavior, invert,
                        [&](std::string_view text, auto visit) { pattern.for_each(text, visit); });
  };
}
inline PreTokenizer split(std::string pattern, SplitBehavior behavior, bool invert) {
  return [=](Words& words) {
    detail::split_words(words, behavior, invert,
                        [&](std::string_view text, auto visit) { detail::find_string(text, pattern, visit); });
  };
}

/// At white space, which is left out.
inline PreTokenizer whitespace_split() {
  return [](Words& words) {
    detail::split_words(words, SplitBehavior::removed, false, detail::find_characters(detail::is_white_space));
  };
}

/// At each mark of punctuation.
inline PreTokenizer punctuation(SplitBehavior behavior) {
  return [behavior](Words& words) {
    detail::split_words(words, behavior, false, detail::find_characters(detail::is_punctuation));
  };
}

/// Each word with a blank in front, if there is none.
inline PreTokenizer prefix_space() {
  return [](Words& words) {
    detail::rewrite_words(words, [&](const Words::Range& range, Aligned& out) {
      if (words.word(range)[0] != ' ') out.append(" ", words.text.span(range.begin, range.begin));
      out.append(words.text, range.begin, range.end);
    });
  };
}

/// SentencePiece's way: blanks become `mark`, one of which is put in front of words; with `splits`, each mark begins a
/// word.
inline PreTokenizer metaspace(std::string mark, PrependScheme scheme, bool splits) {
  return [=](Words& words) {
    detail::rewrite_words(words, [&](const Words::Range& range, Aligned& out) {
      const std::string_view word = words.word(range);
      const Span start = words.text.span(range.begin, range.begin);
      const bool wants = scheme == PrependScheme::always || (scheme == PrependScheme::first && start.begin == 0);
      if (wants && word[0] != ' ' && !word.starts_with(mark)) out.append(mark, start);
      for (std::size_t i = 0; i < word.size(); ++i) {
        const std::size_t at = range.begin + i;
        if (word[i] == ' ') out.append(mark, words.text.span(at, at + 1));
        else out.append(words.text, at, at + 1);
      }
    });
    if (!splits) return;
    detail::split_words(words, SplitBehavior::merged_with_next, false,
                        [&](std::string_view text, auto visit) { detail::find_string(text, mark, visit); });
  };
}

}  // namespace pre_tokenizers
}  // namespace calm::text
