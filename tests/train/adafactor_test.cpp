#include "calm/train/adafactor.hpp"

#include <array>
#include <cmath>
#include <string>

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"
#include "train/hand_made.hpp"

using namespace calm;
using namespace calm::test;

namespace {

struct Matrices {
  static constexpr std::size_t extent = 4;
};

template <class T>
double largest_difference() {
  return largest_difference_from_torch<T>(
      CALM_FIXTURES "/adafactor.safetensors",
      [](auto& layer) { return train::Adafactor<T>(layer, {.weight_decay = 0.1}); }, [](auto&, std::size_t) {});
}

/// Four matrices in one parameter.
struct Stack {
  TrainableParameter<Doubles<Matrices, Two, Three>> all;
  void visit(auto&& v) { v("all", all); }
};
struct Single {
  TrainableParameter<Doubles<Two, Three>> one;
  void visit(auto&& v) { v("one", one); }
};

}  // namespace

TEST_CASE("Adafactor takes the steps of torch.optim.Adafactor") {
  CHECK(largest_difference<double>() < 1e-14);
  CHECK(largest_difference<float>() < 1e-6);
}

TEST_CASE("without relative steps, the first Adafactor step moves by the learning rate where all gradients are equal") {
  Layer<double> layer;
  layer.weight.assign(Doubles<Two, Three>::full({}, 2.0));
  layer.bias.assign(Doubles<Three>::full({}, 2.0));
  train::Adafactor<double> optimizer(layer, {.relative_step = false, .weight_decay = 0.5});
  const double g[] = {3, -3, 3, 3, 3, -3};
  set_gradient(layer.weight, g);
  set_gradient(layer.bias, g);
  optimizer.step(0.1);
  CHECK(layer.weight.value()[0] == Approx(2.0 * 0.95 - 0.1));
  CHECK(layer.weight.value()[1] == Approx(2.0 * 0.95 + 0.1));
  CHECK(layer.bias.value()[1] == Approx(2.1));  // one axis: no decay
}

TEST_CASE("a matrix's second moment is kept by rows and columns") {
  Network<float> network;
  initialise(network, 1);
  const auto before = CpuPool::instance().use().live;
  const train::Adafactor<> optimizer(network);
  const auto taken = CpuPool::instance().use().live - before;
  // table: 2 rows, 40 001 columns; all else is small.
  CHECK(taken < CpuPool::block_bytes(40'001 * sizeof(float)) + 6 * CpuPool::block_bytes(1));
  CHECK(taken > 40'001 * sizeof(float));
}

TEST_CASE("Adafactor's steps ask the system for no memory") {
  Network<float> network;
  initialise(network, 1);
  random_gradients(network, 2);
  train::Adafactor<> optimizer(network);
  const auto before = CpuPool::instance().use();
  for (int step = 0; step < 3; ++step) optimizer.step(0.01);
  CHECK(CpuPool::instance().use().system_calls == before.system_calls);
  CHECK(CpuPool::instance().use().live == before.live);
}

TEST_CASE("a third axis makes a list of matrices, whose moments are their own and whose step is cut together") {
  Stack stack;
  initialise(stack, 3);
  std::array<Single, 4> single;
  for (std::size_t m = 0; m < 4; ++m)
    single[m].one.assign(Doubles<Two, Three>::from({}, stack.all.value().data() + 6 * m));
  train::AdafactorOptions options{.clip_threshold = 1e9, .relative_step = false};
  train::Adafactor<double> all(stack, options);
  const auto gradient = random_tensor<Doubles<Matrices, Two, Three>>({}, 9);
  set_gradient(stack.all, gradient.data());
  for (int step = 0; step < 3; ++step) all.step(0.1);
  for (std::size_t m = 0; m < 4; ++m) {
    train::Adafactor<double> one(single[m], options);
    set_gradient(single[m].one, gradient.data() + 6 * m);
    for (int step = 0; step < 3; ++step) one.step(0.1);
    for (std::size_t i = 0; i < 6; ++i)
      CHECK(single[m].one.value()[i] == Approx(stack.all.value()[6 * m + i]).epsilon(1e-13));
  }
}

TEST_CASE("bf16 parameters add up Adafactor steps far below their precision") {
  Layer<bf16> layer;
  layer.weight.assign(Tensor<bf16, Cpu, Two, Three>::full({}, bf16(1.0f)));
  layer.bias.assign(Tensor<bf16, Cpu, Three>::full({}, bf16(1.0f)));
  train::Adafactor<> optimizer(layer, {.relative_step = false});
  const float g[] = {1, 1, 1, 1, 1, 1};
  for (int step = 0; step < 100; ++step) {
    set_gradient(layer.weight, g);
    optimizer.step(1e-4);
  }
  CHECK(static_cast<float>(layer.weight.value()[0]) == Approx(0.99).margin(2e-3));
}

TEMPLATE_TEST_CASE("a resumed Adafactor goes on bit for bit", "", float, bf16) {
  const TemporaryFolder folder;
  const std::string path = folder / "state.safetensors";
  const auto train_on = [](auto& optimizer, auto& network, std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t step = from; step < to; ++step) {
      random_gradients(network, 100 * step);
      optimizer.clip_gradients(1.0);
      optimizer.step(0.01);
      optimizer.zero_gradients();
    }
  };
  Network<TestType> straight, resumed;
  initialise(straight, 1);
  initialise(resumed, 77);
  train::Adafactor<> first(straight);
  train_on(first, straight, 0, 5);
  save_state(first, path);
  const auto before = straight.table.value().clone();
  train_on(first, straight, 5, 10);

  train::Adafactor<> second(resumed);
  load_state(second, path);
  train_on(second, resumed, 5, 10);
  CHECK(same_bits(straight.table.value(), resumed.table.value()));
  CHECK(same_bits(straight.head.bias.value(), resumed.head.bias.value()));
  CHECK(!same_bits(straight.table.value(), before));
}
