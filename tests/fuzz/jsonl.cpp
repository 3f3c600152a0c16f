// A JSONL file of training data.
#include <string>

#include "calm/text/jsonl.hpp"
#include "fuzz/target.hpp"

void calm::fuzz::read(std::string_view contents) {
  const File file(contents);
  accepts([&] {
    const text::Jsonl unchecked = text::Jsonl::open(file.path(), {.check = false});
    for (std::size_t i = 0; i < unchecked.size(); ++i) accepts([&] { unchecked[i]; });
  });
  const text::Jsonl lines = text::Jsonl::open(file.path());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const text::JsonlLine line = lines[i];
    check(line.kind == lines.kind(), "lines are of one kind");
    for (const std::string* text : {&line.text, &line.prompt, &line.completion})
      check(text::find_invalid_utf8(*text) == std::string::npos, "texts are UTF-8");
  }
}
