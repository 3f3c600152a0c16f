/// \file  The families of models that calm reads from Hugging Face directories.
#pragma once

#include <array>
#include <string_view>
#include <utility>

namespace calm::io {

/// A kind of architecture: what its config.json means and how its tensors are named.
enum class Family { gpt2, llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3_text, phi3 };

/// Each family with the `model_type` that config.json says.
inline constexpr std::array<std::pair<std::string_view, Family>, 9> families{{
    {"gpt2", Family::gpt2},
    {"llama", Family::llama},
    {"mistral", Family::mistral},
    {"qwen2", Family::qwen2},
    {"qwen3", Family::qwen3},
    {"gemma", Family::gemma},
    {"gemma2", Family::gemma2},
    {"gemma3_text", Family::gemma3_text},
    {"phi3", Family::phi3},
}};

}  // namespace calm::io
