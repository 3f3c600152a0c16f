/// \file  Lesson 4, freezing: what cannot learn is said by a type, so it costs nothing and cannot change.
#include <cstdio>
#include <string>

#include <calm/io/sha256.hpp>
#include <calm/nn/initialise.hpp>
#include <calm/nn/transformer.hpp>
#include <calm/train/fit.hpp>

namespace {

struct Tiny {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 16, .hidden = 32, .layers = 2, .heads = 2, .context = 16};
};

// One model in three modes. The third is LoRA: frozen, and each linear layer has a small trainable correction.
template <class Mode>
using Model = calm::nn::Transformer<Tiny, float, calm::Cpu, Mode>;
using Lora = calm::nn::LowRank<4>;

// Text i counts on from i, modulo the vocabulary.
void counting(std::uint64_t i, calm::train::Example& example) {
  example.tokens.resize(12);
  for (auto& token : example.tokens) token = static_cast<calm::Index>(i++ % 16);
}

template <class Model>
auto loss_of(const Model& model) {
  std::vector<calm::train::Example> examples(4);
  for (std::size_t i = 0; i < examples.size(); ++i) counting(3 * i, examples[i]);
  const auto batch = calm::train::collate<calm::Cpu>(examples);
  return model.loss(batch.tokens, batch.layout, batch.targets);
}

template <class Model>
std::size_t trainable_numbers(Model& model) {
  std::size_t count = 0;
  calm::nn::for_each_trainable(model, [&](const std::string&, auto& parameter) { count += parameter.value().size(); });
  return count;
}

/// How many operations a forward pass leaves for a way back.
template <class Model>
std::size_t recorded(const Model& model) {
  calm::Tape<calm::Cpu> tape;
  const auto recording = tape.record();
  loss_of(model);
  return tape.node_count();
}

template <class Model>
std::string digest_of_frozen(Model& model) {
  calm::io::Sha256 digest;
  calm::nn::for_each_parameter(model, [&](const std::string&, auto& parameter) {
    if constexpr (!std::remove_cvref_t<decltype(parameter)>::trainable)
      digest.update(parameter.value().data(), parameter.value().size() * sizeof(float));
  });
  return digest.hex().substr(0, 16);
}

}  // namespace

// The loss of a frozen model is a Tensor, a mere number: there is nothing to ask a gradient of, and backward(loss),
// or gradient(parameter), does not compile. One trainable parameter, and the loss is a Var.
static_assert(!calm::is_var<decltype(loss_of(Model<calm::Frozen>{}))>);
static_assert(calm::is_var<decltype(loss_of(Model<Lora>{}))>);

int main() {
  Model<calm::Trainable> trainable;
  Model<calm::Frozen> frozen;
  Model<Lora> lora;
  calm::nn::initialise(trainable, {.seed = 1, .deviation = 0.3});
  calm::nn::initialise(frozen, {.seed = 1, .deviation = 0.3});
  calm::nn::initialise(lora, {.seed = 1, .deviation = 0.3});

  std::printf("            trainable numbers  recorded operations  loss\n");
  const auto row = [](const char* mode, auto& model) {
    std::printf("%-10s %18zu %20zu %10.6f\n", mode, trainable_numbers(model), recorded(model),
                calm::value(loss_of(model))[0]);
  };
  row("Trainable", trainable);
  row("Frozen", frozen);
  row("LowRank<4>", lora);

  // The optimizer never sees what is frozen, so training the corrections leaves every other bit as it was.
  const std::string before = digest_of_frozen(lora);
  calm::train::fit(lora, counting, {.steps = 100, .batch_size = 16, .learning_rate = 1e-2, .warmup_steps = 5});
  std::printf("after training the corrections: loss %.6f, frozen weights %s\n", calm::value(loss_of(lora))[0],
              digest_of_frozen(lora) == before ? "unchanged" : "changed");
}
// prints: Trainable +33440 +[1-9][0-9]* +3.55
// prints: Frozen +0 +0 +3.55
// prints: LowRank<4> +5888 +[1-9][0-9]* +3.55
// prints: corrections: loss 0.[01][0-9]*, frozen weights unchanged
