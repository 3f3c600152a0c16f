/// \file  Tokenizers and all of their files. Not part of calm/text.hpp: who needs it includes it, and links calm::text
/// for those that need PCRE2 or utf8proc.
#pragma once

#include "calm/text/tokenizer/llama2c.hpp"
#include "calm/text/tokenizer/load.hpp"
#include "calm/text/tokenizer/sentencepiece.hpp"
#include "calm/text/tokenizer/tiktoken.hpp"
#include "calm/text/tokenizer/tokenizer.hpp"
#include "calm/text/tokenizer/tokenizer_json.hpp"
