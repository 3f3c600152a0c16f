// Llama, Mistral and Phi-3 against transformers: logits, gradients, greedy decoding with and without caches.
#include "hugging_face/family_check.hpp"

using namespace calm::test;

TEST_CASE("Llama: grouped heads, a head of its own") { check_family<LlamaA>("llama-a"); }

TEST_CASE("Llama 3.1: scaled positions, tied head") { check_family<LlamaB>("llama-b"); }

TEST_CASE("Mistral: a window shorter than the text") { check_family<MistralA>("mistral-a"); }

TEST_CASE("Mistral: no window, wide heads, tied head") { check_family<MistralB>("mistral-b"); }

TEST_CASE("Phi-3: fused projections, a window") { check_family<Phi3A>("phi3-a"); }

TEST_CASE("Phi-3: part of each head turns, in shards") { check_family<Phi3B>("phi3-b"); }

TEST_CASE("Phi-3: a factor for each pair that turns, within the original context") { check_family<Phi3C>("phi3-c"); }
