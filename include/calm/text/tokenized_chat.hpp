/// \file  What a chat tokenizer hands on: tokens, and which of them are to be learned.
#pragma once

#include <cstddef>
#include <vector>

#include "calm/tensor/dtype.hpp"

namespace calm::text {

/// A chat in tokens, and which of them the assistant says: what a model is to learn from it.
struct TokenizedChat {
  struct Range {
    std::size_t begin = 0, end = 0;  ///< in tokens; at least one
    friend bool operator==(const Range&, const Range&) = default;
  };

  std::vector<Index> tokens{};
  std::vector<Range> answers{};  ///< in order, none touching another's tokens
};

}  // namespace calm::text
