/// \file  Rows of a packed table by token.
#pragma once

#include <type_traits>

#include "calm/tensor/ops/axes.hpp"
#include "calm/tensor/ops/embedding.hpp"
#include "calm/tensor/packed_tensor.hpp"

namespace calm {

/// The rows of `table` that `tokens` name.   tokens: [...] of Index, table: [Vocab, Hidden] -> [..., Hidden]
///
/// Throws `Error` for a token outside the vocabulary.
template <class Tokens, PackedMatrix Table>
auto embedding(const Tokens& tokens, const Table& table) {
  static_assert(detail::is_tensor<Tokens> && std::is_same_v<typename Tokens::value_type, Index>,
                "calm::embedding: expects a Tensor of Index");
  using Rows = typename Table::tensor_type;
  using Out = detail::WithAppended<Rows, Tokens, LastAxisOf<Rows>>;
  detail::check_tokens(tokens, Table::out);
  Out y(Out::shape_type::from(tokens.shape().dynamic_extents()));
  kernel::unpack_rows<typename Table::stored_type>(typename Rows::device{}, tokens.size(), Table::in, tokens.data(),
                                                   table.data(), y.mutable_data());
  return y;
}

}  // namespace calm
