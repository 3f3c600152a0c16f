// Composes the pair of models that it was compiled for: see scripts/compose.
#include <cstdio>
#include <exception>

#include <CLI/CLI.hpp>

#include "pair.hpp"  // written by calm-pair
#include "tools/compose/session.hpp"
#include "tools/compose/settings.hpp"

int main(int argc, char** argv) {
  using namespace calm;
  CLI::App app{"Trains bridges between two models, says what they bring, and continues prompts with them"};
  programs::ComposeSettings settings;
  programs::add_options(app, settings);
  CLI11_PARSE(app, argc, argv);
  try {
    if (settings.data.empty() && settings.prompts.empty())
      throw Error("nothing to do; give --data, --generate or both");
    programs::Session<pair::Model> session(settings);
    if (settings.data.empty())
      session.load_bridges();
    else if (!session.train())
      return 130;
    return settings.prompts.empty() || session.generate() ? 0 : 130;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
