/// \file  Lesson 3, a tiny transformer: a language model of bytes learns from a book, and writes.
///
///   03_tiny_transformer input.txt      (or CALM_TEST_DATA=folder, which has tinyshakespeare/input.txt)
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include <calm/generate/generate.hpp>
#include <calm/nn/initialise.hpp>
#include <calm/nn/transformer.hpp>
#include <calm/text/perplexity.hpp>
#include <calm/train/fit.hpp>

namespace {

// A model is a named struct with its shape: checked, counted and compiled for it.
struct Tiny {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 128, .hidden = 48, .layers = 2, .heads = 4, .inner = 128, .context = 256};
};
using Model = calm::nn::Transformer<Tiny, float, calm::Cpu, calm::Trainable>;
static_assert(Model::parameter_count < 100'000);

std::string book_at(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int main(int count, char** arguments) {
  const char* folder = std::getenv("CALM_TEST_DATA");
  const std::string path = count > 1 ? arguments[1] : std::string(folder ? folder : ".") + "/tinyshakespeare/input.txt";
  const std::string book = book_at(path);
  if (book.empty()) {
    std::cout << "skipped: no text at " << path << "; name one\n";
    return 0;
  }

  Model model;
  calm::nn::initialise(model, {.seed = 1, .deviation = 0.05});
  std::cout << "a model of " << Model::parameter_count << " parameters reads " << book.size() << " bytes\n";

  // Example i is a function of i alone: any piece of the book. Each byte is to be predicted from those before it.
  constexpr std::size_t length = 64;
  const auto pieces = [&](std::uint64_t i, calm::train::Example& example) {
    const auto begin = calm::random_below({1}, i, static_cast<std::uint32_t>(book.size() - length));
    example.tokens.assign(book.begin() + begin, book.begin() + begin + length);
  };
  const auto result = calm::train::fit(model, pieces, {.steps = 300, .batch_size = 16, .learning_rate = 1e-2,
      .warmup_steps = 20, .after_step = [](std::size_t step, double loss) {
        if (step == 1 || step % 100 == 0) std::cout << "step " << step << "  loss " << loss << " nats per byte\n";
      }});
  std::cout << "as unsure as between " << calm::text::perplexity(result.loss, 1) << " bytes\n";

  // The same type decodes: outside a recording, its parameters leave nothing on a tape.
  const std::string prompt = "ROMEO:\n";
  const auto tokens = calm::generate(model, {prompt.begin(), prompt.end()},
                                     {.max_new_tokens = 200, .temperature = 0.7, .seed = 1});
  std::cout << prompt << std::string(tokens.begin(), tokens.end()) << '\n';
}
// prints: step 1  loss 4.[89]
// prints: step 300  loss (1.[89]|2.0)
// prints: as unsure as between [67].
// prints: ROMEO:\n[A-Za-z]
