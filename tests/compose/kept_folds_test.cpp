#include "calm/compose/kept_folds.hpp"

#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/compose/bridge_file.hpp"
#include "calm/compose/two_way.hpp"
#include "calm/generate/beam.hpp"
#include "calm/generate/generate.hpp"
#include "calm/train/adamw.hpp"
#include "compose/models.hpp"
#include "io/temporary_folder.hpp"
#include "support/gradient_check.hpp"

namespace {

using namespace calm;
using namespace calm::test;

using Model = Small<float>;

template <class M>
std::vector<float> decoded(const M& m) {
  auto caches = m.make_caches(1, 8);
  const auto last = Tensor<Index, Cpu, Batch>::full(Shape<Batch>(1), 6);
  const auto logits = m.next_logits(random_tokens(1, 7, 3), whole(1, 7), last, caches);
  return {logits.data(), logits.data() + logits.size()};
}
/// The same by bridges that were never folded before.
template <class M>
std::vector<float> decoded_anew(const M& m) {
  return decoded(*std::make_unique<M>(m));
}

template <class M>
const void* folded_memory(const M& m, std::size_t link) {
  return std::get<0>(m.make_caches(1, 8).augments).folded[link].k_proj.weight.value().data();
}

/// Decoding follows each change of the bridges, and what was made before is read as long as there is none.
template <class M, class Change>
void check_follows(M& m, const Change& change) {
  const auto before = decoded(m);
  REQUIRE(before == decoded_anew(m));
  change();
  const auto after = decoded(m);
  CHECK(after != before);
  CHECK(after == decoded_anew(m));
}

/// A step of training, large enough to be seen.
template <class M>
void step(M& m, train::AdamW<>& optimizer) {
  Tape<Cpu> tape;
  {
    const auto recording = tape.record();
    const auto tokens = random_tokens(2, 7, 4);
    backward(m.loss(tokens, whole(2, 7), tokens));
  }
  optimizer.step(1e-2);
  optimizer.zero_gradients();
}

}  // namespace

TEST_CASE("bridges are folded once while nothing changes, each by itself") {
  const auto m = make_small<Model>(true);
  const auto caches = m->make_caches(1, 8);
  const void *const first = folded_memory(*m, 0), *const second = folded_memory(*m, 1);
  CHECK(folded_memory(*m, 0) == first);
  m->scale[0] = 0.5;  // of no parameter
  CHECK(folded_memory(*m, 0) == first);
  m->bridges[1].o_proj.weight.assign(m->bridges[1].o_proj.weight.value().clone());
  CHECK(folded_memory(*m, 0) == first);
  const auto later = m->make_caches(1, 8);
  CHECK(std::get<0>(later.augments).folded[1].k_proj.weight.value().data() !=
        std::get<0>(caches.augments).folded[1].k_proj.weight.value().data());
  CHECK(second == std::get<0>(caches.augments).folded[1].k_proj.weight.value().data());
}

TEST_CASE("decoding reads each change of a bridge") {
  const auto m = make_small<Model>(true);
  train::AdamW<> optimizer(*m);
  for (int i = 0; i < 3; ++i) check_follows(*m, [&] { step(*m, optimizer); });

  const TemporaryFolder folder;
  save_bridges(*make_small<Model>(true, 1), folder / "bridges.safetensors");
  nn::initialise(m->anchor, {.seed = 1, .deviation = 0.3});
  check_follows(*m, [&] { load_bridges(*m, folder / "bridges.safetensors"); });

  auto& v = m->bridges[0].v_proj.weight;
  check_follows(*m, [&] { v.assign(random_tensor<std::remove_cvref_t<decltype(v.value())>>({}, 5)); });
  check_follows(*m, [&] { m->bridges[1] = m->bridges[0]; });
  check_follows(*m, [&] { m->bridges = make_small<Model>(true, 9)->bridges; });
  check_follows(*m, [&] { nn::initialise_trainable(*m, {.seed = 20, .deviation = 0.3}); });
}

TEST_CASE("whoever has a parameter to write may write it at any time") {
  const auto m = make_small<Model>(true);
  auto& weight = m->bridges[0].v_proj.weight.mutable_value();
  float* const numbers = weight.mutable_data();
  for (int i = 0; i < 3; ++i) check_follows(*m, [&] { numbers[i] += 1; });
  m->bridges[0].v_proj.weight.assign(weight.clone());
  check_follows(*m, [&] { weight.mutable_data()[5] += 1; });  // the reference outlives what it referred to
  m->bridges[0] = make_small<Model>(true, 9)->bridges[0];
  check_follows(*m, [&] { weight.mutable_data()[5] += 1; });  // and what the parameter was
}

TEST_CASE("an augment that reads the anchor follows likewise, both ways") {
  using Both = Compose<SmallAnchor<float>, TwoWay<SmallAugment<float>, LayerMap<Link<1, 2>>, LayerMap<Link<0, 1>>>>;
  const auto m = make_small<Both>(true);
  train::AdamW<> optimizer(*m);
  for (int i = 0; i < 2; ++i) check_follows(*m, [&] { step(*m, optimizer); });
  auto& back = m->back[0].v_proj.weight;
  check_follows(*m, [&] { back.assign(random_tensor<std::remove_cvref_t<decltype(back.value())>>({}, 5)); });
}

TEST_CASE("a decoder and a beam search behind a step of training read the trained bridges") {
  const auto m = make_small<Model>(true);
  train::AdamW<> optimizer(*m);
  const std::vector<Index> prompt{1, 2, 3};
  const auto scores = [&](const Model& model) {
    std::vector<double> all =
        complete(model, prompt, {.max_new_tokens = 8, .log_probabilities = true}).log_probabilities;
    for (const Beam& beam : beam_search(model, prompt, {.max_new_tokens = 8, .beams = 3})) all.push_back(beam.score);
    return all;
  };
  auto before = scores(*m);
  for (int i = 0; i < 3; ++i) {
    step(*m, optimizer);
    const auto after = scores(*m);
    CHECK(after != before);
    CHECK(after == scores(*std::make_unique<Model>(*m)));
    before = after;
  }
}
