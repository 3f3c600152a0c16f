/// \file  Retokenizer: how an augment with a tokenizer of its own follows the anchor's text.
///
/// Where the anchor stands behind some of its tokens, it knows these and no more, so what it sees of the augment is the
/// augment's reading of just that text. A later byte may change the last tokens of a reading ("hel" is one token,
/// "hello" another), so readings fork: beside the whole text's tokens stand the few that only a prefix has.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "calm/compose/bridge_config.hpp"
#include "calm/compose/sight.hpp"
#include "calm/nn/layout.hpp"
#include "calm/nn/transformer.hpp"

namespace calm {

/// One text as the augment reads it while the anchor's tokens come. What is read depends on the tokens so far and, for
/// a prompt, on where it ends; never on what comes later.
class RetokenizedText {
 public:
  virtual ~RetokenizedText() = default;

  /// The augment's tokens of the text so far.
  const std::vector<Index>& tokens() const { return tokens_; }

  /// Reads the prompt, all of it at once. Returns for each of its tokens how many of `tokens()` end no later than it;
  /// they never become fewer, and behind the last all of them do. An empty prompt begins a text, too.
  virtual std::vector<Index> begin(std::span<const Index> prompt) = 0;
  /// One more token of the anchor. Returns how many of `tokens()` stay as they were; the others are new.
  virtual std::size_t push(Index token) = 0;

  virtual std::unique_ptr<RetokenizedText> clone() const = 0;

 protected:
  std::vector<Index> tokens_;
};

/// Two tokenizers, as the source of texts. Nothing of it changes, so threads may share it.
class Retokenizer {
 public:
  virtual ~Retokenizer() = default;
  virtual std::unique_ptr<RetokenizedText> text() const = 0;
};

namespace detail {

/// The readings of one text: a tree of the augment's tokens, in which each place of the anchor's text has a path from
/// the root.
class ReadingTree {
 public:
  struct Node {
    Index token, parent, depth;
  };
  static constexpr Index root = -1;

  /// Reads a text of the anchor, its first `prompt` tokens as the prompt.
  ReadingTree(const Retokenizer& retokenizer, std::span<const Index> anchor, std::size_t prompt, BridgeMask mask) {
    const auto text = retokenizer.text();
    const std::vector<Index> ends = text->begin(anchor.first(prompt));
    extend(*text, 0);
    const std::vector<Index> of_prompt = path_;
    for (std::size_t t = 0; t < prompt; ++t) {
      const Index own = ends[t], seen = mask == BridgeMask::causal ? own : last();
      places_.push_back({seen == 0 ? root : of_prompt[static_cast<std::size_t>(seen - 1)], own - 1});
    }
    for (std::size_t t = prompt; t < anchor.size(); ++t) {
      if (mask == BridgeMask::encoder) {  // stands as many places behind the prompt as the anchor has tokens
        places_.push_back({leaf(), last() + static_cast<Index>(t - prompt)});
        continue;
      }
      extend(*text, text->push(anchor[t]));
      places_.push_back({leaf(), last() - 1});
    }
  }

  /// What a place of the anchor's text sees: the path to `leaf`; and where it stands among the tokens of that path.
  struct Place {
    Index leaf, center;
  };
  const std::vector<Place>& places() const { return places_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  /// The nodes of the last reading, from its first token on.
  const std::vector<Index>& path() const { return path_; }

 private:
  Index last() const { return static_cast<Index>(path_.size()); }
  Index leaf() const { return path_.empty() ? root : path_.back(); }

  void extend(const RetokenizedText& text, std::size_t kept) {
    path_.resize(kept);
    for (std::size_t i = kept; i < text.tokens().size(); ++i) {
      nodes_.push_back({text.tokens()[i], leaf(), static_cast<Index>(i)});
      path_.push_back(static_cast<Index>(nodes_.size() - 1));
    }
  }

  std::vector<Node> nodes_;
  std::vector<Index> path_;
  std::vector<Place> places_;
};

/// Where one token of the augment stands, and what it sees: [begin, end) but for [hole_begin, hole_end).
struct ForkedColumn {
  Index token, position, begin, end, hole_begin, hole_end;
};

/// The row of the augment's tokens beside one row of the anchor's.
class ForkedRow {
 public:
  /// Appends the readings of one text, the last one first, forks behind it. `see(t, column, center)` is told of each
  /// place of the anchor's text the column that it sees as the last, or null, and where it stands.
  template <class See>
  void add(const ReadingTree& tree, const See& see) {
    const Index base = static_cast<Index>(columns_.size());
    column_of_.assign(tree.nodes().size(), -1);
    for (const Index node : tree.path()) append(tree, node, base, 0, 0);
    // From the last place back: the longer fork comes first, and shorter ones are found in it.
    for (std::size_t t = tree.places().size(); t-- > 0;) {
      const auto [leaf, center] = tree.places()[t];
      if (leaf == ReadingTree::root) {
        see(t, nullptr, center);
        continue;
      }
      if (column_of_[static_cast<std::size_t>(leaf)] < 0) fork(tree, leaf, base);
      see(t, &columns_[static_cast<std::size_t>(column_of_[static_cast<std::size_t>(leaf)])], base + center);
    }
  }

  const std::vector<ForkedColumn>& columns() const { return columns_; }

 private:
  void append(const ReadingTree& tree, Index node, Index base, Index hole_begin, Index hole_end) {
    const auto& n = tree.nodes()[static_cast<std::size_t>(node)];
    const Index column = static_cast<Index>(columns_.size());
    columns_.push_back({n.token, n.depth, base, column + 1, hole_begin, hole_end});
    column_of_[static_cast<std::size_t>(node)] = column;
  }

  /// Lays out what the path to `leaf` has beside the last reading.
  void fork(const ReadingTree& tree, Index leaf, Index base) {
    std::vector<Index> chain;
    Index node = leaf;
    const Index main_end = base + static_cast<Index>(tree.path().size());
    const auto is_main = [&](Index n) {
      const Index column = column_of_[static_cast<std::size_t>(n)];
      return column >= 0 && column < main_end;
    };
    for (; node != ReadingTree::root && !is_main(node); node = tree.nodes()[static_cast<std::size_t>(node)].parent) {
      chain.push_back(node);
    }
    const Index hole_begin = node == ReadingTree::root ? base : column_of_[static_cast<std::size_t>(node)] + 1;
    const Index hole_end = static_cast<Index>(columns_.size());
    for (std::size_t i = chain.size(); i-- > 0;) append(tree, chain[i], base, hole_begin, hole_end);
  }

  std::vector<ForkedColumn> columns_;
  std::vector<Index> column_of_;
};

/// Intervals of a batch, empty, with room for holes.
template <class Device>
KeyIntervals<Device> empty_intervals(const Shape<Batch, Time>& shape) {
  using Bounds = typename KeyIntervals<Device>::Bounds;
  return {.end = Bounds::zeros(shape), .begin = Bounds::zeros(shape), .center = Bounds::zeros(shape),
          .hole_begin = Bounds::zeros(shape), .hole_end = Bounds::zeros(shape)};
}
template <class Device>
void set_interval(KeyIntervals<Device>& to, std::size_t at, const ForkedColumn& column, Index center) {
  to.begin.mutable_data()[at] = column.begin;
  to.end.mutable_data()[at] = column.end;
  to.center.mutable_data()[at] = center;
  to.hole_begin.mutable_data()[at] = column.hole_begin;
  to.hole_end.mutable_data()[at] = column.hole_end;
}

/// A batch of whole texts as an augment with a tokenizer of its own reads it.
template <class Device>
struct RetokenizedBatch {
  nn::Tokens<Device> tokens;  ///< of the augment, [Batch, its Time]
  nn::Layout<Device> layout;  ///< of these
  KeyIntervals<Device> seen;  ///< which of these each token of the anchor sees, [Batch, Time]
};

/// How many of a text's first tokens were given.
template <class Device>
std::size_t prompt_of(const nn::Layout<Device>& layout, std::size_t at, std::size_t length, std::size_t unknown) {
  if (!layout.prompt.defined()) return unknown;
  return std::min(static_cast<std::size_t>(layout.prompt[at]), length);
}

/// Throws `Error` if a text begins in its middle: then what the augment read of it before is not known.
template <class Device>
RetokenizedBatch<Device> retokenize(const Retokenizer& retokenizer, const nn::Tokens<Device>& tokens,
                                    const nn::Layout<Device>& layout, BridgeMask mask) {
  if (mask != BridgeMask::causal) require_prompts(layout);
  const std::size_t batch = layout.batch(), time = layout.time();
  RetokenizedBatch<Device> out{.tokens = {}, .layout = {}, .seen = empty_intervals<Device>(layout.position.shape())};
  std::vector<ForkedRow> rows(batch);
  nn::for_each_text("calm::Retokenized", layout, [&](std::size_t at, std::size_t length) {
    const std::span text(tokens.data() + at, length);
    const ReadingTree tree(retokenizer, text, prompt_of(layout, at, length, 0), mask);
    rows[at / time].add(tree, [&](std::size_t t, const ForkedColumn* column, Index center) {
      if (column) set_interval(out.seen, at + t, *column, center);
    });
  });
  std::size_t columns = 1;
  for (const ForkedRow& row : rows) columns = std::max(columns, row.columns().size());
  const Shape<Batch, Time> shape(batch, columns);
  out.tokens = nn::Tokens<Device>::zeros(shape);
  out.layout.position = nn::Tokens<Device>::zeros(shape);
  out.layout.keys = empty_intervals<Device>(shape);
  for (std::size_t b = 0; b < batch; ++b) {
    for (std::size_t c = 0; c < rows[b].columns().size(); ++c) {
      const ForkedColumn& column = rows[b].columns()[c];
      out.tokens.mutable_data()[b * columns + c] = column.token;
      out.layout.position.mutable_data()[b * columns + c] = column.position;
      set_interval(out.layout.keys, b * columns + c, column, column.begin + column.position);
    }
  }
  return out;
}

}  // namespace detail
}  // namespace calm
