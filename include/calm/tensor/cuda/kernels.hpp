/// \file  The GPU's kernels, by the names and with the meaning of those in tensor/cpu/.
///
/// What stands here are launchers, so that a user's compiler needs nothing of CUDA. They are defined, for float, double
/// and bf16, by the target calm::cuda, those of products, activations, arithmetic and sums for f16 too; they return
/// before their kernels have run.
#pragma once

#include <cstddef>
#include <type_traits>

#include "calm/tensor/arguments.hpp"
#include "calm/tensor/device.hpp"
#include "calm/tensor/dtype.hpp"
#include "calm/tensor/philox.hpp"

namespace calm::kernel {

// Memory. The two copies between host and device wait: the one for the host's memory to be read, the other for the
// elements to be computed.
template <class T>
void fill(Cuda, std::size_t n, T value, T* y);
template <class T, class U>
void copy(Cuda, std::size_t n, const T* x, U* y);
template <class T>
void add_to(Cuda, std::size_t n, const T* x, T* y);
void copy_from_host(Cuda, std::size_t bytes, const void* from, void* to);
void copy_to_host(Cuda, std::size_t bytes, const void* from, void* to);
template <class T, class U>
void cast(Cuda, std::size_t n, const T* x, U* y);

// Elementwise arithmetic.
template <class T>
void add_scaled(Cuda, std::size_t n, std::size_t cols, const T* x, const T* y, Accumulator<T> factor, T* z);
template <class T>
void multiply(Cuda, std::size_t n, std::size_t cols, const T* x, const T* y, T* z);
template <class T>
void multiply_add(Cuda, std::size_t n, std::size_t cols, const T* x, const T* y, T* z);
template <class T>
void axpy(Cuda, std::size_t n, Accumulator<T> factor, const T* x, T* y);
template <class T>
void axpy_by(Cuda, std::size_t n, const T* factor, const T* x, T* y);
template <class T>
void scale(Cuda, std::size_t n, Accumulator<T> factor, const T* x, T* y);
template <class T>
void multiply_rows(Cuda, RowFactors e, const T* x, const T* factor, T* z);
template <class T>
void multiply_rows_add(Cuda, RowFactors e, const T* x, const T* factor, T* z);
template <class T>
void dropout(Cuda, std::size_t n, float p, RandomKey key, const T* x, T* y);
template <class T>
void dropout_backward(Cuda, std::size_t n, float p, RandomKey key, const T* dy, T* dx);

// Activations.
template <class T>
void activate(Cuda, Activation kind, std::size_t n, const T* x, T* y);
template <class T>
void activate_backward(Cuda, Activation kind, std::size_t n, const T* x, const T* dy, T* dx, bool add = true);
template <class T>
void gate(Cuda, Activation kind, std::size_t n, const T* gate, const T* up, T* y);
template <class T>
void gate_backward(Cuda, Activation kind, std::size_t n, const T* gate, const T* up, const T* dy, T* dgate);
/// Both gradients in one pass; each is added to what stands there, or written.
template <class T>
void gate_backward(Cuda, Activation kind, std::size_t n, const T* gate, const T* up, const T* dy, T* dgate,
                   bool adds_gate, T* dup, bool adds_up);
template <class T>
void gate_backward_up(Cuda, Activation kind, std::size_t n, const T* gate, const T* dy, T* dup);
template <class T>
void gate_pairs(Cuda, Activation kind, std::size_t rows, std::size_t cols, const T* both, T* y);
template <class T>
void gate_pairs_backward(Cuda, Activation kind, std::size_t rows, std::size_t cols, const T* both, const T* dy,
                         T* dboth);
template <class T>
void squash(Cuda, Squash kind, std::size_t n, const T* x, T* y);
template <class T>
void squash_backward(Cuda, Squash kind, std::size_t n, const T* y, const T* dy, T* dx);

// Sums along axes.
template <class T>
void sum_rows(Cuda, std::size_t rows, std::size_t cols, const T* x, T* sum);
template <class T>
void sum_axis(Cuda, std::size_t outer, std::size_t n, std::size_t inner, Accumulator<T> factor, const T* x, T* y);
template <class T>
void spread_axis(Cuda, std::size_t outer, std::size_t n, std::size_t inner, Accumulator<T> factor, const T* dy, T* dx);
template <class T>
void dot_rows(Cuda, RowFactors e, const T* x, const T* y, T* sum);

// Rows: softmax and norms.
template <class T>
void softmax(Cuda, std::size_t rows, std::size_t cols, const T* x, T* y);
template <class T>
void softmax_backward(Cuda, std::size_t rows, std::size_t cols, const T* y, const T* dy, T* dx);
template <class T>
void rms_norm(Cuda, std::size_t rows, std::size_t cols, std::type_identity_t<NormOperand<T>> x, const T* weight,
              Accumulator<T> offset, double eps, T* y, Accumulator<T>* inverse_rms);
template <class T>
void rms_norm_backward(Cuda, std::size_t rows, std::size_t cols, const T* x, const T* weight, Accumulator<T> offset,
                       const Accumulator<T>* inverse_rms, const T* dy, T* dx, const std::type_identity_t<T>* before);
template <class T>
void layer_norm(Cuda, std::size_t rows, std::size_t cols, std::type_identity_t<NormOperand<T>> x, const T* weight,
                const T* bias, double eps, T* y, Accumulator<T>* statistics);
template <class T>
void layer_norm_backward(Cuda, std::size_t rows, std::size_t cols, const T* x, const T* weight,
                         const Accumulator<T>* statistics, const T* dy, T* dx, const std::type_identity_t<T>* before);
template <class T>
void norm_weight_gradient(Cuda, std::size_t rows, std::size_t cols, const T* x, const Accumulator<T>* mean,
                          const Accumulator<T>* s, const T* dy, T* dweight);

// Rotary positions. `frequency` is the host's.
template <class A>
void rotations(Cuda, std::size_t n, std::size_t width, const double* frequency, const Index* position, A* table);
template <class T>
void rope(Cuda, std::size_t n, std::size_t heads, std::size_t width, std::size_t turned, bool interleaved,
          const Accumulator<T>* table, const T* x, T* y);
template <class T>
void rope_backward(Cuda, std::size_t n, std::size_t heads, std::size_t width, std::size_t turned, bool interleaved,
                   const Accumulator<T>* table, const T* dy, T* dx, bool add = true);

// Rows by index. Indices are shared memory (Place), so the host checks them.
std::size_t first_outside(Cuda, std::size_t n, const Index* index, std::size_t bound);
std::size_t first_beyond(Cuda, std::size_t n, const Index* index, std::size_t bound);
template <class T>
void take_rows(Cuda, std::size_t n, std::size_t cols, std::size_t step, const Index* index, const T* x, T* y);
template <class T>
void put_rows(Cuda, std::size_t n, std::size_t cols, std::size_t step, const Index* index, const T* dy, T* dx);
template <class T>
void pick_rows(Cuda, std::size_t n, std::size_t group, std::size_t cols, std::size_t step, const Index* index,
               const T* x, T* y);
template <class T>
void scatter_rows(Cuda, std::size_t n, std::size_t cols, const Index* index, const T* dy, T* dtable);
template <class T, class U>
void keep_rows(Cuda, std::size_t batch, std::size_t time, std::size_t capacity, std::size_t cols, const Index* position,
               const Index* end, const T* fresh, U* rows);

/// best[r] = the place of the largest number of row r, the first of equals, in memory that the host reads.
template <class T>
void argmax_rows(Cuda, std::size_t rows, std::size_t cols, const T* x, Index* best);
/// drawn[r] = what draws[r] draws from row r, which has its largest number at best[r]. All three arrays are in memory
/// that the host reads; which passes are launched is decided by what stands in `draws` at the call, so what is recorded
/// serves draws that want no top-k or top-p where none of these did.
template <class T>
void draw_rows(Cuda, std::size_t rows, std::size_t cols, const T* x, const Index* best, const Draw* draws,
               Drawn* drawn);

// Several arrays at once. The lists of pointers are the host's.
template <class T>
void mix_weights(Cuda, std::size_t n, const T* w, Accumulator<T>* p);
template <class T>
void mix(Cuda, std::size_t n, std::size_t size, const T* const* x, const Accumulator<T>* p, T* z);
template <class T>
void mix_backward(Cuda, std::size_t n, std::size_t size, const Accumulator<T>* p, const T* dz, T* const* dx);
template <class T>
void mix_weights_backward(Cuda, std::size_t n, std::size_t size, const T* const* x, const Accumulator<T>* p,
                          const T* dz, T* dw);
template <class T>
void symmetric_sum(Cuda, std::size_t n, std::size_t size, const T* const* x, T* y);
template <class T>
void share(Cuda, const Rivals<T>& r, std::size_t i, T* y);
template <class T>
void share_backward(Cuda, const Rivals<T>& r, std::size_t i, const T* dy, T* const* d_scores, T* d_null);

// Attention. rule.slope is the host's.
template <class T>
void attention(Cuda, const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule, const T* q, const T* k,
               const T* v, const T* sink, T* out, Accumulator<T>* lse);
template <class T>
void attention_lse(Cuda, const AttentionExtents& e, const Accumulator<T>* lse, T* result);
template <class T>
void attention_backward(Cuda, const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule, const T* q,
                        const T* k, const T* v, const T* out, const Accumulator<T>* lse, const T* d_out, T* dq, T* dk,
                        T* dv, const T* d_lse = nullptr);
template <class T>
void attention_sink_backward(Cuda, const AttentionExtents& e, const T* sink, const T* out, const Accumulator<T>* lse,
                             const T* d_out, T* d_sink);

// Products. Sums are kept in fp32, of doubles in fp64; the fourth adds bf16 products to float.
void gemm(Cuda, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, float alpha, MatrixRef<const float> a,
          MatrixRef<const float> b, bool accumulate, MatrixRef<float> c);
void gemm(Cuda, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, double alpha, MatrixRef<const double> a,
          MatrixRef<const double> b, bool accumulate, MatrixRef<double> c);
void gemm(Cuda, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, float alpha, MatrixRef<const bf16> a,
          MatrixRef<const bf16> b, bool accumulate, MatrixRef<bf16> c);
void gemm(Cuda, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, float alpha, MatrixRef<const bf16> a,
          MatrixRef<const bf16> b, bool accumulate, MatrixRef<float> c);
void gemm(Cuda, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, float alpha, MatrixRef<const f16> a,
          MatrixRef<const f16> b, bool accumulate, MatrixRef<f16> c);
/// A product with what follows it as one kernel; false, and nothing done, where cuBLASLt has none.
template <class T>
bool fused_gemm(Cuda, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, MatrixRef<const T> a,
                MatrixRef<const T> b, bool accumulate, MatrixRef<T> c, const Epilogue<T>& e);

/// R: T, or its type of sums.
template <class T, class R>
void linear_cross_entropy(Cuda, std::size_t count, std::size_t width, std::size_t vocab, const Index* rows,
                          const Index* wanted, const T* x, const T* w, R* dx, Accumulator<T>* dw, double cap, R* loss);

// Optimizers. `sum` is in the device's memory.
template <class T>
void sum_of_squares(Cuda, std::size_t n, const T* x, double* sum);
/// sums[i] = the same of array i, whose elements are T; the list is the host's.
template <class T>
void sums_of_squares(Cuda, std::size_t count, const Elements* x, double* sums);
template <class T, class A>
void adamw(Cuda, std::size_t n, const AdamWStep<A>& s, const T* g, A* m, A* v, A* master, T* x);
/// The same of each parameter of a list of the host's, whose elements are T.
template <class T, class A>
void adamw(Cuda, std::size_t count, const AdamWOperands<A>* list);
template <class T, class A>
void adafactor(Cuda, const Matrices& shape, const AdafactorStep& s, const T* g, A* rows, A* columns, A* master, T* x);

}  // namespace calm::kernel
