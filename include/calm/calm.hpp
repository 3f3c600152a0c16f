/// \file  Everything but Hugging Face directories (calm/hugging_face.hpp) and tokenizers (calm/text/tokenizer.hpp).
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
