/// \file  Files: safetensors and whole modules.
#pragma once

#include "calm/io/module_file.hpp"
#include "calm/io/record_file.hpp"
#include "calm/io/safetensors.hpp"
#include "calm/io/sha256.hpp"
