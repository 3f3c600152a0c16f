/// \file  The lines of a JSONL file as examples, some of them held out.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "calm/tensor/error.hpp"
#include "calm/text/chat_template/load.hpp"
#include "calm/text/chat_tokenizer.hpp"
#include "calm/text/jsonl.hpp"
#include "calm/text/tokenizer/tokenizer.hpp"
#include "calm/train/batch.hpp"
#include "calm/train/chat_example.hpp"
#include "tools/compose/settings.hpp"
#include "tools/generate/ends.hpp"

namespace calm::programs {

/// Examples in memory: to train on in the file's order, and held out.
struct Data {
  std::vector<train::Example> train, held_out;
  std::size_t longest = 0;           ///< tokens
  std::size_t cut = 0, dropped = 0;  ///< lines that were too long
};

/// Lines as a model's tokens.
class LineReader {
 public:
  /// Chats are read by the anchor's template.
  LineReader(const ComposeSettings& settings, const text::Tokenizer& tokenizer, const Ends& ends)
      : directory_(settings.anchor),
        tokenizer_(tokenizer),
        ends_(ends),
        turns_(settings.chat_turns == "last" ? text::ChatTurns::last : text::ChatTurns::all),
        options_{.now = day_of(settings.generate.date)} {}

  /// Throws `Error` for a chat that cannot be learned from.
  train::Example operator()(const text::JsonlLine& line) {
    train::Example e;
    if (line.kind == text::JsonlKind::chat) {
      if (!template_) template_ = text::load_chat_template(directory_);
      train::learn_answers(text::encode_answers(tokenizer_, *template_, text::Chat::from_json(line.chat), turns_,
                                               options_),
                          e);
      return e;
    }
    if (line.kind == text::JsonlKind::pair) {
      e.tokens = tokens_of(tokenizer_, ends_, line.prompt);
      e.prompt = e.tokens.size();
      complete(line, e.tokens);
    } else {
      e.tokens = tokens_of(tokenizer_, ends_, line.text);
    }
    if (!ends_.end.empty()) e.tokens.push_back(ends_.end.front());
    return e;
  }

 private:
  /// Appends the completion's tokens: those that follow the prompt's in the tokens of both, so that the prompt reads as
  /// it will when decoding. Where a token would span the border, the completion's own.
  void complete(const text::JsonlLine& line, std::vector<Index>& tokens) const {
    const auto both = tokens_of(tokenizer_, ends_, line.prompt + line.completion);
    if (both.size() >= tokens.size() && std::equal(tokens.begin(), tokens.end(), both.begin())) {
      tokens = both;
    } else {
      const auto ids = tokenizer_.ids(line.completion, text::Template::leave);
      tokens.insert(tokens.end(), ids.begin(), ids.end());
    }
  }

  std::string directory_;
  const text::Tokenizer& tokenizer_;
  const Ends& ends_;
  text::ChatTurns turns_;
  text::ChatOptions options_;
  std::optional<text::ChatTemplate> template_;
};

/// How many of `lines` lines are held out.
inline std::size_t held_out_count(double share, std::size_t lines) {
  const double count = share < 1 ? share * static_cast<double>(lines) : share;
  calm::detail::require(share > 0 && count < static_cast<double>(lines), [&] {
    return "--held-out " + std::to_string(share) +
           ": expected a share above 0 and below 1, or a number of lines below " + std::to_string(lines) +
           ", those of the file";
  });
  return std::max<std::size_t>(1, static_cast<std::size_t>(count));
}

/// Reads the whole of `s.data`. Which lines are held out depends on the seed and their number alone. Throws `Error`
/// with the line for what cannot be read or is too long.
inline Data read_data(const ComposeSettings& s, std::size_t context, LineReader read) {
  const text::Jsonl file = text::Jsonl::open(s.data);
  const std::size_t lines = file.size(), limit = s.max_length == 0 ? context : s.max_length;
  calm::detail::require(limit <= context, [&] {
    return "--max-length " + std::to_string(limit) + ": the anchor's context is " + std::to_string(context) + " tokens";
  });
  std::vector<bool> is_held_out(lines);
  constexpr std::uint64_t stream = 0x68656C64;  // so that the seed serves for the order of the others, too
  for (std::size_t i = 0, n = held_out_count(s.held_out, lines); i < n; ++i)
    is_held_out[train::shuffled_index({s.seed, stream}, i, lines)] = true;
  Data data;
  text::JsonlLine line;
  for (std::size_t i = 0; i < lines; ++i) {
    file.read(i, line);
    const auto fail = [&](const std::string& what) { throw Error(s.data + ":" + std::to_string(i + 1) + ": " + what); };
    train::Example e;
    try {
      e = read(line);
    } catch (const Error& error) {
      fail(error.what());
    }
    if (e.tokens.size() > limit) {
      if (s.too_long == "refuse")
        fail("found " + std::to_string(e.tokens.size()) + " tokens, expected at most " + std::to_string(limit) +
             "; shorten the line, or give --too-long cut or drop");
      ++(s.too_long == "cut" ? data.cut : data.dropped);
      if (s.too_long == "drop") continue;
      e.tokens.resize(limit);
      if (!e.labels.empty()) e.labels.resize(limit);
    }
    const std::size_t predicted = e.labels.empty() ? e.tokens.size() : e.tokens.size() + 1;
    if (predicted < 2 || predicted <= e.prompt)
      fail("found " + std::to_string(e.tokens.size()) + " tokens, " + std::to_string(e.prompt) +
           " of them the prompt's; expected something to predict");
    data.longest = std::max(data.longest, e.tokens.size());
    (is_held_out[i] ? data.held_out : data.train).push_back(std::move(e));
  }
  for (const auto& [name, part] : {std::pair{"train on", &data.train}, std::pair{"hold out", &data.held_out}}) {
    if (part->empty())
      throw Error(s.data + ": no line is left to " + name + "; " + std::to_string(data.dropped) + " were too long");
  }
  return data;
}

}  // namespace calm::programs
