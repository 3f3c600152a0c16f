/// \file  Decoding: sampling, batches, requests that come and go, beam search.
#pragma once

#include "calm/generate/beam.hpp"
#include "calm/generate/decoder.hpp"
#include "calm/generate/generate.hpp"
#include "calm/generate/policies.hpp"
#include "calm/generate/proxy_tuning.hpp"
#include "calm/generate/sample.hpp"
