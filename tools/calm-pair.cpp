// Writes the type of a composition of two Hugging Face directories as a C++ header.
#include <algorithm>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>

#include <CLI/CLI.hpp>

#include "calm/io/file.hpp"
#include "calm/io/hugging_face/model_config.hpp"
#include "calm/text/tokenizer/load.hpp"
#include "tools/compose/pair_header.hpp"
#include "tools/compose/same_tokenizer.hpp"

namespace {

using namespace calm;

std::string described(const std::string& directory, const nn::TransformerConfig& c) {
  std::string text = directory + ": " + std::to_string(c.layers) + " layers, " + std::to_string(c.hidden) + " wide, ";
  return text.append(std::to_string(c.vocab)).append(" tokens, a context of ").append(std::to_string(c.context));
}

/// Throws unless the tokenizer of `directory` can be read and has no token that the model lacks.
void check_tokenizer(const std::string& directory, const nn::TransformerConfig& config) {
  const auto tokenizer = text::load_tokenizer(directory);
  if (tokenizer.size() > config.vocab)
    throw Error(directory + ": the tokenizer has " + std::to_string(tokenizer.size()) + " tokens, the model " +
                std::to_string(config.vocab) + "; they do not belong together");
}

/// Writes `text` unless the file says it already: a file that stays as it is asks for no compilation.
void write_if_new(const std::string& path, const std::string& text) {
  if (std::filesystem::is_regular_file(path)) {
    const auto file = io::MappedFile::open(path);
    if (file.size() == text.size() && std::equal(text.begin(), text.end(), reinterpret_cast<const char*>(file.data())))
      return;
  }
  io::write_file_atomically(path, text);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Writes the type of a composition of two Hugging Face directories as a C++ header"};
  programs::Pair pair;
  std::string anchor, augment, links = "auto", tokenizers = "auto", output;
  app.add_option("anchor", anchor, "the folder of the model that is extended")->required();
  app.add_option("augment", augment, "the folder of the model that it reads")->required();
  app.add_option("--links", links, "auto, a number, or pairs of layers as 1:2,3:5 (augment:anchor, from 0)")
      ->capture_default_str();
  app.add_option("--bridge", pair.bridge, "normalised, local, paper, encoder, flamingo or deepmind")
      ->capture_default_str();
  app.add_option("--bridge-heads", pair.heads, "heads of a bridge; else as many as the preset, or the anchor, has");
  app.add_option("--bridge-rank", pair.rank, "of the projection between the widths; else full");
  app.add_option("--dtype", pair.dtype, "of the frozen models' matrices: bf16 or fp32; all else is in fp32")
      ->capture_default_str();
  app.add_option("--tokenizers", tokenizers, "auto: one if the folders have the same, else two; one; two")
      ->check(CLI::IsMember({"auto", "one", "two"}))
      ->capture_default_str();
  app.add_option("--output", output, "the header to write; else it is printed");
  CLI11_PARSE(app, argc, argv);
  try {
    pair.anchor = io::read_model_config(anchor + "/config.json").config;
    pair.augment = io::read_model_config(augment + "/config.json").config;
    check_tokenizer(anchor, pair.anchor);
    check_tokenizer(augment, pair.augment);
    pair.links = programs::parse_links(links, pair.augment.layers, pair.anchor.layers);
    pair.own_tokenizer = tokenizers == "two" || (tokenizers == "auto" && !programs::same_tokenizer(anchor, augment));
    const std::string header = programs::pair_header(pair);
    if (output.empty()) {
      std::cout << header;
      return 0;
    }
    write_if_new(output, header);
    std::cout << "anchor   " << described(anchor, pair.anchor) << "\naugment  " << described(augment, pair.augment)
              << (pair.own_tokenizer ? "; a tokenizer of its own" : "; the same tokenizer") << "\nlinks    "
              << programs::links_text(pair.links) << " (augment layer : anchor layer), bridge " << pair.bridge
              << "; frozen matrices in " << pair.dtype << '\n';
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
  return 0;
}
