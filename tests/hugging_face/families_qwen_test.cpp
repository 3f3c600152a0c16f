// GPT-2, Qwen 2 and Qwen 3 against transformers: logits, gradients, greedy decoding with and without caches.
#include "hugging_face/family_check.hpp"

using namespace calm::test;

TEST_CASE("GPT-2: transposed and fused projections") { check_family<Gpt2A>("gpt2-a"); }

TEST_CASE("GPT-2: heads of 5, exact GELU, a head of its own, in shards") { check_family<Gpt2B>("gpt2-b"); }

TEST_CASE("Qwen 2: biases of queries, keys and values") { check_family<Qwen2A>("qwen2-a"); }

TEST_CASE("Qwen 2: one key head, linearly scaled positions") { check_family<Qwen2B>("qwen2-b"); }

TEST_CASE("Qwen 3: norms of heads") { check_family<Qwen3A>("qwen3-a"); }

TEST_CASE("Qwen 3: heads wider than their share") { check_family<Qwen3B>("qwen3-b"); }

TEST_CASE("Qwen 3: positions scaled by YaRN") { check_family<Qwen3C>("qwen3-c"); }
