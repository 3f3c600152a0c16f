// Converts checkpoints of other projects into Hugging Face directories.
#include <exception>
#include <iostream>
#include <string>

#include <CLI/CLI.hpp>

#include "calm/io/hugging_face/model_config.hpp"
#include "tools/convert/llama2c.hpp"
#include "tools/convert/mingpt.hpp"
#include "tools/convert/tokenizer_json.hpp"

int main(int argc, char** argv) {
  using namespace calm::convert;
  CLI::App app{"Converts a checkpoint of another project into a Hugging Face directory"};
  app.require_subcommand(1);
  std::string from, directory, tokenizer;
  bool digits = false;
  const auto add = [&](const char* name, const char* what) {
    CLI::App* command = app.add_subcommand(name, what);
    command->add_option("file", from, "the checkpoint")->required()->check(CLI::ExistingFile);
    command->add_option("directory", directory, "the folder to write, which is made")->required();
    return command;
  };
  CLI::App* llama2c = add("llama2c", "a .bin file of karpathy/llama2.c, version 0");
  llama2c->add_option("--tokenizer", tokenizer, "its tokenizer (tokenizer.bin), to become tokenizer.json")
      ->check(CLI::ExistingFile);
  CLI::App* mingpt = add("mingpt", "a karpathy/minGPT in JSON, as in bbycroft/llm-viz");
  mingpt->add_flag("--digits", digits, "its tokens are the digits from 0 on: write a tokenizer.json that says so");
  CLI11_PARSE(app, argc, argv);
  try {
    if (*llama2c) {
      convert_llama2c(from, directory);
      if (!tokenizer.empty()) convert_llama2c_tokenizer(tokenizer, directory);
    } else {
      convert_mingpt(from, directory);
      if (digits)
        write_digit_tokenizer(calm::io::read_model_config(directory + "/config.json").config.vocab, directory);
    }
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
  return 0;
}
