// Continues prompts with the model that it was compiled for: see calm_add_generator and scripts/generate.
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "calm/io/hugging_face/model_directory.hpp"
#include "calm/nn/transformer.hpp"
#include "calm/text/tokenizer/load.hpp"
#include "tools/generate/continue.hpp"
#include "tools/generate/converse.hpp"
#include "tools/generate/prompt_reader.hpp"
#include "tools/generate/prompts.hpp"

#include CALM_MODEL_HEADER

int main(int argc, char** argv) {
  using namespace calm;
  CLI::App app{"Continues prompts, as they come to a terminal"};
  std::string directory = CALM_MODEL_DIRECTORY, file;
  std::vector<std::string> prompts;
  programs::GenerateSettings settings;
  app.add_option("prompt", prompts, "what to continue; several are decoded together");
  app.add_option("--file", file, "a file with a prompt in each line (\\n: a new line within it)");
  app.add_option("--model", directory, "a folder of the same configuration as the one that this was compiled for");
  programs::add_options(app, settings);
  CLI11_PARSE(app, argc, argv);
  try {
    if (!file.empty()) {
      const auto lines = programs::read_prompts(file);
      prompts.insert(prompts.end(), lines.begin(), lines.end());
    }
    if (prompts.empty() && !settings.chat) throw Error("no prompt; give one, or a --file of them");
    nn::Transformer<CALM_MODEL, float, Cpu, FrozenAs<CALM_DTYPE>> model;
    io::load(model, directory);
    const text::Tokenizer tokenizer = text::load_tokenizer(directory);
    const programs::Ends ends = programs::read_ends(directory, tokenizer);
    if (settings.chat) settings.hides_prompt = true;
    programs::PromptReader read(settings, directory, tokenizer, ends);
    programs::Continuer go_on(model, tokenizer, settings, programs::options_of(settings, directory, ends));
    if (prompts.empty()) return programs::converse(read, go_on, std::cin) ? 0 : 130;
    std::vector<std::vector<Index>> tokens;
    for (const auto& prompt : prompts) tokens.push_back(read(prompt));
    return go_on(tokens) ? 0 : 130;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
