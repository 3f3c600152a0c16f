// tokenizer.json, and the tokenizer that comes of it.
#include "calm/text/tokenizer/tokenizer_json.hpp"
#include "fuzz/tokenizer.hpp"

void calm::fuzz::read(std::string_view contents) {
  const File file(contents);
  use_all(text::load_tokenizer_json(file.path()), contents.substr(contents.size() - contents.size() / 4));
}
