/// \file  Inside the key-value arithmetic: what its link adds, where its heads look, what is said without it.
///
///     look_inside [bridges.safetensors [picture.svg]]
///
/// With the bases of seed 1 that are shipped, and bridges that `kv_arithmetic compose` wrote; without a file it trains
/// some for a minute or two. It draws docs/kv_attention.svg.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include <calm/compose.hpp>
#include <calm/generate/generate.hpp>
#include <calm/io/file.hpp>
#include <calm/io/module_file.hpp>
#include <calm/train/fit.hpp>

#include "kv_arithmetic/models.hpp"

namespace {

using kv::Example, kv::Index;
using S = kv::DefaultScale;
using Model = kv::Composed<S>;

constexpr std::uint64_t seed = 1;

void load(Model& model, const kv::KeyBook<S>& book, const std::string& bridges) {
  const std::filesystem::path bases = std::filesystem::path(__FILE__).parent_path() / "kv_arithmetic/bases/";
  calm::io::load_module(model.anchor, bases / "anchor-seed1.safetensors");
  calm::io::load_module(model.augment, bases / "augment-seed1.safetensors", {.allow_unused = true});
  if (!bridges.empty()) return calm::load_bridges(model, bridges);
  model.initialise_bridges(seed);
  calm::train::fit(model, kv::composition_stream<S>(book, seed),
                   {.steps = 1000, .batch_size = 64, .learning_rate = 6e-3, .name = "bridges"});
}

/// Expression i on keys that the bridges never saw.
kv::Expression drawn(const kv::KeyBook<S>& book, std::uint64_t i) {
  kv::Expression e;
  kv::draw(book, kv::Keys::held_out, {seed, 99}, i, e);
  return e;
}
/// It as KV-Math.
Example question(const kv::KeyBook<S>& book, const kv::Expression& e) {
  Example example;
  kv::Writer<S>(book).write(kv::Set::math, e, example);
  return example;
}

/// Draws what the bridge reads at each token of a question and of the model's own answer.
void draw_attention(const Model& model, const kv::KeyBook<S>& book, kv::Expression e, const std::string& picture) {
  e.operands.resize(2);
  e.operators = {kv::Operator::minus};  // the shortest answers
  Example shown = question(book, e);
  shown.tokens.resize(shown.prompt);
  const auto answer = calm::generate(model, shown.tokens, {.max_new_tokens = 8, .end_tokens = {S::end}});
  shown.tokens.insert(shown.tokens.end(), answer.begin(), answer.end());
  std::vector<std::string> labels;
  for (const Index token : shown.tokens) labels.push_back(kv::show<S>(book, {token}));
  shown.tokens.push_back(S::end);
  const auto batch = calm::train::collate<calm::Cpu>({&shown, 1});
  const auto weights = calm::attention_weights(model, 0, batch.tokens, batch.layout);
  const std::string title = "What each token (row) reads of the augment's states (columns)";
  calm::io::write_file_atomically(picture, calm::heat_map_svg(weights, labels, labels, title));
}

void run(const std::string& bridges, const std::string& picture) {
  const kv::KeyBook<S> book(seed);
  Model model;
  load(model, book, bridges);

  std::vector<Example> questions;
  for (std::uint64_t i = 0; i < 200; ++i) questions.push_back(question(book, drawn(book, i)));
  const auto batch = calm::train::collate<calm::Cpu>(questions);
  std::printf("%s\n", calm::to_string(calm::inspect(model, batch.tokens, batch.layout, seed)).c_str());
  std::printf("%s\n", calm::to_string(calm::ablate(model, batch.tokens, batch.layout, batch.targets)).c_str());
  draw_attention(model, book, drawn(book, 0), picture);
}

}  // namespace

int main(int argc, char** argv) try {
  run(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "kv_attention.svg");
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
