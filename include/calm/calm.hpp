/// \file  Everything but Hugging Face directories (calm/hugging_face.hpp), tokenizers (calm/text/tokenizer.hpp) and two
/// of them in one composition (calm/compose/two_tokenizers.hpp).
#pragma once

#include "calm/compose.hpp"
#include "calm/generate.hpp"
#include "calm/io.hpp"
#include "calm/nn.hpp"
#include "calm/tensor.hpp"
#include "calm/text.hpp"
#include "calm/train.hpp"
#include "calm/train/fit_features.hpp"
#include "calm/train/jsonl_stream.hpp"
#include "calm/version.hpp"
