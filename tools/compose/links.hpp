/// \file  Which layers are linked, as said on a command line.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/compose/layer_map.hpp"
#include "calm/tensor/error.hpp"

namespace calm::programs {

/// A link at run time: augment layer, anchor layer.
using LinkPair = std::pair<std::size_t, std::size_t>;

namespace detail {

[[noreturn]] inline void fail_links(std::string_view text, const std::string& what) {
  throw Error("--links " + std::string(text) + ": " + what);
}

/// The whole number that `text` is, all of it.
inline bool read_count(std::string_view text, std::size_t& number) {
  const auto end = text.data() + text.size();
  const auto [place, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && place == end && text.size() <= 9;  // no layer has a longer number
}

inline std::vector<LinkPair> uniform_links(std::size_t n, std::size_t augment_depth, std::size_t anchor_depth) {
  std::vector<LinkPair> links;
  for (std::size_t i = 0; i < n; ++i)
    links.emplace_back(calm::detail::segment_end(i, n, augment_depth), calm::detail::segment_end(i, n, anchor_depth));
  return links;
}

inline LinkPair read_link(std::string_view all, std::string_view text, std::size_t augment_depth,
                          std::size_t anchor_depth) {
  const std::size_t middle = text.find_first_of(">:");
  LinkPair link;
  if (middle == text.npos || !read_count(text.substr(0, middle), link.first) ||
      !read_count(text.substr(middle + 1), link.second))
    fail_links(all, "expected auto, a number of links, or pairs of layers as 1:2,3:5 (augment:anchor, from 0)");
  const auto check = [&](const char* model, std::size_t layer, std::size_t depth) {
    if (layer >= depth)
      fail_links(all, "the " + std::string(model) + " has no layer " + std::to_string(layer) + "; its " +
                          std::to_string(depth) + " layers are numbered from 0");
  };
  check("augment", link.first, augment_depth);
  check("anchor", link.second, anchor_depth);
  return link;
}

}  // namespace detail

/// The links that `text` says, in LayerMap's order:
///
///     auto           every fourth layer of the augment, the anchor's gap in proportion (the paper's rule, §4); but
///                    three where that gives less, or as many as the models have layers
///     5              so many, at a uniform gap in both models
///     1:2,3:5        these pairs, augment layer : anchor layer (or '>' for ':')
///
/// Throws `Error` for anything else, for layers that a model does not have, and for a link that stands there twice.
inline std::vector<LinkPair> parse_links(std::string_view text, std::size_t augment_depth, std::size_t anchor_depth) {
  const std::size_t most = std::min(augment_depth, anchor_depth);
  if (text == "auto")
    return detail::uniform_links(std::min(most, std::max<std::size_t>((augment_depth + 3) / 4, 3)), augment_depth,
                                 anchor_depth);
  if (std::size_t n = 0; detail::read_count(text, n)) {
    if (n == 0 || n > most)
      detail::fail_links(text, "expected 1 to " + std::to_string(most) + " links between models of " +
                                   std::to_string(augment_depth) + " and " + std::to_string(anchor_depth) + " layers");
    return detail::uniform_links(n, augment_depth, anchor_depth);
  }
  std::vector<LinkPair> links;
  for (std::string_view left = text;;) {
    const std::size_t comma = left.find(',');
    links.push_back(detail::read_link(text, left.substr(0, comma), augment_depth, anchor_depth));
    if (comma == left.npos) break;
    left.remove_prefix(comma + 1);
  }
  std::sort(links.begin(), links.end(), [](const LinkPair& a, const LinkPair& b) {
    return std::pair(a.second, a.first) < std::pair(b.second, b.first);
  });
  if (std::adjacent_find(links.begin(), links.end()) != links.end())
    detail::fail_links(text, "one link stands there twice");
  return links;
}

/// As `parse_links` reads them: "1:2,3:5".
inline std::string links_text(const std::vector<LinkPair>& links) {
  std::string text;
  for (const auto& [augment, anchor] : links) {
    if (!text.empty()) text += ',';
    text.append(std::to_string(augment)).append(":").append(std::to_string(anchor));
  }
  return text;
}

}  // namespace calm::programs
