/// \file  What decoding is asked for, and what it gives back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "calm/generate/log_probability.hpp"
#include "calm/generate/policies.hpp"
#include "calm/tensor/error.hpp"

namespace calm {

/// Why a text ended.
enum class Finish {
  length,         ///< it has as many new tokens as were asked for
  end_token,      ///< an end token came
  stop_sequence,  ///< a stop sequence of tokens came
  stop_string,    ///< a stop string came
  caller,         ///< the callback said so
};

/// One token, as it becomes certain that it is part of the output.
struct TokenEvent {
  std::size_t text;        ///< which: the place of its prompt in the batch, or the request's number in a Decoder
  std::size_t place;       ///< among the text's new tokens, from 0
  Index token;
  double log_probability;  ///< under the model's own distribution
};

/// How texts are continued, and where they end. What means nothing is refused by whoever takes it (`Error`).
struct GenerateOptions {
  std::size_t max_new_tokens = 64;

  double temperature = 0;         ///< 0: greedy
  std::size_t top_k = 0;          ///< 0: all tokens
  double top_p = 1;               ///< in (0, 1]; 1: all
  double min_p = 0;               ///< in [0, 1]; 0: all
  double repetition_penalty = 1;  ///< above 0; 1: none. Applies to greedy decoding too
  Policy policy{};                ///< the caller's own (bans, biases, grammars); it comes before all of these
  std::uint64_t seed = 0;         ///< of the drawing; text b draws from stream b

  std::vector<Index> end_tokens{};  ///< each stops a text, and is not part of the output
  /// Tokens that stop a text when they come one after the other; they are not part of the output.
  std::vector<std::vector<Index>> stop_sequences{};
  /// Bytes that stop a text. They are not part of `Completion::text`, nor are the tokens that hold any of them part of
  /// the output. They are looked for in what is new, not across the end of the prompt.
  std::vector<std::string> stop_strings{};
  /// The bytes of a token: needed for stop strings, and for `Completion::text`.
  std::function<std::string(Index)> text_of{};

  bool log_probabilities = false;  ///< whether to keep that of each new token
  std::size_t alternatives = 0;    ///< how many of the most likely tokens to keep at each place
  /// Called for each new token; false ends its text behind it. Tokens that may yet turn out to begin a stop wait until
  /// that is known. What it throws passes through.
  std::function<bool(const TokenEvent&)> on_token{};
};

/// The continuation of one prompt.
struct Completion {
  std::vector<Index> tokens;              ///< the new ones, without what stopped the text
  Finish finish = Finish::length;
  std::string text;                       ///< their bytes, to the byte before a stop string; empty without `text_of`
  std::vector<double> log_probabilities;  ///< per token, under the model's own distribution: before every policy
  std::vector<std::vector<TokenScore>> alternatives;  ///< per token, best first, under the same distribution
};

namespace detail {

inline void require_setting(bool ok, const char* name, double found, const char* expected) {
  require(ok, [&] {
    return std::string("calm::generate: ") + name + " is " + std::to_string(found) + "; expected " + expected;
  });
}

inline void check_end_token(const std::string& function, Index token, std::size_t vocab) {
  require(token >= 0 && static_cast<std::size_t>(token) < vocab, [&] {
    return function + ": end token " + std::to_string(token) + " is outside the vocabulary of " +
           std::to_string(vocab);
  });
}

/// Throws `Error` for settings that mean nothing. Comparisons are written so that NaN fails them.
inline void check_options(const GenerateOptions& o, std::size_t vocab) {
  require_setting(o.temperature >= 0 && std::isfinite(o.temperature), "temperature", o.temperature,
                  "0 (greedy) or a finite number above");
  require_setting(o.top_p > 0 && o.top_p <= 1, "top_p", o.top_p, "a number in (0, 1]");
  require_setting(o.min_p >= 0 && o.min_p <= 1, "min_p", o.min_p, "a number in [0, 1]");
  require_setting(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty), "repetition_penalty",
                  o.repetition_penalty, "a finite number above 0; 1 for none");
  for (const Index token : o.end_tokens) check_end_token("calm::generate", token, vocab);
  for (std::size_t i = 0; i < o.stop_sequences.size(); ++i) {
    require(!o.stop_sequences[i].empty(), [&] {
      return "calm::generate: stop sequence " + std::to_string(i) + " is empty; expected at least one token";
    });
  }
  for (std::size_t i = 0; i < o.stop_strings.size(); ++i) {
    require(!o.stop_strings[i].empty(), [&] {
      return "calm::generate: stop string " + std::to_string(i) + " is empty; expected at least one byte";
    });
  }
  require(o.stop_strings.empty() || o.text_of, [] {
    return std::string("calm::generate: stop strings without text_of; expected a function from a token to its bytes");
  });
  require(o.alternatives <= vocab, [&] {
    return "calm::generate: " + std::to_string(o.alternatives) + " alternatives are asked for; the vocabulary has " +
           std::to_string(vocab) + " tokens";
  });
}

/// Throws `Error` for a token that the model does not have; `place` says where token i stands.
template <class Place>
void check_tokens(const std::string& function, std::span<const Index> tokens, std::size_t vocab, const Place& place) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    require(tokens[i] >= 0 && static_cast<std::size_t>(tokens[i]) < vocab, [&] {
      return function + ": token " + std::to_string(tokens[i]) + " at " + place(i) +
             " is outside the vocabulary of " + std::to_string(vocab);
    });
  }
}

}  // namespace detail
}  // namespace calm
