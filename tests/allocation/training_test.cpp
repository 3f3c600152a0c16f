// From the third training step on, the loop asks the system for no memory: the whole loop, from the making of the batch
// to the update, whoever asks.
#include "allocation/system_memory.hpp"

#include <array>
#include <cstdlib>
#include <memory>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/compose/compose.hpp"
#include "calm/train/feature_cache.hpp"
#include "calm/train/fit.hpp"
#include "io/temporary_folder.hpp"

namespace {

using namespace calm;

// Wide enough for products to pack their operands.
struct Anchor {
  static constexpr nn::TransformerConfig config{.vocab = 300,
                                                .hidden = 128,
                                                .layers = 3,
                                                .heads = 4,
                                                .kv_heads = 2,
                                                .inner = 512,
                                                .context = 64,
                                                .window = 8,
                                                .local_layers = 1};
};
struct Augment {
  static constexpr nn::TransformerConfig config{.vocab = 300,
                                                .hidden = 96,
                                                .layers = 2,
                                                .heads = 4,
                                                .context = 64,
                                                .norm = nn::NormKind::layer,
                                                .mlp = nn::MlpKind::gelu_tanh,
                                                .positions = nn::PositionKind::learned,
                                                .bias = true};
};
using Composed = Compose<nn::Transformer<Anchor, float, Cpu>, nn::Transformer<Augment, float, Cpu>,
                         LayerMap<Link<0, 0>, Link<1, 1>>>;
using Base = nn::Transformer<Anchor, float, Cpu, Trainable>;

constexpr std::size_t longest = 48, batch_size = 6;
#ifdef CALM_TEST_ASAN
constexpr std::size_t many_steps = 20, some_steps = 5;  // slow ones
#else
constexpr std::size_t many_steps = 150, some_steps = 20;
#endif

void fill(std::uint64_t i, std::size_t tokens, train::Example& out) {
  out.tokens.resize(tokens);
  for (std::size_t t = 0; t < tokens; ++t) {
    out.tokens[t] = static_cast<Index>(random_below({1, i + 1}, t, Anchor::config.vocab));
  }
  out.prompt = 1;
}
/// Texts of 2 to `longest` tokens, all different.
void ragged(std::uint64_t i, train::Example& out) { fill(i, 2 + random_below({1, 0}, i, longest - 1), out); }
void equally_long(std::uint64_t i, train::Example& out) { fill(i, longest, out); }

/// Keeps the compiler from leaving an allocation out.
void* used(void* memory) {
  asm volatile("" : "+r"(memory) : : "memory");
  return memory;
}

struct Requests {
  std::uint64_t first = 0;  ///< in the first two steps
  std::uint64_t later = 0;  ///< in all others
  std::uint64_t of_pool = 0;  ///< of these, the pool's
};

/// Trains and counts requests, those of the first two steps and those from then to the end of the last.
template <class Trained, class Stream>
Requests requests_of(Trained& model, Stream stream, train::FitOptions options) {
  const test::TemporaryFolder folder;
  options.metrics = folder / "log.jsonl";
  options.log_every = 7;
  options.batch_size = batch_size;
  options.progress = false;
  Requests requests;
  std::uint64_t start = 0, pool = 0;
  const std::uint64_t before = test::system_requests;
  options.after_step = [&](std::size_t step, double) {
    if (step == 2) {
      start = test::system_requests;
      pool = CpuPool::instance().use().system_calls;
    } else if (step == options.steps) {
      requests = {start - before, test::system_requests - start, CpuPool::instance().use().system_calls - pool};
    }
  };
  train::fit(model, stream, options);
  return requests;
}

template <class M>
std::unique_ptr<M> make() {
  auto model = std::make_unique<M>();
  if constexpr (requires { model->bridges; }) {
    nn::initialise(model->anchor, {.seed = 1});
    nn::initialise(model->augment, {.seed = 2});
    model->initialise_bridges(3);
  } else {
    nn::initialise(*model, {.seed = 1});
  }
  return model;
}

}  // namespace

TEST_CASE("the counter sees every kind of request") {
  const auto counted = [](auto&& f) {
    const std::uint64_t before = test::system_requests;
    f();
    return test::system_requests - before;
  };
  CHECK(counted([] { std::free(used(std::malloc(100))); }) == 1);
  CHECK(counted([] { std::free(used(std::calloc(10, 10))); }) == 1);
  CHECK(counted([] { std::free(used(std::realloc(nullptr, 100))); }) == 1);
  CHECK(counted([] { std::free(used(std::aligned_alloc(64, 128))); }) == 1);
  CHECK(counted([] { delete static_cast<int*>(used(new int)); }) == 1);
  constexpr std::align_val_t line{64};
  CHECK(counted([] { ::operator delete(used(::operator new(128, line)), line); }) == 1);
  CHECK(counted([] { const std::vector<int> v(1000); }) == 1);
  { const Storage<Cpu> first(1); }  // makes the pool
  CHECK(counted([] { const Storage<Cpu> s(std::size_t{3} << 20); }) == 1);
  CHECK(counted([] { const Storage<Cpu> s(std::size_t{3} << 20); }) == 0);  // the pool's own by now
}

TEMPLATE_TEST_CASE("from the third step on, training on ragged batches asks the system for nothing", "", Composed,
                   Base) {
  const auto requests = requests_of(*make<TestType>(), ragged, {.steps = many_steps, .longest = longest});
  CHECK(requests.first > 0);
  CHECK(requests.later == 0);
  CHECK(requests.of_pool == 0);
}

TEMPLATE_TEST_CASE("nor does training in parts", "", Composed, Base) {
  const auto requests =
      requests_of(*make<TestType>(), ragged, {.steps = many_steps, .accumulate = 2, .longest = longest});
  CHECK(requests.later == 0);
  CHECK(requests.of_pool == 0);
}

TEMPLATE_TEST_CASE("nor does training with checkpointed blocks", "", Composed, Base) {
  const auto model = make<TestType>();
  if constexpr (requires { model->bridges; })
    model->anchor.checkpoint_every = 1;
  else
    model->checkpoint_every = 1;
  const auto requests = requests_of(*model, ragged, {.steps = some_steps, .longest = longest});
  CHECK(requests.later == 0);
  CHECK(requests.of_pool == 0);
}

TEST_CASE("nor does the pool where features come from a file; libcrypto does for each digest") {
  const test::TemporaryFolder folder;
  const auto model = make<Composed>();
  train::FeatureCache cache(*model, {.path = folder / "features"});
  const auto epochs = [](std::uint64_t i, train::Example& out) { ragged(i % (2 * batch_size), out); };
  const auto requests = requests_of(cache, epochs, {.steps = some_steps, .longest = longest});
  CHECK(cache.misses() <= 2 * batch_size + 1);  // and the text of the rehearsal
  CHECK(requests.of_pool == 0);
}

TEMPLATE_TEST_CASE("nor does training on equally long texts of a length that nobody named", "", Composed, Base) {
  const auto requests = requests_of(*make<TestType>(), equally_long, {.steps = some_steps});
  CHECK(requests.later == 0);
  CHECK(requests.of_pool == 0);
}
