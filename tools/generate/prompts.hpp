/// \file  Prompts from a file.
#pragma once

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "calm/tensor/error.hpp"

namespace calm::programs {

/// The lines of `path`, each a prompt; "\n" in a line is a new line in the prompt, "\\" a backslash. Throws `Error` if
/// the file cannot be read, or holds no line, or an empty one.
inline std::vector<std::string> read_prompts(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw Error(path + ": cannot be opened; expected a file with a prompt in each line");
  std::vector<std::string> prompts;
  for (std::string line; std::getline(in, line);) {
    std::string prompt;
    for (std::size_t i = 0; i < line.size(); ++i) {
      const bool escaped = line[i] == '\\' && i + 1 < line.size() && (line[i + 1] == 'n' || line[i + 1] == '\\');
      prompt += escaped ? (line[++i] == 'n' ? '\n' : '\\') : line[i];
    }
    if (prompt.empty()) throw Error(path + ":" + std::to_string(prompts.size() + 1) + ": an empty prompt; remove it");
    prompts.push_back(std::move(prompt));
  }
  if (prompts.empty()) throw Error(path + ": found no line; expected a prompt in each");
  return prompts;
}

}  // namespace calm::programs
