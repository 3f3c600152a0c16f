/// \file  Rows of numbers on their way into a safetensors file.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "calm/io/safetensors.hpp"

namespace calm::convert {

struct Rows {
  static constexpr std::size_t extent = dynamic;
};
struct Columns {
  static constexpr std::size_t extent = dynamic;
};

/// Puts [rows, columns] numbers into `writer`; row r of the file is row `from(r)` of `x`.
template <class F>
void add_rows(io::SafetensorsWriter& writer, std::string name, const float* x, std::size_t rows, std::size_t columns,
              F from) {
  Tensor<float, Cpu, Rows, Columns> t(Shape<Rows, Columns>(rows, columns));
  float* to = t.mutable_data();
  for (std::size_t r = 0; r < rows; ++r) std::copy_n(x + from(r) * columns, columns, to + r * columns);
  writer.add(std::move(name), t);
}
inline void add_rows(io::SafetensorsWriter& writer, std::string name, const float* x, std::size_t rows,
                     std::size_t columns) {
  add_rows(writer, std::move(name), x, rows, columns, [](std::size_t r) { return r; });
}

inline void add_vector(io::SafetensorsWriter& writer, std::string name, const float* x, std::size_t n) {
  writer.add(std::move(name), Tensor<float, Cpu, Rows>::from(Shape<Rows>(n), x));
}

/// As `add_rows`, transposed: [columns, rows] in the file.
inline void add_transposed(io::SafetensorsWriter& writer, std::string name, const float* x, std::size_t rows,
                           std::size_t columns) {
  Tensor<float, Cpu, Rows, Columns> t(Shape<Rows, Columns>(columns, rows));
  float* to = t.mutable_data();
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) to[c * rows + r] = x[r * columns + c];
  }
  writer.add(std::move(name), t);
}

}  // namespace calm::convert
