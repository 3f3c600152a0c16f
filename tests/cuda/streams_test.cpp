// What is launched beside, and what is recorded and launched again.

#include <cstddef>
#include <utility>

#include <catch2/catch.hpp>

#include "calm/tensor.hpp"
#include "calm/tensor/beside.hpp"
#include "calm/tensor/cuda/products.hpp"
#include "calm/tensor/cuda/profile.hpp"
#include "calm/tensor/cuda/streams.hpp"
#include "cuda/both.hpp"

using namespace calm;
using namespace calm::test;

namespace {

struct Out {
  static constexpr std::size_t extent = 24;
};
struct In {
  static constexpr std::size_t extent = 64;
};
template <class Device>
using Row = Tensor<double, Device, Batch, In>;
template <class Device>
using Weight = Tensor<double, Device, Out, In>;

}  // namespace

TEST_CASE("cuda streams: what is launched beside is there once it is joined") {
  const auto x = random_values<Row<Cpu>>(Shape<Batch, In>(3), 1);
  const auto w = random_values<Weight<Cpu>>({}, 2);
  const auto gpu_x = move_to<Cuda>(x);
  const auto gpu_w = move_to<Cuda>(w);
  const auto beside = launch_beside(Cuda{}, [&] { return linear(gelu(gpu_x) + gpu_x, gpu_w); });
  const auto meanwhile = linear(gpu_x, gpu_w);
  join_beside(Cuda{});
  const auto both = beside + meanwhile;
  require_close("both", linear(gelu(x) + x, w) + linear(x, w), both);
}

TEST_CASE("cuda streams: a place beside is joined before the rest") {
  const auto x = random_values<Row<Cpu>>(Shape<Batch, In>(3), 12);
  const auto gpu_x = move_to<Cuda>(x);
  const auto [first, second] = launch_beside(Cuda{}, [&] {
    auto early = gelu(gpu_x);
    mark_beside(Cuda{}, 5);
    return std::pair(early, gelu(early));
  });
  join_beside(Cuda{}, 5);
  const auto y = first + gpu_x;
  join_beside(Cuda{});
  require_close("first", gelu(x) + x, y);
  require_close("second", gelu(gelu(x)), second);
}

TEST_CASE("cuda streams: what is recorded reads what stands there when it is launched again") {
  auto x = random_values<Row<Cpu>>(Shape<Batch, In>(3), 3);
  const auto w = random_values<Weight<Cpu>>({}, 4);
  const auto gpu_w = move_to<Cuda>(w);
  auto gpu_x = move_to<Cuda>(x);
  auto places = Tensor<Index, Cuda, Batch>::zeros(Shape<Batch>(3));
  Tensor<double, Cuda, Batch, Out> y(Shape<Batch, Out>(3));
  const auto f = [](const auto& a, const auto& b, const auto& at) { return linear(gelu(embedding(at, b)) + a, b); };
  const auto step = [&] {
    const auto beside = launch_beside(Cuda{}, [&] { return f(gpu_x, gpu_w, places); });
    join_beside(Cuda{});
    kernel::copy(Cuda{}, beside.size(), beside.data(), y.mutable_data());
  };
  step();
  const cuda::Recorded recorded(step);
  for (const Index shift : {0, 1, 2}) {
    x = random_values<Row<Cpu>>(Shape<Batch, In>(3), static_cast<std::uint64_t>(5 + shift));
    kernel::copy_from_host(Cuda{}, x.size() * sizeof(double), x.data(), gpu_x.mutable_data());
    auto host_places = Tensor<Index, Cpu, Batch>::full(Shape<Batch>(3), shift);
    for (std::size_t i = 0; i < 3; ++i) places.mutable_data()[i] = host_places[i];
    recorded.launch();
    require_close("launch " + std::to_string(shift), f(x, w, host_places), y);
  }
}

TEST_CASE("cuda streams: what would not happen again cannot be recorded") {
  const auto x = move_to<Cuda>(random_values<Row<Cpu>>(Shape<Batch, In>(3), 6));
  const auto made = [](const auto& f) { const cuda::Recorded recorded(f); };
  REQUIRE_THROWS_WITH(made([&] { (void)on_host(x); }),
                      Catch::Contains("a copy to the host while launches are recorded"));
  REQUIRE_THROWS_WITH(made([&] { (void)Tensor<Index, Cuda, Batch>::zeros(Shape<Batch>(3)); }),
                      Catch::Contains("memory that the host writes"));
  REQUIRE_THROWS_WITH(made([&] { cuda::synchronize(); }), Catch::Contains("the host waits"));
  (void)gelu(x);
  REQUIRE_THROWS_WITH(made([&] { launch_beside(Cuda{}, [&] { return on_host(gelu(x)); }); }),
                      Catch::Contains("a copy to the host"));
  const auto beside = launch_beside(Cuda{}, [&] { return x + x; });
  join_beside(Cuda{});
  require_close("afterwards", on_host(x) + on_host(x), beside);
}

TEST_CASE("cuda profile: launches are counted by kernel") {
  const auto x = move_to<Cuda>(random_values<Row<Cpu>>(Shape<Batch, In>(3), 11));
  cuda::start_profile();
  (void)(gelu(x) + gelu(x));
  const auto lines = cuda::end_profile();
  (void)(gelu(x));
  const auto launches_of = [&](const std::string& kernel) {
    std::size_t launches = 0;
    for (const auto& line : lines) launches += line.kernel == kernel ? line.launches : 0;
    return launches;
  };
  REQUIRE(launches_of("activate") == 2);
  REQUIRE(launches_of("add_scaled") == 1);
}

TEST_CASE("cuda products: TensorFloat32 rounds the operands, and only while it lives") {
  const auto x = cast<float>(random_values<Row<Cpu>>(Shape<Batch, In>(512), 7));
  const auto w = cast<float>(random_values<Weight<Cpu>>({}, 8));
  const auto gpu_x = move_to<Cuda>(x);
  const auto gpu_w = move_to<Cuda>(w);
  const auto exact = linear(x, w);
  require_close("exact", exact, linear(gpu_x, gpu_w));
  {
    const cuda::TensorFloat32 fast;
    const auto y = on_host(linear(gpu_x, gpu_w));
    double apart = 0;
    for (std::size_t i = 0; i < y.size(); ++i) apart = std::max<double>(apart, std::abs(y[i] - exact[i]));
    INFO("seed " << seed());
    REQUIRE(apart > 1e-5);
    REQUIRE(apart < 0.05);
  }
  require_close("exact again", exact, linear(gpu_x, gpu_w));
}

TEST_CASE("cuda products: one row is the row of a larger product") {
  for (const std::size_t rows : {1u, 2u}) {
    const auto x = random_values<Tensor<bf16, Cpu, Batch, In>>(Shape<Batch, In>(rows), 9);
    const auto w = random_values<Tensor<bf16, Cpu, Out, In>>({}, 10);
    require_close("bf16", linear(x, w), linear(move_to<Cuda>(x), move_to<Cuda>(w)));
  }
}
