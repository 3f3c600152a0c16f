// tokenizer.model (SentencePiece), and the tokenizer that comes of it.
#include "calm/text/tokenizer/sentencepiece.hpp"
#include "fuzz/tokenizer.hpp"

void calm::fuzz::read(std::string_view contents) {
  const File file(contents);
  const text::Tokenizer tokenizer = text::load_sentencepiece(file.path());
  use_all(tokenizer, contents.substr(0, 64));
  accepts([&] { use(tokenizer, contents.substr(contents.size() - contents.size() / 4)); });  // it takes any bytes
}
