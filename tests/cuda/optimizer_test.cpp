// Optimizers on the GPU against the host: several steps of parameters of one, two and three axes.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/train/adafactor.hpp"
#include "calm/train/adamw.hpp"
#include "cuda/both.hpp"

using namespace calm;
using namespace calm::test;

namespace {

struct Some {
  static constexpr std::size_t extent = dynamic;
};
template <std::size_t N>
struct Of {
  static constexpr std::size_t extent = N;
};

template <class T, class Device>
struct Several {
  using device = Device;
  TrainableParameter<Tensor<T, Device, Of<70>>> vector;
  TrainableParameter<Tensor<T, Device, Of<33>, Of<70>>> matrix;
  TrainableParameter<Tensor<T, Device, Of<3>, Of<5>, Of<9>>> matrices;
  TrainableParameter<Tensor<T, Device, Of<6>>> untouched;  // no gradient arrives

  void visit(auto&& v) {
    v("vector", vector);
    v("matrix", matrix);
    v("matrices", matrices);
    v("untouched", untouched);
  }
};

template <class Device, class P>
void assign(P& parameter, std::uint64_t number) {
  const auto x = random_values<On<typename P::tensor_type, Cpu>>({}, number);
  parameter.assign(move_to<Device>(x).clone());
}

/// Gradients that are the numbers of `step`.
template <class T, class Device>
void differentiate(Several<T, Device>& m, std::uint64_t step) {
  Tape<Device> tape;
  const auto recording = tape.record();
  const auto part = [&](auto& p, std::uint64_t number) {
    using X = typename std::remove_cvref_t<decltype(p)>::tensor_type;
    return sum(p() * move_to<Device>(random_values<On<X, Cpu>>({}, 10 * step + number)));
  };
  backward(part(m.vector, 1) + part(m.matrix, 2) + part(m.matrices, 3));
}

/// Both modules, stepped side by side by optimizers that `make(module)` gives.
template <class T, class Make>
void check(const std::string& what, const Make& make) {
  Several<T, Cpu> host;
  Several<T, Cuda> gpu;
  const auto start = [&]<class Device>(Several<T, Device>& m) {
    assign<Device>(m.vector, 1);
    assign<Device>(m.matrix, 2);
    assign<Device>(m.matrices, 3);
    assign<Device>(m.untouched, 4);
  };
  start(host);
  start(gpu);
  auto on_cpu = make(host);
  auto on_cuda = make(gpu);
  for (std::uint64_t step = 1; step <= 4; ++step) {
    differentiate(host, step);
    differentiate(gpu, step);
    const double norm = on_cpu.clip_gradients(20);
    REQUIRE(on_cuda.clip_gradients(20) == Approx(norm).epsilon(10 * tolerance<T>));
    on_cpu.step(0.05);
    on_cuda.step(0.05);
    on_cpu.zero_gradients();
    on_cuda.zero_gradients();
    CAPTURE(step);
    require_close(what + ", vector", host.vector.value(), gpu.vector.value());
    require_close(what + ", matrix", host.matrix.value(), gpu.matrix.value());
    require_close(what + ", matrices", host.matrices.value(), gpu.matrices.value());
    require_close(what + ", untouched", host.untouched.value(), gpu.untouched.value());
  }
}

}  // namespace

TEST_CASE("cuda optimizers: AdamW") {
  const auto make = [](auto& m) { return train::AdamW(m, {.weight_decay = 0.1}); };
  check<float>("float", make);
  check<bf16>("bf16", make);
  check<double>("double", []<class M>(M& m) { return train::AdamW<double, typename M::device>(m); });
}

TEST_CASE("cuda optimizers: Adafactor") {
  for (const bool relative : {true, false}) {
    const train::AdafactorOptions options{.clip_threshold = 0.7, .relative_step = relative, .weight_decay = 0.1};
    const auto make = [&](auto& m) { return train::Adafactor(m, options); };
    check<float>("float", make);
    check<bf16>("bf16", make);
    check<double>("double", [&]<class M>(M& m) { return train::Adafactor<double, typename M::device>(m, options); });
  }
}

namespace {

/// What AdamW changes of a parameter whose `size` elements are T; every other has a gradient.
template <class T>
struct Changed {
  using Exact = Tensor<float, Cuda, Some>;
  Tensor<T, Cuda, Some> x, g;
  Exact m, v, master;

  Changed(std::size_t size, std::size_t number) : m(zeros(size)), v(zeros(size)), master(zeros(size)) {
    const auto random = [&](std::uint64_t n) {
      return move_to<Cuda>(random_values<Tensor<T, Cpu, Some>>(Shape<Some>(size), n)).clone();
    };
    x = random(2 * number);
    if (number % 2 == 0) g = random(2 * number + 1);
    kernel::copy(Cuda{}, size, x.data(), master.mutable_data());
  }
  kernel::AdamWOperands<float> operands(float rate) {
    return {{0.5f, 0.9f, 0.99f, 1 - 0.1f * rate, rate, 0.1f, 1e-8f}, x.size(), g.data(), m.mutable_data(),
            v.mutable_data(), sizeof(T) < 4 ? master.mutable_data() : nullptr, x.mutable_data()};
  }
  static Exact zeros(std::size_t size) { return Exact::zeros(Shape<Some>(size)); }
};

template <class X>
void require_same_bits(const X& a, const X& b) {
  const auto x = on_host(a), y = on_host(b);
  REQUIRE(std::memcmp(x.data(), y.data(), x.size() * sizeof(*x.data())) == 0);
}

template <class T>
void check_together() {
  std::vector<Changed<T>> together, alone;
  // More than one launch takes; of no element, of several chunks, of part of one.
  for (std::size_t i = 0; i < 131; ++i) {
    const std::size_t n = i % 5 == 0 ? i : i % 5 == 1 ? 9000 + i : i % 5 == 2 ? 0 : 7;
    together.emplace_back(n, i);
    alone.emplace_back(n, i);
  }
  for (int step = 0; step < 2; ++step) {
    std::vector<kernel::AdamWOperands<float>> list;
    for (std::size_t i = 0; i < together.size(); ++i) {
      const float rate = 0.01f * static_cast<float>(i + 1);
      list.push_back(together[i].operands(rate));
      const auto one = alone[i].operands(rate);
      kernel::adamw(Cuda{}, one.size, one.step, static_cast<const T*>(one.g), one.m, one.v, one.master,
                    static_cast<T*>(one.x));
    }
    const auto before = cuda::launches();
    kernel::adamw<T>(Cuda{}, list.size(), list.data());
    REQUIRE(cuda::launches() == before + 2);
  }
  for (std::size_t i = 0; i < together.size(); ++i) {
    CAPTURE(i, seed());
    require_same_bits(together[i].x, alone[i].x);
    require_same_bits(together[i].m, alone[i].m);
    require_same_bits(together[i].v, alone[i].v);
    if (sizeof(T) < 4) require_same_bits(together[i].master, alone[i].master);
  }
}

}  // namespace

TEST_CASE("cuda optimizers: AdamW changes many parameters as it changes each alone") {
  check_together<float>();
  check_together<bf16>();
}

TEST_CASE("cuda optimizers: squares of many arrays are summed as those of each alone") {
  std::vector<Tensor<bf16, Cuda, Some>> all;
  std::vector<kernel::Elements> list;
  for (std::size_t i = 0; i < 131; ++i) {  // more than one launch takes; of no element, of several chunks, of none
    const std::size_t n = i % 5 == 0 ? i : i % 5 == 1 ? 2 * kernel::norm_chunk + i : i % 5 == 2 ? 0 : 7;
    all.push_back(move_to<Cuda>(random_values<Tensor<bf16, Cpu, Some>>(Shape<Some>(n), i)));
    list.push_back({i % 5 == 4 ? nullptr : all.back().data(), n});
  }
  auto together = Tensor<double, Cuda, Some>::zeros(Shape<Some>(list.size()));
  auto alone = together.clone();
  kernel::sums_of_squares<bf16>(Cuda{}, list.size(), list.data(), together.mutable_data());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto* const x = static_cast<const bf16*>(list[i].data);
    if (x) kernel::sum_of_squares(Cuda{}, list[i].size, x, alone.mutable_data() + i);
  }
  const auto found = on_host(together), expected = on_host(alone);
  for (std::size_t i = 0; i < list.size(); ++i) {
    double sum = 0;
    const auto x = on_host(all[i]);
    for (std::size_t j = 0; list[i].data && j < x.size(); ++j) {
      sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
    }
    CAPTURE(i, seed());
    REQUIRE(found[i] == expected[i]);
    REQUIRE(found[i] == Approx(sum).epsilon(1e-12));
  }
}
