/// \file  The tokenizer of a model's directory, whichever file it is in.
#pragma once

#include <string>

#include "calm/compiled.hpp"
#include "calm/text/tokenizer/tokenizer.hpp"

namespace calm::text {

/// Reads the first of these that is in `directory`: tokenizer.json; tokenizer.model (SentencePiece); vocab.json with
/// merges.txt (GPT-2). Throws `Error` if there is none.
CALM_INLINE Tokenizer load_tokenizer(const std::string& directory);

}  // namespace calm::text

#ifndef CALM_COMPILED
#include "calm/text/tokenizer/load.ipp"
#endif
