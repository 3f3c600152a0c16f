/// \file  Continues prompts and prints what comes, as it comes.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "calm/generate/decoder.hpp"
#include "calm/generate/generation_config.hpp"
#include "calm/text/tokenizer/tokenizer.hpp"
#include "calm/train/stop_on_signal.hpp"
#include "tools/generate/ends.hpp"
#include "tools/generate/settings.hpp"

namespace calm::programs {

/// How the model in `directory` is to be decoded: the call, before generation_config.json, before calm's defaults.
inline GenerateOptions options_of(const GenerateSettings& s, const std::string& directory, const Ends& ends) {
  GenerateOptions options;
  options.end_tokens = ends.end;
  const std::string file = directory + "/generation_config.json";
  if (std::filesystem::is_regular_file(file)) options = read_generation_config(file, options);
  const auto set = [](auto& option, const auto& said) {
    if (said) option = *said;
  };
  set(options.max_new_tokens, s.max_new_tokens);
  set(options.temperature, s.temperature);
  set(options.top_k, s.top_k);
  set(options.top_p, s.top_p);
  set(options.min_p, s.min_p);
  set(options.repetition_penalty, s.repetition_penalty);
  options.seed = s.seed;
  options.stop_strings.insert(options.stop_strings.end(), s.stops.begin(), s.stops.end());
  options.end_tokens.insert(options.end_tokens.end(), s.ends.begin(), s.ends.end());
  options.log_probabilities = s.log_probabilities;
  return options;
}

inline const char* name_of(Finish finish) {
  static constexpr const char* names[] = {"length", "end_token", "stop_sequence", "stop_string", "interrupted"};
  return names[static_cast<std::size_t>(finish)];
}

/// Continues prompts with one model. One prompt is printed token by token, several one after the other, each when it
/// and those before it are done.
template <class Model>
class Continuer {
 public:
  Continuer(const Model& model, const text::Tokenizer& tokenizer, const GenerateSettings& settings,
            GenerateOptions options)
      : model_(model), tokenizer_(tokenizer), settings_(settings), options_(std::move(options)) {}

  /// Returns false if a signal ended it. Throws `Error`, for a prompt that is too long, say.
  bool operator()(const std::vector<std::vector<Index>>& prompts) {
    const train::StopOnSignal stop;
    Decoder<Model> decoder(model_, {.slots = std::min(prompts.size(), settings_.together)});
    texts_.clear();
    for (std::size_t i = 0; i < prompts.size(); ++i) submit(decoder, prompts[i], i, prompts.size() == 1, stop);
    const auto begin = std::chrono::steady_clock::now();
    std::size_t printed = 0, tokens = 0;
    for (bool more = true; more && !stop.asked();) {
      more = decoder.step();
      for (; printed < texts_.size(); ++printed) {
        const auto done = decoder.take(printed);
        if (!done) break;
        tokens += done->tokens.size();
        print(*texts_[printed], *done);
      }
    }
    std::cout << std::flush;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (::isatty(STDERR_FILENO) == 1)
      std::fprintf(stderr, "%s%zu tokens in %.2f s: %.1f tokens/s\n", stop.asked() ? "\n" : "", tokens, seconds,
                   static_cast<double>(tokens) / seconds);
    return !stop.asked();
  }

  /// What was added to prompt `i` of the last call.
  const std::string& added(std::size_t i) const { return texts_[i]->added; }

 private:
  /// A text on its way to the terminal.
  struct Text {
    std::string prompt;
    text::TokenStream shown;  // reads the prompt first, so that the blank between it and what is new is there
    bool streams;
    std::string added{};  // to it, as shown so far
  };

  void submit(Decoder<Model>& decoder, std::vector<Index> tokens, std::size_t i, bool streams,
              const train::StopOnSignal& stop) {
    auto& text = texts_.emplace_back(std::make_unique<Text>(Text{{}, tokenizer_.stream(), streams && !settings_.json}));
    for (const Index token : tokens) text->prompt += text->shown.push(token);
    GenerateOptions options = options_;
    if (!settings_.max_new_tokens && tokens.size() <= Decoder<Model>::context)
      options.max_new_tokens = std::min(options.max_new_tokens, Decoder<Model>::context + 1 - tokens.size());
    if (!options.stop_strings.empty()) {
      // A text has one such function, which is asked for each token once: so it may decode as it goes.
      const auto seen = std::make_shared<text::TokenStream>(tokenizer_.stream());
      for (const Index token : tokens) seen->push(token);
      options.text_of = [seen](Index token) { return seen->push(token); };
    }
    if (text->streams)
      options.on_token = [&stop, out = text.get()](const TokenEvent& event) {
        const std::string added = out->shown.push(event.token);
        out->added += added;
        std::cout << added << std::flush;
        return !stop.asked();
      };
    decoder.submit(std::move(tokens), std::move(options), i);
    if (text->streams && !settings_.hides_prompt) std::cout << text->prompt << std::flush;
  }

  void print(Text& text, const Completion& done) const {
    std::string rest;
    if (done.finish == Finish::stop_string) {  // which may begin within a token
      rest = done.text.substr(std::min(text.added.size(), done.text.size()));
    } else {
      if (!text.streams)
        for (const Index token : done.tokens) rest += text.shown.push(token);
      rest += text.shown.finish();
    }
    if (!text.streams && !settings_.hides_prompt && !settings_.json) std::cout << text.prompt;
    text.added += rest;
    if (settings_.json) return print_json(text, done);
    std::cout << rest << '\n';
    for (std::size_t t = 0; t < done.log_probabilities.size(); ++t)
      std::printf("%10.4f  %s\n", done.log_probabilities[t], quoted(tokenizer_.piece(done.tokens[t])).c_str());
  }

  void print_json(const Text& text, const Completion& done) const {
    nlohmann::ordered_json line{
        {"prompt", text.prompt}, {"completion", text.added}, {"tokens", done.tokens}, {"finish", name_of(done.finish)}};
    if (settings_.log_probabilities) line["log_probabilities"] = done.log_probabilities;
    std::cout << line.dump() << std::endl;
  }

  static std::string quoted(const std::string& piece) {
    return nlohmann::json(piece).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }

  const Model& model_;
  const text::Tokenizer& tokenizer_;
  const GenerateSettings& settings_;
  GenerateOptions options_;
  std::vector<std::unique_ptr<Text>> texts_;
};

}  // namespace calm::programs
