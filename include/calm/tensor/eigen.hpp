/// \file  Tensors as matrices of Eigen's and back, for programs that use Eigen; calm.hpp does not bring it.
#pragma once

#include <string>
#include <type_traits>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#include <Eigen/Core>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include "calm/tensor/tensor.hpp"

namespace calm {

namespace detail {

/// The columns are known when compiled if the last axis's extent is.
template <class X>
using EigenMatrix =
    Eigen::Matrix<typename X::value_type, Eigen::Dynamic,
                  LastAxisOf<X>::extent == dynamic ? Eigen::Dynamic : static_cast<int>(LastAxisOf<X>::extent),
                  LastAxisOf<X>::extent == 1 ? Eigen::ColMajor : Eigen::RowMajor>;

template <class T>
concept EigenScalar = std::is_floating_point_v<T> || std::is_integral_v<T>;

}  // namespace detail

/// x's own memory as a matrix: a row for each index of all axes but the last.   x: [..., Last] -> rows × Last
///
/// It is valid as long as `x` holds the memory.
template <detail::EigenScalar T, class... A>
Eigen::Map<const detail::EigenMatrix<Tensor<T, Cpu, A...>>> eigen_matrix(const Tensor<T, Cpu, A...>& x) {
  return {x.data(), static_cast<Eigen::Index>(rows_of(x)), static_cast<Eigen::Index>(x.extent(sizeof...(A) - 1))};
}
template <class T, class... A>
void eigen_matrix(const Tensor<T, Cpu, A...>&& x) = delete;  // its memory is about to go

/// The same, to be written. Throws `Error` if another handle holds the memory, as `mutable_data` does.
template <detail::EigenScalar T, class... A>
Eigen::Map<detail::EigenMatrix<Tensor<T, Cpu, A...>>> mutable_eigen_matrix(Tensor<T, Cpu, A...>& x) {
  return {x.mutable_data(), static_cast<Eigen::Index>(rows_of(x)),
          static_cast<Eigen::Index>(x.extent(sizeof...(A) - 1))};
}

/// A tensor of type `X` with the elements of `m`, whose rows and columns must be those of `shape` as `eigen_matrix`
/// counts them. Throws `Error` otherwise.
template <class X, class M>
X from_eigen(typename X::shape_type shape, const Eigen::MatrixBase<M>& m) {
  X x(shape);
  auto to = mutable_eigen_matrix(x);
  detail::require(m.rows() == to.rows() && m.cols() == to.cols(), [&] {
    const auto text = [](const auto& matrix) {
      return std::to_string(matrix.rows()) + " x " + std::to_string(matrix.cols());
    };
    return "calm::from_eigen: expected a matrix of " + text(to) + ", found one of " + text(m);
  });
  to = m;
  return x;
}

}  // namespace calm
