// The plan of a composition against what its code does: bytes against the pool's counters, FLOPs against a device that
// counts the products it is asked for.
#include "calm/tensor/cpu/attention.hpp"
#include "calm/tensor/cpu/attention_backward.hpp"
#include "calm/tensor/cpu/gemm.hpp"
#include "calm/tensor/cpu/linear_cross_entropy.hpp"
#include "calm/tensor/device.hpp"

namespace calm::test {

/// The host, with a count of FLOPs.
struct Counting : Cpu {
  static inline double flops = 0;
};

}  // namespace calm::test

namespace calm {
template <>
inline constexpr bool has_kernels<test::Counting> = true;
}  // namespace calm

// Better matches than the host's kernels where the device is Counting. The operations look names up where they are
// defined, so these stand before them.
namespace calm::kernel {

template <class T>
void gemm(test::Counting, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, T alpha, MatrixRef<const T> a,
          MatrixRef<const T> b, bool accumulate, MatrixRef<T> c) {
  test::Counting::flops += 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  gemm<T>(Cpu{}, op_a, op_b, m, n, k, alpha, a, b, accumulate, c);
}

/// FLOPs of one product over every pair of a query and a key that it sees.
template <class A>
double pair_flops(const AttentionExtents& e, const AttentionRule<A>& rule) {
  double pairs = 0;
  for (std::size_t row = 0; row < e.batch * e.queries; ++row) {
    for (Index j = rule.begin ? rule.begin[row] : 0; j < rule.end[row]; ++j) ++pairs;
  }
  return 2.0 * pairs * static_cast<double>(e.heads * e.width);
}

template <class T>
void attention(test::Counting, const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule, const T* q,
               const T* k, const T* v, const T* sink, T* out, Accumulator<T>* lse) {
  test::Counting::flops += 2 * pair_flops(e, rule);  // scores, values
  attention<T>(Cpu{}, e, rule, q, k, v, sink, out, lse);
}

template <class T>
void attention_backward(test::Counting, const AttentionExtents& e, const AttentionRule<Accumulator<T>>& rule,
                        const T* q, const T* k, const T* v, const T* out, const Accumulator<T>* lse, const T* d_out,
                        T* dq, T* dk, T* dv, const T* d_lse = nullptr) {
  test::Counting::flops += 5 * pair_flops(e, rule);  // scores again, dP, dQ, dK, dV
  attention_backward<T>(Cpu{}, e, rule, q, k, v, out, lse, d_out, dq, dk, dv, d_lse);
}

template <class T>
void linear_cross_entropy(test::Counting, std::size_t count, std::size_t width, std::size_t vocab, const Index* rows,
                          const Index* wanted, const T* x, const T* w, T* dx, Accumulator<T>* dw, double cap, T* loss) {
  const double products = 1 + (dx != nullptr) + (dw != nullptr);  // logits, dX, dW
  test::Counting::flops += 2 * products * static_cast<double>(count * width * vocab);
  linear_cross_entropy<T>(Cpu{}, count, width, vocab, rows, wanted, x, w, dx, dw, cap, loss);
}

}  // namespace calm::kernel

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "calm/compose/cost.hpp"
#include "calm/train/adamw.hpp"

namespace calm::test {
namespace {

struct Large {
  static constexpr nn::TransformerConfig config{.vocab = 300,
                                                .hidden = 72,
                                                .layers = 5,
                                                .heads = 6,
                                                .kv_heads = 2,
                                                .inner = 200,
                                                .context = 128,
                                                .window = 7,
                                                .local_layers = 3,
                                                .tied_embeddings = false};
};
struct Little {
  static constexpr nn::TransformerConfig config{.vocab = 300,
                                                .hidden = 48,
                                                .layers = 4,
                                                .heads = 3,
                                                .context = 128,
                                                .norm = nn::NormKind::layer,
                                                .mlp = nn::MlpKind::gelu_tanh,
                                                .positions = nn::PositionKind::learned,
                                                .bias = true};
};
/// Nearly every option away from its default.
struct Other {
  static constexpr BridgeConfig config{.heads = 2,
                                       .normalise_query = false,
                                       .normalise_augment = false,
                                       .sink = false,
                                       .gate = BridgeGate::sigmoid,
                                       .bias = true,
                                       .kv_heads = 1,
                                       .width = 20,
                                       .rank = 9};
};

template <class S, class Device>
using On = nn::Transformer<S, float, Device>;
/// A gated anchor, links below its top, two of them on one layer.
template <class Device>
using Middle3 = Compose<On<Large, Device>, On<Little, Device>, LayerMap<Link<0, 1>, Link<2, 1>, Link<2, 3>>>;
/// A plain anchor, the last link behind its last block.
template <class Device>
using Top2 = Compose<On<Little, Device>, On<Large, Device>, LayerMap<Link<3, 1>, Link<1, 3>>, Other>;

/// Layers mixed, keys normalised.
struct Mixed {
  static constexpr BridgeConfig config{.normalise_keys = true, .mix = 2};
};
/// Two augments, both of them read behind one of the layers.
template <class Device>
using Pair = Compose<On<Large, Device>, With<On<Little, Device>, LayerMap<Link<0, 1>, Link<2, 3>>>,
                     With<On<Large, Device>, LayerMap<Link<2, 3>>, Mixed>>;

/// Matrices in bf16.
template <class S, class Device>
using PackedOn = nn::Transformer<S, float, Device, FrozenAs<bf16>>;
template <class Device>
using Packed3 =
    Compose<PackedOn<Large, Device>, PackedOn<Little, Device>, LayerMap<Link<0, 1>, Link<2, 1>, Link<2, 3>>>;

constexpr std::size_t batch = 4, length = 96;

/// How far a peak may be from the plan: the blocks and panels of products, which no plan counts, are for each thread as
/// large as some of these matrices.
double kernels_room() { return 0.13 + 0.08 * static_cast<double>(kernel::threads()); }

std::size_t live() { return CpuPool::instance().use().live; }
std::size_t peak() { return CpuPool::instance().use().peak; }
double ratio(std::size_t measured, std::size_t planned) {
  return static_cast<double>(measured) / static_cast<double>(planned);
}

template <class Device>
nn::Tokens<Device> some_tokens(std::size_t time) {
  nn::Tokens<Device> t(Shape<Batch, Time>(batch, time));
  for (std::size_t i = 0; i < t.size(); ++i) t.mutable_data()[i] = static_cast<Index>(i * 7 % 300);
  return t;
}
template <class Device>
nn::Layout<Device> whole(std::size_t time) {
  return nn::pad_right<Device>(std::vector<Index>(batch, static_cast<Index>(time)), time);
}

template <class Model>
std::unique_ptr<Model> make() {
  auto m = std::make_unique<Model>();
  nn::initialise(m->anchor, {.seed = 1});
  m->for_each_branch([](auto, auto& branch) { nn::initialise(branch.augment, {.seed = 2}); });
  m->initialise_bridges(3);
  return m;
}

/// The loss of a batch with a target at every token, recorded on `tape`.
template <class Model>
auto record_loss(const Model& model, Tape<typename Model::device>& tape, std::size_t time) {
  using Device = typename Model::device;
  const auto tokens = some_tokens<Device>(time);
  const auto layout = whole<Device>(time);
  const auto recording = tape.record();
  return model.loss(tokens, layout, tokens);
}

/// Reads a prompt into empty caches, and one token more; calls `between` after the prompt.
template <class Model, class F>
void decode(const Model& model, typename Model::Caches& caches, const F& between) {
  using Device = typename Model::device;
  const auto at = [](std::size_t i) {
    return Tensor<Index, Device, Batch>::full(Shape<Batch>(batch), static_cast<Index>(i));
  };
  model.next_logits(some_tokens<Device>(length - 1), whole<Device>(length - 1), at(length - 2), caches);
  between();
  const std::vector<Index> start(batch, length - 1), one(batch, 1);
  model.next_logits(some_tokens<Device>(1), nn::continue_at<Device>(start, one, 1), at(0), caches);
}

}  // namespace

TEST_CASE("the pool takes what pooled_bytes says") {
  for (std::size_t bytes = 1; bytes < 100'000; bytes += 1 + bytes / 7) {
    const std::size_t before = live();
    const Storage<Cpu> s(bytes);
    REQUIRE(live() - before == pooled_bytes(bytes));
  }
}

TEMPLATE_TEST_CASE("a step of training takes the bytes that were planned", "", Middle3<Cpu>, Top2<Cpu>, Pair<Cpu>,
                   Packed3<Cpu>) {
  constexpr Plan p = plan<TestType>(batch, length);
  const std::size_t nothing = live();
  const auto model = make<TestType>();
  CHECK(live() - nothing == p.weights());
  train::AdamW optimizer(*model);
  CHECK(live() - nothing == p.weights() + p.optimizer);

  Tape<Cpu> tape;
  const auto step = [&] {
    backward(record_loss(*model, tape, length));
    optimizer.clip_gradients(1);
    optimizer.step(1e-3);
    optimizer.zero_gradients();
  };
  step();
  CHECK(live() - nothing == p.weights() + p.optimizer + p.gradients);
  const std::size_t before = live();
  {
    const auto loss = record_loss(*model, tape, length);
    // The gradient of the state, which cross-entropy makes, is planned with the logits.
    const std::size_t state = pooled_bytes(batch * length * TestType::spec::config.hidden * sizeof(float));
    const double kept = ratio(live() - before - state, p.activations);
    CHECK(kept == Approx(1).epsilon(0.03));
    tape.clear();
  }
  CpuPool::instance().reset_peak();
  step();
  CAPTURE(peak() - nothing, to_string(p));
  CHECK(ratio(peak() - nothing, p.bytes(Purpose::training)) == Approx(1).epsilon(kernels_room()));

  constexpr Plan q = plan<TestType>(batch, length, 1);
  model->anchor.checkpoint_every = 1;
  const std::size_t between = live();
  {
    const auto loss = record_loss(*model, tape, length);
    const std::size_t state = pooled_bytes(batch * length * TestType::spec::config.hidden * sizeof(float));
    CHECK(ratio(live() - between - state, q.activations) == Approx(1).epsilon(0.03));
    tape.clear();
  }
  CpuPool::instance().reset_peak();
  step();
  CAPTURE(peak() - nothing, to_string(q));
  CHECK(ratio(peak() - nothing, q.bytes(Purpose::training)) == Approx(1).epsilon(kernels_room()));
}

TEMPLATE_TEST_CASE("decoding takes the bytes that were planned", "", Middle3<Cpu>, Top2<Cpu>, Pair<Cpu>, Packed3<Cpu>) {
  constexpr Plan p = plan<TestType>(batch, length);
  const std::size_t nothing = live();
  const auto model = make<TestType>();
  CpuPool::instance().reset_peak();
  auto caches = model->make_caches(batch, length);
  CHECK(live() - nothing == p.weights() + p.caches() + p.folded);
  decode(*model, caches, [] {});
  CAPTURE(peak() - nothing, to_string(p));
  CHECK(ratio(peak() - nothing, p.bytes(Purpose::decoding)) == Approx(1).epsilon(kernels_room()));
}

TEMPLATE_TEST_CASE("the products of training and decoding are as many as planned", "", Middle3<Counting>,
                   Top2<Counting>, Pair<Counting>) {
  constexpr Plan p = plan<TestType>(batch, length), prompt = p.at(batch, length - 1);
  const auto model = make<TestType>();
  Tape<Counting> tape;
  Counting::flops = 0;
  backward(record_loss(*model, tape, length));
  CHECK(Counting::flops == Approx(p.training_flops * batch * length).epsilon(1e-12));
  model->anchor.checkpoint_every = 2;
  Counting::flops = 0;
  backward(record_loss(*model, tape, length));
  CHECK(Counting::flops == Approx(plan<TestType>(batch, length, 2).training_flops * batch * length).epsilon(1e-12));

  auto caches = model->make_caches(batch, length);
  Counting::flops = 0;
  decode(*model, caches, [&] {
    CHECK(Counting::flops == Approx(prompt.prefill_flops * batch * (length - 1)).epsilon(1e-12));
    Counting::flops = 0;
  });
  CHECK(Counting::flops == Approx(p.decoding_flops * batch).epsilon(1e-12));
}

TEST_CASE("a plan is a constant, and as much of it as fits is found before anything is allocated") {
  constexpr Plan p = plan<Middle3<Cpu>>(batch, length);
  static_assert(p.trainable_parameters == Middle3<Cpu>::trainable_parameters);
  static_assert(p.augment_parameters < On<Little, Cpu>::parameter_count, "nothing beyond the last link");
  static_assert(2 * plan<Packed3<Cpu>>(batch, length).caches() == p.caches(), "in bf16");

  const std::size_t before = live();
  const auto fits = [](std::size_t b, std::size_t n, std::size_t available) {
    return plan<Middle3<Cpu>>(b, n).bytes(Purpose::training) <= available;
  };
  require_fits(p, p.bytes(Purpose::training));
  require_fits(p, p.bytes(Purpose::decoding), Purpose::decoding);
  const std::size_t available = p.bytes(Purpose::training) / 2;
  std::size_t most = batch, longest = length;
  while (!fits(most, length, available)) --most;
  while (!fits(batch, longest, available)) --longest;
  REQUIRE(most > 0);
  CHECK_THROWS_WITH(require_fits(p, available),
                    "calm::require_fits: training on 4 texts of 96 tokens takes " +
                        std::to_string(p.bytes(Purpose::training)) + " bytes, available are " +
                        std::to_string(available) + "; a batch of " + std::to_string(most) + ", or a length of " +
                        std::to_string(longest) + " would fit");
  CHECK_THROWS_WITH(require_fits(p, p.weights()), Catch::Contains("not even one text"));
  CHECK(live() == before);
}

TEST_CASE("FLOPs of training follow the formula of the parts") {
  // 2 · augment + (2 + 2f) · anchor + 6 · bridges per token, f the share of the anchor above its first link; with no
  // attention to speak of and the head apart.
  constexpr Plan p = plan<Middle3<Cpu>>(1, 1);
  constexpr double augment = 2 * 3.0 * nn::BlockCost<Little, float>::products;
  constexpr double anchor = (2 * 5.0 + 2 * 3.0) * nn::BlockCost<Large, float>::products;
  constexpr double bridges = 6 * 3.0 * (48 * 72 + 4 * 72 * 72), head = 4.0 * 300 * 72;
  CHECK(p.training_flops == Approx(augment + anchor + bridges + head).epsilon(0.02));
}

TEST_CASE("a plan reads as a table") {
  const std::string text = to_string(plan<Middle3<Cpu>>(batch, length));
  CHECK_THAT(text, Catch::StartsWith("4 texts of 96 tokens\n"));
  CHECK_THAT(text, Catch::Contains("trainable\nper token, training"));
  CHECK_THAT(text, Catch::Contains("MiB"));
}

}  // namespace calm::test
