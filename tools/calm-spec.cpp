// Writes a model's specification as a C++ header, from the config.json of its Hugging Face directory.
#include <cctype>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>

#include <CLI/CLI.hpp>

#include "calm/io/file.hpp"
#include "calm/io/hugging_face/config_fields.hpp"
#include "calm/io/hugging_face/model_config.hpp"

namespace {

/// The last folder of `directory` in camel case: "models/gemma-2b/" -> "Gemma2b".
std::string name_of(const std::string& directory) {
  const std::filesystem::path path = std::filesystem::weakly_canonical(directory);
  std::string name;
  bool upper = true;
  for (const char c : path.filename().string()) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isalnum(u)) name += static_cast<char>(upper ? std::toupper(u) : u);
    upper = !std::isalnum(u);
  }
  return name;
}

bool is_identifier(const std::string& name) {
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) return false;
  for (const char c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_') return false;
  }
  return true;
}

std::string header(const std::string& name, const calm::nn::TransformerConfig& config) {
  return "// Written by calm-spec from a config.json.\n#pragma once\n\n#include \"calm/nn/config.hpp\"\n\n" +
         calm::io::spec_source(name, config);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Writes the specification of a model as a C++ header"};
  std::string directory, name, output;
  app.add_option("directory", directory, "a folder with config.json, as save_pretrained writes it")->required();
  app.add_option("--name", name, "of the struct; else that of the folder, in camel case");
  app.add_option("--output", output, "the header to write; else it is printed");
  CLI11_PARSE(app, argc, argv);
  try {
    if (name.empty()) name = name_of(directory);
    if (!is_identifier(name)) throw calm::Error("calm-spec: '" + name + "' cannot name a struct; give another --name");
    const std::string text = header(name, calm::io::read_model_config(directory + "/config.json").config);
    if (output.empty())
      std::cout << text;
    else
      calm::io::write_file_atomically(output, text);
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
  return 0;
}
