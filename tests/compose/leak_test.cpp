// The test of random tokens has teeth: a composition that sees one token too far goes below ln V at once.
#include <cmath>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/train/fit.hpp"
#include "compose/models.hpp"

namespace {

using namespace calm;
using namespace calm::test;

/// A composition whose positions see `Ahead` tokens beyond their own.
template <std::size_t Ahead>
struct Peeking {
  using Model = Small<float, bridge::Local>;
  using device = Cpu;
  using spec = AnchorSpec;

  std::unique_ptr<Model> model = make_small<Model>(false);

  auto loss(const nn::Tokens<Cpu>& tokens, nn::Layout<Cpu> layout, const nn::Tokens<Cpu>& targets) const {
    layout.keys.end = layout.keys.end.clone();
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (layout.keys.end[i] < static_cast<Index>(layout.time())) {
        layout.keys.end.mutable_data()[i] += static_cast<Index>(Ahead);
      }
    }
    return model->loss(tokens, layout, targets);
  }
  void visit(auto&& v) { v("model", *model); }
};

void random_text(std::uint64_t i, train::Example& out) {
  out.tokens.resize(12);
  for (std::size_t t = 0; t < 12; ++t) {
    out.tokens[t] = static_cast<Index>(random_below({8, 1}, i * 12 + t, AnchorSpec::config.vocab));
  }
  out.prompt = 1;
}

template <std::size_t Ahead>
double loss_after_training() {
  Peeking<Ahead> m;
  train::fit(m, random_text, {.steps = 100, .batch_size = 32, .learning_rate = 1e-2, .progress = false});
  std::vector<train::Example> unseen(200);
  for (std::size_t i = 0; i < unseen.size(); ++i) random_text(1'000'000 + i, unseen[i]);
  const auto batch = train::collate<Cpu>(unseen);
  return static_cast<double>(value(m.loss(batch.tokens, batch.layout, batch.targets))[0]);
}

}  // namespace

TEST_CASE("a composition that sees one token ahead learns random tokens; one that does not, does not") {
  CHECK(loss_after_training<1>() < std::log(16.0) - 0.3);
  CHECK(loss_after_training<0>() > std::log(16.0) - 0.01);
}
