// What is computed does not depend on how many threads compute it: a training step, reading a prompt, and decoding.
#include "calm/tensor/cpu/parallel.hpp"

#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/compose/compose.hpp"
#include "calm/nn/initialise.hpp"
#include "calm/tensor/packed_tensor.hpp"
#include "calm/train/adamw.hpp"
#include "calm/train/step_loss.hpp"

#ifdef _OPENMP

namespace {

using namespace calm;

// Odd extents, so that every cut leaves something over; large enough for work to be cut at all.
struct Anchor {
  static constexpr nn::TransformerConfig config{.vocab = 509,
                                                .hidden = 132,
                                                .layers = 3,
                                                .heads = 6,
                                                .kv_heads = 3,
                                                .inner = 347,
                                                .context = 600,
                                                .window = 40,
                                                .local_layers = 1};
};
struct Augment {
  static constexpr nn::TransformerConfig config{.vocab = 509,
                                                .hidden = 100,
                                                .layers = 2,
                                                .heads = 5,
                                                .context = 600,
                                                .norm = nn::NormKind::layer,
                                                .mlp = nn::MlpKind::gelu_tanh,
                                                .positions = nn::PositionKind::learned,
                                                .bias = true};
};
template <class T, class Mode>
using Composed = Compose<nn::Transformer<Anchor, T, Cpu, Mode>, nn::Transformer<Augment, T, Cpu, Mode>,
                         LayerMap<Link<0, 0>, Link<1, 1>>>;

template <class Model>
std::unique_ptr<Model> make() {
  auto m = std::make_unique<Model>();
  nn::initialise(m->anchor, {.seed = 1, .deviation = 0.1});
  nn::initialise(m->augment, {.seed = 2, .deviation = 0.1});
  m->initialise_bridges(3);
  nn::initialise_trainable(*m, {.seed = 4, .deviation = 0.1});
  return m;
}

/// Everything that was computed, in order.
class Record {
 public:
  template <class T>
  void add(std::size_t n, const T* x) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(x);
    bytes_.insert(bytes_.end(), bytes, bytes + n * sizeof(T));
  }
  template <class X>
  void add(const X& x) {
    add(x.size(), x.data());
  }
  bool operator==(const Record&) const = default;

 private:
  std::vector<unsigned char> bytes_;
};

void text(std::uint64_t i, std::size_t length, train::Example& out) {
  out.tokens.resize(length);
  for (std::size_t t = 0; t < length; ++t)
    out.tokens[t] = static_cast<Index>(random_below({5, i}, t, Anchor::config.vocab));
  out.prompt = 1;
}

/// Two steps on texts of several lengths: losses, gradients, their norms, and what becomes of the bridges.
template <class Model>
Record train_record(Model& model) {
  std::vector<train::Example> examples(5);
  const std::size_t lengths[] = {140, 3, 97, 34, 66};
  for (std::size_t i = 0; i < examples.size(); ++i) text(i, lengths[i], examples[i]);
  Tape<Cpu> tape;
  train::AdamW<Accumulator<typename Model::value_type>> optimizer(model);
  Record record;
  for (int step = 0; step < 2; ++step) {
    train::CollatedLoss loss;
    const auto made = train::detail::accumulate_gradients(model, tape, loss, examples, 1);
    record.add(1, &made.loss);
    nn::for_each_trainable(model, [&](const std::string&, auto& p) { record.add(p.value().size(), p.gradient()); });
    const train::GradientNorm norm = optimizer.gradient_norm();
    record.add(1, &norm.value);
    optimizer.clip_gradients(1.0, norm.value);
    optimizer.step(1e-2);
    optimizer.zero_gradients();
  }
  nn::for_each_trainable(model, [&](const std::string&, auto& p) { record.add(p.value()); });
  return record;
}

/// Two prompts and four tokens behind each; one of the prompts has more keys than decoding reads in one part.
template <class Model>
Record decode_record(const Model& model) {
  const std::vector<Index> prompts{300, 21};
  auto caches = model.make_caches(2, 320);
  Record record;
  const auto pass = [&](const nn::Layout<Cpu>& layout, const Tensor<Index, Cpu, Batch>& last) {
    nn::Tokens<Cpu> tokens(layout.position.shape());
    for (std::size_t i = 0; i < tokens.size(); ++i)
      tokens.mutable_data()[i] = static_cast<Index>(random_below({6, i}, layout.time(), Anchor::config.vocab));
    record.add(model.next_logits(tokens, layout, last, caches));
  };
  const auto last = [](Index a, Index b) { return Tensor<Index, Cpu, Batch>::from(Shape<Batch>(2), {a, b}); };
  pass(nn::pad_right<Cpu>(prompts, 300), last(299, 20));
  for (Index t = 0; t < 4; ++t) {
    const std::vector<Index> start{300 + t, 21 + t}, one{1, 1};
    pass(nn::continue_at<Cpu>(start, one, 1), last(0, 0));
  }
  return record;
}

/// f() with so many threads.
template <class F>
Record with_threads(int threads, const F& f) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  Record record = f();
  omp_set_num_threads(before);
  return record;
}

}  // namespace

TEMPLATE_TEST_CASE("training and decoding have the same bits on any number of threads", "",
                   (Composed<float, Frozen>), (Composed<double, Frozen>), (Composed<bf16, Frozen>),
                   (Composed<float, FrozenAs<bf16>>), (Composed<float, FrozenAs<float>>)) {
  const auto trained = [] { return train_record(*make<TestType>()); };
  const auto model = make<TestType>();
  const auto decoded = [&] { return decode_record(*model); };
  const Record one_trained = with_threads(1, trained), one_decoded = with_threads(1, decoded);
  for (const int threads : {2, 3, 4}) {
    INFO(threads << " threads");
    CHECK((with_threads(threads, trained) == one_trained));
    CHECK((with_threads(threads, decoded) == one_decoded));
  }
}

TEST_CASE("a loop within a parallel region, or of little work, takes no threads") {
  const int before = omp_get_max_threads();
  omp_set_num_threads(4);
  CHECK(kernel::parts_of(100, 10) == 4);
  CHECK(kernel::parts_of(100, 60) == 1);
  std::size_t parts = 0, sum = 0;
#pragma omp parallel num_threads(2) reduction(+ : parts, sum)
  {
    parts += kernel::parts_of(100, 10);
    kernel::parallel_ranges(100, 10, [&](std::size_t begin, std::size_t end) { sum += end - begin; });
    kernel::parallel_items(3, [&](std::size_t, std::size_t i) { sum += i; });
  }
  CHECK(parts == 2);
  CHECK(sum == 2 * 103);
  omp_set_num_threads(before);
}

#endif
