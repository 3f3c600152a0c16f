// The other files of tokenizers, by the first byte: tiktoken's ranks, GPT-2's merges, llama2.c's tokenizer.bin.
#include <string>

#include "calm/text/tokenizer/llama2c.hpp"
#include "calm/text/tokenizer/tiktoken.hpp"
#include "fuzz/tokenizer.hpp"

namespace {

/// Lines of all 256 bytes with ranks from 0 to 255, which a fuzzer would not find.
std::string byte_ranks() {
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (unsigned b = 0; b < 256; ++b)
    (((out += digits[b >> 2]) += digits[(b & 3) << 4]) += "== ").append(std::to_string(b)).append("\n");
  return out;
}

/// llama2.c's first 259 pieces: the unknown one, two controls, and the bytes.
std::string byte_pieces() {
  std::string out("\x40\0\0\0", 4);
  const auto add = [&](std::string_view piece) {
    out.append(4, '\0').append(1, static_cast<char>(piece.size())).append(3, '\0').append(piece);
  };
  for (const char* piece : {"<unk>", "\n<s>\n", "\n</s>\n"}) add(piece);
  for (unsigned b = 0; b < 256; ++b) {
    static constexpr char digits[] = "0123456789ABCDEF";
    add(std::string("<0x").append(1, digits[b >> 4]).append(1, digits[b & 15]).append(">"));
  }
  return out;
}

}  // namespace

void calm::fuzz::read(std::string_view contents) {
  if (contents.empty()) return;
  const std::string_view rest = contents.substr(1), text = rest.substr(rest.size() - rest.size() / 4);
  static const std::string ranks = byte_ranks(), pieces = byte_pieces();
  switch (contents[0]) {
    case 'r': return use_all(text::load_tiktoken(File(rest).path()), text);
    case 'R': return use_all(text::load_tiktoken(File(ranks + std::string(rest)).path()), text);
    case 'g': {
      static const File vocabulary(
          R"({"a": 0, "b": 1, "c": 2, "Ġ": 3, "ab": 4, "abc": 5, "Ġa": 6, "<|endoftext|>": 9})");
      return use_all(text::load_gpt2_bpe(vocabulary.path(), File(rest).path()), text);
    }
    case 'v': return use_all(text::load_gpt2_bpe(File(rest).path(), File("a b\n").path()), text);
    case 'l': return use_all(text::load_llama2c(File(rest).path()), text);
    case 'L': return use_all(text::load_llama2c(File(pieces + std::string(rest)).path()), text);
    default: return;
  }
}
