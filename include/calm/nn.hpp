/// \file  Modules: transformers and what they are made of.
#pragma once

#include "calm/nn/initialise.hpp"
#include "calm/nn/lora.hpp"
#include "calm/nn/merge.hpp"
#include "calm/nn/transformer.hpp"
