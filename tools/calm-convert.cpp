// Converts checkpoints of other projects into Hugging Face directories.
#include <exception>
#include <iostream>
#include <string>

#include <CLI/CLI.hpp>

#include "tools/convert/llama2c.hpp"
#include "tools/convert/mingpt.hpp"

int main(int argc, char** argv) {
  CLI::App app{"Converts a checkpoint of another project into a Hugging Face directory"};
  app.require_subcommand(1);
  std::string from, directory;
  const auto add = [&](const char* name, const char* what, void (*convert)(const std::string&, const std::string&)) {
    CLI::App* command = app.add_subcommand(name, what);
    command->add_option("file", from, "the checkpoint")->required()->check(CLI::ExistingFile);
    command->add_option("directory", directory, "the folder to write, which is made")->required();
    command->callback([&, convert] { convert(from, directory); });
  };
  add("llama2c", "a .bin file of karpathy/llama2.c, version 0", calm::convert::convert_llama2c);
  add("mingpt", "a karpathy/minGPT in JSON, as in bbycroft/llm-viz", calm::convert::convert_mingpt);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e);
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
  return 0;
}
