/// \file  Texts: JSONL data on disk, and what generated text is measured by.
#pragma once

#include "calm/text/accuracy.hpp"
#include "calm/text/bleu.hpp"
#include "calm/text/chrf.hpp"
#include "calm/text/jsonl.hpp"
#include "calm/text/pass_at_k.hpp"
#include "calm/text/perplexity.hpp"
