/// \file  llama.cpp's part of bench/peers/run: the anchor of composition.hpp alone, from a file of gguf_anchor.py.
///
///     llama_cpp_peer FILE.gguf THREADS
///
/// PyPI's source package of llama_cpp_python brings llama.cpp; from where it is unpacked, $CALM being this repository:
///
///     cmake -S vendor/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF
///     cmake --build build --target llama
///     g++ -std=c++20 -O2 -I $CALM/bench/peers -I vendor/llama.cpp/include -I vendor/llama.cpp/ggml/include \
///         $CALM/bench/peers/llama_cpp.cpp build/src/libllama.a build/ggml/src/libggml.a \
///         build/ggml/src/libggml-cpu.a build/ggml/src/libggml-base.a -fopenmp -ldl -o llama_cpp_peer
#include <llama.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "serve.hpp"

namespace {

constexpr std::int32_t length = 512, decoded = 128;

class Peer {
 public:
  Peer(const char* file, int threads) {
    llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    llama_model* const model = llama_model_load_from_file(file, llama_model_default_params());
    if (model == nullptr) std::exit(1);
    vocab_ = llama_vocab_n_tokens(llama_model_get_vocab(model));
    llama_context_params options = llama_context_default_params();
    options.n_ctx = length + decoded;
    options.n_batch = options.n_ubatch = length;
    options.n_threads = options.n_threads_batch = threads;
    context_ = llama_init_from_model(model, options);
    if (context_ == nullptr) std::exit(1);
  }

  double prefill() {
    std::vector<llama_token> text(length);
    for (std::int32_t t = 0; t < length; ++t) text[static_cast<std::size_t>(t)] = t * 7919 % vocab_;  // bench::texts
    llama_memory_clear(llama_get_memory(context_), true);
    return next_ = read(text.data(), length);
  }
  double decode() {
    if (llama_memory_seq_pos_max(llama_get_memory(context_), 0) < 0) prefill();
    llama_memory_seq_rm(llama_get_memory(context_), 0, length, -1);
    for (std::int32_t i = 0; i < decoded; ++i) next_ = read(&next_, 1);
    return next_;
  }

 private:
  llama_token read(llama_token* tokens, std::int32_t count) {
    if (llama_decode(context_, llama_batch_get_one(tokens, count)) != 0) std::exit(1);
    const float* const logits = llama_get_logits_ith(context_, -1);
    return static_cast<llama_token>(std::max_element(logits, logits + vocab_) - logits);
  }

  llama_context* context_;
  std::int32_t vocab_;
  llama_token next_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 1;
  llama_backend_init();
  Peer peer(argv[1], std::atoi(argv[2]));
  bench::serve({{"anchor_prefill", [&] { return peer.prefill(); }}, {"anchor_decode", [&] { return peer.decode(); }}});
}
