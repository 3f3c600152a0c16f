// Optimizers on the GPU against the host: several steps of parameters of one, two and three axes.

#include <cstddef>
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
