// Compositions of models whose matrices are packed owe what all compositions owe.
#include "calm/tensor/packed_tensor.hpp"

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "compose/models.hpp"
#include "compose/owed.hpp"

namespace {

using namespace calm;
using namespace calm::test;

template <class T, class AnchorMode, class AugmentMode>
using Composed = Compose<nn::Transformer<AnchorSpec, T, Cpu, AnchorMode>,
                         nn::Transformer<AugmentSpec, T, Cpu, AugmentMode>, SmallLinks>;

/// What bf16 keeps of every frozen matrix.
template <class Model>
void round_matrices(Model& m) {
  const auto round = [](const std::string&, auto& p) {
    if constexpr (std::remove_cvref_t<decltype(p)>::tensor_type::rank == 2) {
      auto w = p.value().clone();
      for (std::size_t i = 0; i < w.size(); ++i) w.mutable_data()[i] = static_cast<float>(bf16(w[i]));
      p.assign(w);
    }
  };
  nn::for_each_parameter(m.anchor, round);
  nn::for_each_parameter(m.augment, round);
}

struct Run {
  std::vector<float> logits, gradients;
  float loss;
};

template <class Model>
Run run(Model& m) {
  const auto tokens = random_tokens(3, 9, 4), targets = random_tokens(3, 9, 5);
  const auto layout = nn::pad_right<Cpu>(std::vector<Index>{9, 4, 7}, 9);
  Run r;
  const auto logits = m.logits(tokens, layout);
  r.logits.assign(value(logits).data(), value(logits).data() + value(logits).size());
  Tape<Cpu> tape;
  const auto recording = tape.record();
  const auto loss = m.loss(tokens, layout, targets);
  r.loss = value(loss)[0];
  backward(loss);
  nn::for_each_trainable(m, [&](const std::string&, auto& p) {
    r.gradients.insert(r.gradients.end(), p.gradient(), p.gradient() + p.value().size());
  });
  return r;
}

/// The root of the mean square of what differs, as a part of that of `b`.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double off = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    off += std::pow(double(a[i]) - double(b[i]), 2);
    size += std::pow(double(b[i]), 2);
  }
  return std::sqrt(off / size);
}

}  // namespace

TEST_CASE("a composition of packed models owes what all do", "[owed]") {
  check_owed<Composed<double, FrozenAs<double>, FrozenAs<double>>>();
}

TEST_CASE("packed models compute what the models do that hold the same numbers") {
  const auto plain = make_small<Composed<float, Frozen, Frozen>>(true);
  round_matrices(*plain);
  const Run expected = run(*plain);
  const auto exact = make_small<Composed<float, FrozenAs<float>, Frozen>>(true);
  round_matrices(*exact);
  const Run same = run(*exact);
  CHECK(difference(same.logits, expected.logits) < 1e-6);
  CHECK(difference(same.gradients, expected.gradients) < 1e-5);
  const auto packed = make_small<Composed<float, FrozenAs<bf16>, FrozenAs<bf16>>>(true);
  const Run near = run(*packed);  // activations are rounded to 8 bits as they enter a product, also in attention
  CHECK(difference(near.logits, expected.logits) < 0.02);
  CHECK(difference(near.logits, expected.logits) > 1e-4);
  CHECK(difference(near.gradients, expected.gradients) < 0.03);
  CHECK(std::abs(near.loss - expected.loss) < 0.01f);
}

/// The logits of text 0 of `random_tokens(1, 24, 4)`, token by token.
template <class Model>
std::vector<float> in_steps(const Model& m, typename Model::Caches caches) {
  const auto tokens = random_tokens(1, 24, 4);
  std::vector<float> steps;
  for (std::size_t t = 0; t < 24; ++t) {
    const auto one = nn::Tokens<Cpu>::from(Shape<Batch, Time>(1, 1), {tokens[t]});
    const auto layout = nn::continue_at<Cpu>(std::vector<Index>{static_cast<Index>(t)}, std::vector<Index>{1}, 1);
    const auto logits = m.next_logits(one, layout, Tensor<Index, Cpu, Batch>::from(Shape<Batch>(1), {0}), caches);
    steps.insert(steps.end(), logits.data(), logits.data() + logits.size());
  }
  return steps;
}
template <class Model>
std::vector<float> in_steps(const Model& m) {
  return in_steps(m, m.make_caches(1, 24));
}
template <class Model>
std::vector<float> in_one_pass(const Model& m) {
  const auto logits = m.logits(random_tokens(1, 24, 4), nn::pad_right<Cpu>(std::vector<Index>{24}, 24));
  return {value(logits).data(), value(logits).data() + value(logits).size()};
}

TEST_CASE("a packed composition decodes in steps what it reads in one pass") {
  const auto plain = make_small<Composed<float, Frozen, Frozen>>(true);
  round_matrices(*plain);
  const auto exact = make_small<Composed<float, FrozenAs<float>, FrozenAs<float>>>(true);
  round_matrices(*exact);
  const auto packed = make_small<Composed<float, FrozenAs<bf16>, FrozenAs<bf16>>>(true);
  const auto expected = in_one_pass(*plain);
  CHECK(difference(in_steps(*exact), expected) < 1e-6);
  // Keys and values are kept in bf16 as well, two roundings more than the activations that enter a product.
  CHECK(difference(in_steps(*packed), expected) < 2 * difference(in_one_pass(*packed), expected));
}

TEST_CASE("decoding reads every bridge of the library folded, in the frozen models' mode") {
  using Model = Composed<float, FrozenAs<bf16>, FrozenAs<bf16>>;
  using Folded = Model::branch_type<0>::Keeping::Folded;
  static_assert(Folded::is_folded && PackedMatrix<decltype(Folded().q_proj.weight())>);
}

TEMPLATE_TEST_CASE("caches read the bridges as they were when they were made, all of each or nothing", "",
                   (Composed<float, Frozen, Frozen>), (Composed<float, FrozenAs<bf16>, FrozenAs<bf16>>)) {
  const auto m = make_small<TestType>(true);
  const auto before = in_steps(*m);
  const auto caches = m->make_caches(1, 24);
  nn::for_each_trainable(*m, [](const std::string&, auto& p) {
    auto& x = p.mutable_value();  // nobody else holds it, or this throws
    for (std::size_t i = 0; i < x.size(); ++i) x.mutable_data()[i] *= -1.5f;
  });
  CHECK(in_steps(*m, nn::empty_caches(caches, 1, 24)) == before);
  CHECK(difference(in_steps(*m), before) > 1e-2);
}
