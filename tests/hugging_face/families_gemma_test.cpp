// Gemma 1, 2 and 3 against transformers: logits, gradients, greedy decoding with and without caches.
#include "hugging_face/family_check.hpp"

using namespace calm::test;

TEST_CASE("Gemma: one key head") { check_family<GemmaA>("gemma-a"); }

TEST_CASE("Gemma: as many key heads as heads") { check_family<GemmaB>("gemma-b"); }

TEST_CASE("Gemma 2: soft caps, every second block local") { check_family<Gemma2A>("gemma2-a"); }

TEST_CASE("Gemma 2: three blocks, a window of 3") { check_family<Gemma2B>("gemma2-b"); }

TEST_CASE("Gemma 3: norms of heads, positions of local blocks") { check_family<Gemma3TextA>("gemma3_text-a"); }

TEST_CASE("Gemma 3: every third block global, linearly scaled") { check_family<Gemma3TextB>("gemma3_text-b"); }
