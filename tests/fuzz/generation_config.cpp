// generation_config.json.
#include <cmath>
#include <string>

#include "calm/generate/generation_config.hpp"
#include "fuzz/target.hpp"

void calm::fuzz::read(std::string_view contents) {
  const File file(contents);
  const GenerateOptions options = read_generation_config(file.path());
  check(std::isfinite(options.temperature) && options.temperature >= 0, "the temperature is a number");
  check(options.top_p > 0 && options.top_p <= 1 && options.min_p >= 0 && options.min_p <= 1, "shares are shares");
  for (const Index end : options.end_tokens) check(end >= 0, "an end is a token");
}
