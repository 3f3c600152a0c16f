/// \file  Rows of a table by token.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include "calm/tensor/cpu/index.hpp"
#include "calm/tensor/ops/axes.hpp"
#include "calm/tensor/ops/check.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

/// Whether `embedding(tokens, table)` is defined: indices, a table of two static axes, one device.
template <class Tokens, class Table>
concept Embeddable = detail::is_tensor<Tokens> && Operand<Table> &&
                     std::is_same_v<typename Tokens::value_type, Index> && same_device<Tokens, ValueOf<Table>> &&
                     ValueOf<Table>::rank == 2 && ValueOf<Table>::shape_type::dynamic_rank == 0;

namespace detail {

/// Throws unless each of `tokens` is below `vocabulary`.
template <class Tokens>
void check_tokens(const Tokens& tokens, std::size_t vocabulary) {
  const std::size_t bad = kernel::first_outside(typename Tokens::device{}, tokens.size(), tokens.data(), vocabulary);
  require(bad == tokens.size(), [&] {
    return "calm::embedding: token " + std::to_string(tokens[bad]) + " at " + place(tokens, bad) +
           " is outside the vocabulary of " + std::to_string(vocabulary);
  });
}

template <class Tokens, class Table>
struct EmbeddingNode {
  Tokens tokens;
  Slot table_slot;

  void backward(Tape<typename Table::device>& tape, Slot out) {
    using T = typename Table::value_type;
    kernel::scatter_rows(typename Table::device{}, tokens.size(), LastAxisOf<Table>::extent, tokens.data(),
                         tape.template incoming<T>(out), tape.template gradient<T>(table_slot));
  }
};

}  // namespace detail

/// The rows of `table` that `tokens` name.   tokens: [...] of Index, table: [Vocab, Hidden] -> [..., Hidden]
///
/// Throws `Error` for a token outside the vocabulary.
template <class Tokens, Operand Table>
auto embedding(const Tokens& tokens, const Table& table) {
  static_assert(Embeddable<Tokens, Table>,
                "calm::embedding: expects a Tensor of Index and a table of two static axes on the same device");
  if constexpr (Embeddable<Tokens, Table>) {
    using Rows = ValueOf<Table>;
    using Out = detail::WithAppended<Rows, Tokens, LastAxisOf<Rows>>;
    detail::check_tokens(tokens, AxisOf<Rows, 0>::extent);
    Out y(Out::shape_type::from(tokens.shape().dynamic_extents()));
    kernel::take_rows(typename Rows::device{}, tokens.size(), LastAxisOf<Rows>::extent, 0, tokens.data(),
                      value(table).data(), y.mutable_data());
    if constexpr (is_var<Table>) {
      return record(tape_of(table), std::move(y),
                    [&] { return detail::EmbeddingNode<Tokens, Rows>{tokens, slot_of(table)}; });
    } else {
      return y;
    }
  }
}

}  // namespace calm
