#include "calm/train/adamw.hpp"

#include <cmath>
#include <limits>
#include <string>

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"
#include "train/hand_made.hpp"

using namespace calm;
using namespace calm::test;

namespace {

template <class T>
double largest_difference() {
  const std::string path = CALM_FIXTURES "/adamw.safetensors";
  const auto norms = io::SafetensorsFile::open(path).load<Doubles<EightSteps>>("norms");
  return largest_difference_from_torch<T>(
      path, [](auto& layer) { return train::AdamW<T>(layer, {.beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1}); },
      [&](auto& optimizer, std::size_t step) {
        CHECK(optimizer.clip_gradients(1.0) == Approx(norms[step]).epsilon(1e-6));
      });
}

}  // namespace

TEST_CASE("AdamW with clipping takes the steps of torch.optim.AdamW") {
  CHECK(largest_difference<double>() < 1e-14);
  CHECK(largest_difference<float>() < 1e-6);
}

TEST_CASE("the first AdamW step moves by the learning rate against the sign, after decay") {
  Layer<double> layer;
  layer.weight.assign(Doubles<Two, Three>::full({}, 2.0));
  layer.bias.assign(Doubles<Three>::full({}, 2.0));
  train::AdamW<double> optimizer(layer, {.epsilon = 0, .weight_decay = 0.5});
  const double g[] = {3, -3, 1e-9, 4, 5, -6};
  set_gradient(layer.weight, g);
  set_gradient(layer.bias, g);
  optimizer.step(0.1);
  CHECK(layer.weight.value()[0] == Approx(2.0 * 0.95 - 0.1));
  CHECK(layer.weight.value()[1] == Approx(2.0 * 0.95 + 0.1));
  CHECK(layer.weight.value()[2] == Approx(2.0 * 0.95 - 0.1));
  CHECK(layer.bias.value()[0] == Approx(1.9));  // one axis: no decay
  CHECK(optimizer.updates() == 1);
}

TEST_CASE("a gradient that has not arrived counts as zero") {
  Layer<float> absent, zero;
  initialise(absent, 1);
  initialise(zero, 1);
  train::AdamW<> a(absent), b(zero);
  random_gradients(absent, 5);
  random_gradients(zero, 5);
  a.step(0.01);
  b.step(0.01);
  a.zero_gradients();
  const float none[6] = {};
  set_gradient(zero.weight, none);
  set_gradient(zero.bias, none);
  CHECK(a.gradient_norm().value == 0);
  a.step(0.01);
  b.step(0.01);
  CHECK(same_bits(absent.weight.value(), zero.weight.value()));
  CHECK(same_bits(absent.bias.value(), zero.bias.value()));
}

TEST_CASE("the global norm covers every trainable parameter, and clipping scales what the step reads") {
  Network<float> clipped, scaled;
  initialise(clipped, 1);
  initialise(scaled, 1);
  random_gradients(clipped, 9);
  double sum = 0;
  nn::for_each_trainable(clipped, [&](const std::string&, auto& p) {
    for (std::size_t i = 0; i < p.value().size(); ++i) sum += double(p.gradient()[i]) * double(p.gradient()[i]);
  });
  train::AdamW<> a(clipped), b(scaled);
  CHECK(a.gradient_norm().value == Approx(std::sqrt(sum)).epsilon(1e-12));
  CHECK(a.clip_gradients(1e9) == Approx(std::sqrt(sum)).epsilon(1e-12));  // not reached: the step is as without
  const double norm = a.clip_gradients(0.5);
  const float factor = static_cast<float>(0.5 / (norm + 1e-6));
  nn::for_each_trainable(clipped, [&, seed = std::uint64_t{9}](const std::string& path, auto& p) mutable {
    auto g = random_tensor<typename std::remove_cvref_t<decltype(p)>::tensor_type>({}, seed++);
    for (std::size_t i = 0; i < g.size(); ++i) g.mutable_data()[i] *= factor;
    nn::for_each_trainable(scaled, [&](const std::string& other, auto& q) {
      if constexpr (std::is_same_v<decltype(p), decltype(q)>) {
        if (path == other) set_gradient(q, g.data());
      }
    });
  });
  a.step(0.01);
  b.step(0.01);
  CHECK(same_bits(clipped.table.value(), scaled.table.value()));
  CHECK(same_bits(clipped.head.bias.value(), scaled.head.bias.value()));
}

TEST_CASE("a gradient that is not finite is named and changes nothing") {
  Network<float> network;
  initialise(network, 1);
  random_gradients(network, 2);
  train::AdamW<> optimizer(network);
  CHECK(optimizer.gradient_norm().finite());
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    float g[] = {1, 2, bad};
    set_gradient(network.head.bias, g);
    const auto norm = optimizer.gradient_norm();
    REQUIRE(!norm.finite());
    CHECK(*norm.non_finite == "head.bias");
    CHECK_THROWS_WITH(optimizer.clip_gradients(1.0), Catch::Contains("head.bias is not finite"));
  }
  // Huge but finite gradients have a norm: the sum is in double.
  const float huge[] = {3e38f, 3e38f, 3e38f};
  set_gradient(network.head.bias, huge);
  CHECK(optimizer.clip_gradients(1.0) == Approx(3e38 * std::sqrt(3.0)).epsilon(1e-6));
}

TEST_CASE("bf16 parameters add up steps far below their precision") {
  Layer<bf16> layer;
  layer.weight.assign(Tensor<bf16, Cpu, Two, Three>::full({}, bf16(1.0f)));
  layer.bias.assign(Tensor<bf16, Cpu, Three>::full({}, bf16(1.0f)));
  train::AdamW<> optimizer(layer, {.weight_decay = 0});
  const float g[] = {1, 1, 1, 1, 1, 1};
  for (int step = 0; step < 100; ++step) {
    set_gradient(layer.weight, g);
    optimizer.step(1e-4);  // bf16 next to 1 has a grain of 4e-3
  }
  CHECK(static_cast<float>(layer.weight.value()[0]) == Approx(0.99).margin(2e-3));
  // What somebody else assigns counts, in spite of the exact copy.
  layer.weight.assign(Tensor<bf16, Cpu, Two, Three>::full({}, bf16(5.0f)));
  optimizer.step(1e-4);
  CHECK(static_cast<float>(layer.weight.value()[0]) == 5.0f);
}

TEST_CASE("a step refuses to write what somebody else holds") {
  Layer<float> layer;
  initialise(layer, 1);
  train::AdamW<> optimizer(layer);
  const auto copy = layer.weight.value();
  CHECK_THROWS_WITH(optimizer.step(0.1), Catch::Contains("weight shares its memory"));
  CHECK(optimizer.updates() == 0);
}

TEST_CASE("steps and norms ask the system for no memory") {
  Network<float> network;
  initialise(network, 1);
  random_gradients(network, 2);
  train::AdamW<> optimizer(network);
  const auto before = CpuPool::instance().use();
  for (int step = 0; step < 3; ++step) {
    optimizer.clip_gradients(1.0);
    optimizer.step(0.01);
  }
  CHECK(CpuPool::instance().use().system_calls == before.system_calls);
  CHECK(CpuPool::instance().use().live == before.live);
}

TEMPLATE_TEST_CASE("a resumed run goes on bit for bit", "", float, bf16) {
  const TemporaryFolder folder;
  const std::string path = folder / "state.safetensors";
  const auto train_on = [](auto& optimizer, auto& network, std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t step = from; step < to; ++step) {
      random_gradients(network, 100 * step);
      optimizer.clip_gradients(1.0);
      optimizer.step(0.01 / static_cast<double>(step + 1));
      optimizer.zero_gradients();
    }
  };
  Network<TestType> straight, resumed;
  initialise(straight, 1);
  initialise(resumed, 77);
  train::AdamW<> first(straight);
  train_on(first, straight, 0, 5);
  save_state(first, path);
  train_on(first, straight, 5, 10);

  train::AdamW<> second(resumed);
  load_state(second, path);
  CHECK(second.updates() == 5);
  train_on(second, resumed, 5, 10);
  CHECK(same_bits(straight.table.value(), resumed.table.value()));
  CHECK(same_bits(straight.head.weight.value(), resumed.head.weight.value()));
  CHECK(same_bits(straight.head.bias.value(), resumed.head.bias.value()));
  CHECK(!same_bits(straight.base.weight.value(), resumed.base.weight.value()));  // frozen: not in the state
}

TEST_CASE("the state of another module is refused and nothing changes") {
  const TemporaryFolder folder;
  const std::string path = folder / "other.safetensors";
  Layer<float> layer;
  initialise(layer, 1);
  train::AdamW<> optimizer(layer);
  save_state(optimizer, path);

  Network<float> network;
  initialise(network, 2);
  const auto before = network.head.bias.value().clone();
  train::AdamW<> other(network);
  CHECK_THROWS_WITH(load_state(other, path), Catch::Contains("parameter.head.weight"));
  train::AdamW<double> precise(layer);
  CHECK_THROWS_WITH(load_state(precise, path), Catch::Contains("expected dtype F64, found F32"));
  CHECK(same_bits(before, network.head.bias.value()));

  io::SafetensorsWriter writer;
  writer.add("x", before);
  writer.save(path);
  CHECK_THROWS_WITH(load_state(optimizer, path), Catch::Contains("expected the metadata key 'updates'"));
}

TEST_CASE("an optimizer of nothing is refused") {
  Layer<float, Frozen> frozen;
  initialise(frozen, 1);
  CHECK_THROWS_WITH(train::AdamW<>(frozen), Catch::Contains("no trainable parameter"));
  Layer<float> empty;
  CHECK_THROWS_WITH(train::AdamW<>(empty), Catch::Contains("weight has no memory"));
}
