// Kernels read a copy of the host's indices: of a mirror while there is one, else one that is made anew when the host
// has written them.

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor.hpp"
#include "calm/tensor/cuda/mirror.hpp"
#include "calm/tensor/cuda/streams.hpp"
#include "cuda/both.hpp"

using namespace calm;
using namespace calm::test;

namespace {

using Words = Vocabulary;
using Head = Two;
using Width = Wide;
using Places = Tensor<Index, Cuda, Batch, Time>;
template <class Device>
using Heads = Tensor<float, Device, Batch, Time, Head, Width>;

constexpr std::size_t texts = 2, columns = 3, all = texts * columns;
const Shape<Batch, Time> shape(texts, columns);

/// The results of kernels that read `at`, which are at most 2: rotations, rows of a table, rows that a cache keeps, and
/// attention to the keys below it.
std::vector<float> results(const Places& at) {
  const auto x = move_to<Cuda>(random_values<Heads<Cpu>>(Shape<Batch, Time, Head, Width>(texts, columns), 1));
  const auto table = move_to<Cuda>(random_values<Tensor<float, Cpu, Words, Width>>({}, 2));
  std::vector<float> made;
  const auto add = [&](const auto& y) {
    const auto host = on_host(y);
    made.insert(made.end(), host.data(), host.data() + host.size());
  };
  add(rope(x, at, 100.0));
  add(embedding(at, table));
  auto kept = Heads<Cuda>::zeros(x.shape());
  kernel::keep_rows(Cuda{}, texts, columns, columns, Head::extent * Width::extent, at.data(), at.data(), x.data(),
                    kept.mutable_data());
  add(kept);
  auto seen = Heads<Cuda>::zeros(x.shape());
  const kernel::AttentionRule<float> rule{nullptr, at.data(), nullptr, nullptr, 0.25f, 0};
  auto lse = Tensor<float, Cuda, Batch, Time, Head>::zeros(Shape<Batch, Time, Head>(texts, columns));
  const kernel::AttentionExtents extents{texts, columns, columns, Head::extent, Head::extent, Width::extent};
  kernel::attention(Cuda{}, extents, rule, x.data(), x.data(), x.data(), static_cast<const float*>(nullptr),
                    seen.mutable_data(), lse.mutable_data());
  add(seen);
  return made;
}

void write(Places& to, const std::vector<Index>& values) {
  std::copy(values.begin(), values.end(), to.mutable_data());
}

const std::vector<Index> first{2, 0, 1, 1, 2, 0}, second{1, 2, 2, 0, 1, 1};

}  // namespace

TEST_CASE("cuda mirror: kernels read the copy while it lives") {
  auto at = Places::zeros(shape);
  const auto other = Places::full(shape, 7);
  write(at, second);
  const auto of_second = results(at);
  write(at, first);
  const auto of_first = results(at);
  REQUIRE(of_first != of_second);
  {
    const std::span<const Index> arrays[] = {{other.data(), all}, {}, {at.data(), all}};
    const cuda::Mirror mirror(arrays);
    cuda::synchronize();
    write(at, second);  // what nobody may do, to see who reads it
    REQUIRE(results(at) == of_first);
    {
      const std::span<const Index> again[] = {{at.data(), all}};
      const cuda::Mirror newest(again);
      REQUIRE(results(at) == of_second);
    }
    REQUIRE(results(at) == of_first);
  }
  REQUIRE(results(at) == of_second);
}

TEST_CASE("cuda mirror: what the host writes is copied once, until it is written again") {
  auto at = Places::zeros(shape);
  write(at, first);
  Index* const written = at.mutable_data();
  const auto of_first = results(at);
  cuda::synchronize();
  std::copy(second.begin(), second.end(), written);  // what nobody may do, to see who reads it
  REQUIRE(results(at) == of_first);
  REQUIRE(cuda::near(at.data() + 1) == cuda::near(at.data()) + 1);
  write(at, second);
  REQUIRE(results(at) != of_first);
  const Index* const copy = cuda::near(at.data());
  REQUIRE(copy != at.data());
  cuda::begin_beside();
  REQUIRE(cuda::near(at.data()) == at.data());
  cuda::end_beside();
  cuda::join_beside();
  const Index elsewhere = 0;
  REQUIRE(cuda::near(&elsewhere) == &elsewhere);
}

TEST_CASE("cuda mirror: a copy goes with its block") {
  const auto live = [] {
    auto other = Places::zeros(shape);  // whose copy takes the place of those that went
    results(other);
    return cuda::use().live;
  };
  const auto before = live();
  for (int i = 0; i < 3; ++i) {
    auto at = Places::zeros(shape);
    write(at, i % 2 ? first : second);
    const auto read = results(at);
    REQUIRE((read == results(at)));
  }
  REQUIRE(live() == before);
}

TEST_CASE("cuda mirror: what is recorded copies anew") {
  auto at = Places::zeros(shape);
  const auto table = move_to<Cuda>(random_values<Tensor<float, Cpu, Words, Width>>({}, 2));
  Tensor<float, Cuda, Batch, Time, Width> y(Shape<Batch, Time, Width>(texts, columns));
  const auto step = [&] {
    const std::span<const Index> arrays[] = {{at.data(), all}};
    const cuda::Mirror mirror(arrays);
    const auto fresh = embedding(at, table);
    kernel::copy(Cuda{}, fresh.size(), fresh.data(), y.mutable_data());
  };
  step();
  const cuda::Recorded recorded(step);
  for (const auto& values : {first, second}) {
    write(at, values);
    recorded.launch();
    const auto found = on_host(y), expected = on_host(embedding(at, table));
    REQUIRE(std::equal(found.data(), found.data() + found.size(), expected.data()));
  }
}

TEST_CASE("cuda mirror: more arrays than it has room for are read where they are") {
  std::vector<Places> arrays;
  std::vector<std::span<const Index>> spans;
  for (std::size_t i = 0; i <= cuda::Mirror::most; ++i) {
    arrays.push_back(Places::zeros(shape));
    spans.emplace_back(arrays.back().data(), all);
  }
  const cuda::Mirror mirror(spans);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    REQUIRE((mirror.of(spans[i].data()) == spans[i].data()) == (i == cuda::Mirror::most));
  }
  REQUIRE(cuda::near(nullptr) == nullptr);
}
