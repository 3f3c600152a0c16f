/// \file  A conversation with a model: a line of input for each message of the user.
#pragma once

#include <unistd.h>

#include <iostream>
#include <istream>
#include <string>

#include "tools/generate/prompt_reader.hpp"

namespace calm::programs {

/// Asks `go_on` (a Continuer) for an answer to each line, until there is none. Returns false if a signal ended it.
template <class GoOn>
bool converse(PromptReader& read, GoOn& go_on, std::istream& lines) {
  const bool prompts = ::isatty(STDIN_FILENO) == 1;
  for (std::string line;;) {
    if (prompts) std::cerr << "> " << std::flush;
    if (!std::getline(lines, line)) return true;
    if (line.empty()) continue;
    if (!go_on({read.ask(line)})) return false;
    read.answered(go_on.added(0));
  }
}

}  // namespace calm::programs
