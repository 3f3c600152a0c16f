/// \file  Single operations of a training step for bench/peers/run, in fp32 or bf16:   ops_peer fp32|bf16
///
/// Shapes are those of the composition beside it: 2048 rows, 576 wide, 1536 inside the MLP; 9 heads of 64 on 3 key
/// heads, 4 texts of 512; 49 152 tokens. "…_gradient" is forward and backward, the gradient of the input alone, from
/// zero, as a frozen model needs it.
#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

#include <calm/tensor.hpp>

#include "calm/tensor/cpu/adamw.hpp"
#include "calm/tensor/cpu/attention_backward.hpp"
#include "calm/tensor/cpu/norm.hpp"
#include "serve.hpp"

namespace {

using calm::Cpu, calm::Index;
namespace kernel = calm::kernel;
constexpr std::size_t rows = 2048, width = 576, inner = 1536, vocab = 49152;
constexpr kernel::AttentionExtents texts{4, 512, 512, 9, 3, 64};

/// Memory as tensors have it.
template <class T>
struct Pooled {
  using value_type = T;
  T* allocate(std::size_t n) { return reinterpret_cast<T*>(calm::CpuPool::instance().take(n * sizeof(T)) + 1); }
  void deallocate(T* p, std::size_t) {
    calm::CpuPool::instance().give(reinterpret_cast<calm::detail::BlockHeader*>(p) - 1);
  }
  bool operator==(const Pooled&) const = default;
};
template <class T>
using Numbers = std::vector<T, Pooled<T>>;

/// Element i is ((i + seed) · 7919 mod 2048) / 1024 - 1.
template <class T>
Numbers<T> numbers(std::size_t n, std::size_t seed) {
  Numbers<T> x(n);
  for (std::size_t i = 0; i < n; ++i)
    x[i] = static_cast<T>(static_cast<float>((i + seed) * 7919 % 2048) / 1024.0f - 1.0f);
  return x;
}
template <class T>
double sum(const Numbers<T>& x) {
  double total = 0;
  for (const T& value : x) total += std::abs(static_cast<double>(static_cast<float>(value)));
  return total / static_cast<double>(x.size());
}
/// What f took, `count` times. Before that it works untimed for a while: after a pause, a processor may need
/// milliseconds to wake, as long as the shortest of these take.
template <class F>
bench::Stopwatch::Taken repeat(const F& f, std::size_t count = 20) {
  for (const bench::Stopwatch warm; warm.read().seconds < 0.05;) f();
  const bench::Stopwatch watch;
  for (std::size_t i = 0; i < count; ++i) f();
  return watch.read();
}

struct Width {
  static constexpr std::size_t extent = width;
};
struct Vocab {
  static constexpr std::size_t extent = vocab;
};

template <class T>
class Ops {
  using A = calm::Accumulator<T>;

 public:
  bench::Answer rms_norm() {
    const auto taken = repeat([&] { forward_norm(nullptr); });
    return {sum(y_), taken};
  }
  bench::Answer rms_norm_gradient() {
    const auto taken = repeat([&] {
      forward_norm(statistics_.data());
      kernel::rms_norm_backward(Cpu{}, rows, width, x_.data(), weight_.data(), A(0), statistics_.data(), x_.data(),
                                dx_.data(), nullptr);
    });
    return {sum(dx_), taken};
  }
  bench::Answer layer_norm() {
    const auto taken = repeat([&] { forward_layer_norm(nullptr); });
    return {sum(y_), taken};
  }
  bench::Answer layer_norm_gradient() {
    const auto taken = repeat([&] {
      forward_layer_norm(statistics_.data());
      kernel::layer_norm_backward(Cpu{}, rows, width, x_.data(), weight_.data(), statistics_.data(),
                                  weight_rows_.data(), dx_.data(), nullptr);
    });
    return {sum(dx_), taken};
  }
  bench::Answer swiglu() {
    const auto taken = repeat([&] {
      kernel::gate(Cpu{}, kernel::Activation::silu, rows * inner, gate_.data(), up_.data(), product_.data());
    });
    return {sum(product_), taken};
  }
  bench::Answer swiglu_gradient() {
    const auto taken = repeat([&] {
      constexpr std::size_t n = rows * inner;
      kernel::gate(Cpu{}, kernel::Activation::silu, n, gate_.data(), up_.data(), product_.data());
      kernel::gate_backward(Cpu{}, kernel::Activation::silu, n, gate_.data(), up_.data(), product_.data(),
                            dgate_.data(), false, dup_.data(), false);
    });
    return {sum(dgate_) + sum(dup_), taken};
  }
  bench::Answer attention() {
    const auto taken = repeat([&] { attend(nullptr); });
    return {sum(out_), taken};
  }
  bench::Answer attention_gradient() {
    const auto taken = repeat([&] {
      attend(lse_.data());
      for (auto* d : {&dq_, &dk_, &dv_}) kernel::fill(Cpu{}, d->size(), T{}, d->data());
      kernel::attention_backward(Cpu{}, texts, rule(), q_.data(), k_.data(), v_.data(), out_.data(), lse_.data(),
                                 q_.data(), dq_.data(), dk_.data(), dv_.data());
    });
    return {sum(dq_) + sum(dk_) + sum(dv_), taken};
  }
  /// Loss and gradient of 1024 rows, the projection included; once. In bf16 as a packed model has it: its table.
  bench::Answer cross_entropy_gradient() {
    using Rows = calm::Tensor<A, Cpu, calm::Batch, calm::Time, Width>;
    using Table = calm::Tensor<A, Cpu, Vocab, Width>;
    using Kept = std::conditional_t<std::is_same_v<T, A>, Table, calm::Packed<T, Table>>;
    static const Kept table(Table::from({}, numbers<A>(vocab * width, 1).data()));
    static calm::TrainableParameter<Rows> x = [&] {
      calm::TrainableParameter<Rows> p;
      p.assign(Rows::from(typename Rows::shape_type(1, 1024), numbers<A>(1024 * width, 1).data()));
      return p;
    }();
    const auto targets =
        calm::Tensor<Index, Cpu, calm::Batch, calm::Time>::full(calm::Shape<calm::Batch, calm::Time>(1, 1024), 7);
    double value = 0;
    const auto taken = repeat(
        [&] {
          calm::Tape<Cpu> tape;
          x.zero_gradient();
          const auto recording = tape.record();
          const auto loss = calm::linear_cross_entropy(x(), table, targets);
          value = static_cast<double>(static_cast<float>(loss.value[0]));
          calm::backward(loss);
        },
        1);
    return {value, taken};
  }
  /// 8 million parameters; in bf16 with their exact copies.
  bench::Answer adamw() {
    constexpr std::size_t n = std::size_t{8} << 20;
    static Numbers<T> x = numbers<T>(n, 3), g = numbers<T>(n, 4);
    static Numbers<A> m(n), v(n), master(numbers<A>(n, 3));
    const kernel::AdamWStep<A> step{1, A(0.9), A(0.999), A(1 - 1e-6), A(1e-3), A(0.0316), A(1e-8)};
    A* exact = std::is_same_v<T, A> ? nullptr : master.data();
    return {0, repeat([&] { kernel::adamw(Cpu{}, n, step, g.data(), m.data(), v.data(), exact, x.data()); }, 4)};
  }

 private:
  void forward_norm(A* statistics) {
    kernel::rms_norm(Cpu{}, rows, width, x_.data(), weight_.data(), A(0), 1e-5, y_.data(), statistics);
  }
  void forward_layer_norm(A* statistics) {
    kernel::layer_norm(Cpu{}, rows, width, x_.data(), weight_.data(), bias_.data(), 1e-5, y_.data(), statistics);
  }
  void attend(A* lse) {
    kernel::attention(Cpu{}, texts, rule(), q_.data(), k_.data(), v_.data(), static_cast<const T*>(nullptr),
                      out_.data(), lse);
  }
  kernel::AttentionRule<A> rule() const {
    kernel::AttentionRule<A> r{};
    r.end = end_.data();
    r.scale = A(0.125);
    return r;
  }

  Numbers<T> x_ = numbers<T>(rows * width, 1), weight_ = numbers<T>(width, 2), bias_ = numbers<T>(width, 3), y_ = x_,
             dx_ = x_, weight_rows_ = numbers<T>(rows * width, 5);
  Numbers<A> statistics_ = Numbers<A>(2 * rows);
  Numbers<T> gate_ = numbers<T>(rows * inner, 1), up_ = numbers<T>(rows * inner, 2), product_ = up_, dgate_ = up_,
             dup_ = up_;
  Numbers<T> q_ = numbers<T>(rows * width, 1), k_ = numbers<T>(rows * width / 3, 2),
             v_ = numbers<T>(rows * width / 3, 3), out_ = q_, dq_ = q_, dk_ = k_, dv_ = v_;
  Numbers<A> lse_ = Numbers<A>(rows * 9);
  std::vector<Index> end_ = [] {
    std::vector<Index> e;
    for (std::size_t i = 0; i < rows; ++i) e.push_back(static_cast<Index>(i % 512 + 1));
    return e;
  }();
};

template <class T>
void serve() {
  Ops<T> ops;
  bench::serve({{"rms_norm", [&] { return ops.rms_norm(); }},
                {"rms_norm_gradient", [&] { return ops.rms_norm_gradient(); }},
                {"layer_norm", [&] { return ops.layer_norm(); }},
                {"layer_norm_gradient", [&] { return ops.layer_norm_gradient(); }},
                {"swiglu", [&] { return ops.swiglu(); }},
                {"swiglu_gradient", [&] { return ops.swiglu_gradient(); }},
                {"attention", [&] { return ops.attention(); }},
                {"attention_gradient", [&] { return ops.attention_gradient(); }},
                {"cross_entropy_gradient", [&] { return ops.cross_entropy_gradient(); }},
                {"adamw", [&] { return ops.adamw(); }}});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "bf16")
    serve<calm::bf16>();
  else
    serve<float>();
}
