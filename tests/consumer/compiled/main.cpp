// A program of two files that links calm::compiled.
#include <calm/calm.hpp>
#include <calm/text/tokenizer/load.hpp>

std::size_t train_a_little();

int main() {
  try {
    calm::text::load_tokenizer("a folder that is not there");
  } catch (const calm::Error&) {
    return train_a_little() == 2 ? 0 : 1;
  }
  return 1;
}
