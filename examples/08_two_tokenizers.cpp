/// \file  Lesson 8, two tokenizers: the anchor reads letters, the augment whole words.
///
/// Lesson 5 again, with keys of three letters. The augment knows each as one token; the anchor has only seen sums like
/// "003+004=7". Behind each letter it sees the augment's reading of the text up to there, in training as in decoding.
#include <cstdio>
#include <string>
#include <vector>

#include <calm/calm.hpp>
#include <calm/compose/two_tokenizers.hpp>

namespace {

using calm::Index, calm::text::Tokenizer, calm::train::Example;
constexpr Index digits = 5, keys = 40, practised = 30;  // operands: 0 to 4, then the keys
const std::string letters = "bdglmnrsaeiou012345678+=";
constexpr Index meaning(Index operand) { return operand < digits ? operand : 3 * (operand - digits) % digits; }
std::string spelled(Index operand) {
  if (operand < digits) return "00" + std::to_string(operand);
  const auto i = static_cast<std::size_t>(operand - digits);
  return {letters[i % 8], letters[8 + i / 8], letters[(3 * i + 1) % 8]};
}

/// Letters; and for `words` every key and its first two letters. Neighbours merge where they make a piece.
Tokenizer tokenizer(bool words) {
  std::vector<std::string> pieces;
  for (const char c : letters) pieces.emplace_back(1, c);
  for (Index i = 0; words && i < keys; ++i) pieces.push_back(spelled(digits + i).substr(0, 2));
  for (Index i = 0; words && i < keys; ++i) pieces.push_back(spelled(digits + i));
  calm::text::TokenizerParts parts;
  for (const auto& piece : pieces) parts.vocabulary.set(static_cast<Index>(parts.vocabulary.size()), piece);
  calm::text::Bpe bpe(parts.vocabulary, {});
  for (Index i = 24; words && i < 24 + 2 * keys; ++i) bpe.add_cuts(parts.vocabulary, i, static_cast<std::uint32_t>(i));
  parts.model = std::move(bpe);
  return Tokenizer(std::move(parts));
}
const Tokenizer by_letter = tokenizer(false), by_word = tokenizer(true);

template <std::size_t Vocab>
struct Tiny {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = Vocab, .hidden = 48, .layers = 2, .heads = 4, .context = 12, .window = 1, .local_layers = 1};
};
template <std::size_t Vocab, class Mode = calm::Frozen>
using Transformer = calm::nn::Transformer<Tiny<Vocab>, float, calm::Cpu, Mode>;
using Words = calm::Retokenized<Transformer<104>, calm::LayerMap<calm::Link<0, 0>>, calm::bridge::Local>;
using Model = calm::Compose<Transformer<24>, Words>;

/// "x+y=" and the digit that follows: pair `i` of `count` operands from `first` on.
Example sum(Index first, std::uint32_t count, std::uint32_t i) {
  const Index x = first + static_cast<Index>(i / count), y = first + static_cast<Index>(i % count);
  return {.tokens = by_letter.ids(spelled(x) + "+" + spelled(y) + "=" + std::to_string(meaning(x) + meaning(y))),
          .prompt = 8, .labels = {}};
}
auto sums(Index first, std::uint32_t count) {
  return [=](std::uint64_t i, Example& e) { e = sum(first, count, calm::random_below({}, i, count * count)); };
}
/// The augment's lessons: a key in its own tokens, and what it stands for.
void meanings(std::uint64_t i, Example& example) {
  const Index x = digits + static_cast<Index>(i % keys);
  example = {.tokens = by_word.ids(spelled(x) + std::to_string(meaning(x))), .prompt = 1, .labels = {}};
}
template <std::size_t Vocab>
void train(const std::string& file, const auto& lessons, std::size_t steps) {
  Transformer<Vocab, calm::Trainable> model;
  calm::nn::initialise(model, {.deviation = 0.1});
  calm::train::fit(model, lessons, {.steps = steps, .learning_rate = 5e-3});
  calm::io::save_module(model, file);
}
/// Percent of right results over all pairs, decoded from the caches of both models.
std::uint32_t score(const Model& model, Index first, std::uint32_t count) {
  std::uint32_t right = 0;
  for (std::uint32_t i = 0; i < count * count; ++i) {
    const auto text = sum(first, count, i).tokens;
    right += calm::generate(model, {text.begin(), text.end() - 1}, {.max_new_tokens = 1})[0] == text.back();
  }
  return 100 * right / (count * count);
}

}  // namespace

int main() {
  train<24>("adder.safetensors", sums(0, digits), 300);
  train<104>("lexicon.safetensors", meanings, 150);
  Model model;
  calm::io::load_module(model.anchor, "adder.safetensors");
  calm::io::load_module(model.augment, "lexicon.safetensors", {.allow_unused = true});
  model.retokenizer = calm::retokenizer(by_letter, by_word);
  model.initialise_bridges();
  const auto text = model.retokenizer->text();
  for (const Index letter : by_letter.ids("lag+")) {
    std::printf("%zu tokens stay, ", text->push(letter));
    std::printf("the last is now \"%s\"\n", by_word.piece(text->tokens().back()).c_str());
  }
  calm::train::fit(model, [](std::uint64_t i, Example& example) {
    i % 4 == 0 ? sums(0, digits)(i, example) : sums(digits, practised)(i, example);
  }, {.steps = 300, .learning_rate = 1e-2});
  std::printf("digits %3u %%   practised words %3u %%   other words %3u %%\n", score(model, 0, digits),
              score(model, digits, practised), score(model, digits + practised, keys - practised));
}
// prints: 0 tokens stay, the last is now "lag"
// prints: 1 tokens stay, the last is now "."
// prints: digits +(9.|100) % +practised words +(9.|100) % +other words +([89].|100) %
