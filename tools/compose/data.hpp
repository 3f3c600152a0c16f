/// \file  The lines of a JSONL file as examples: to train on, to choose by, and to report on.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "calm/tensor/error.hpp"
#include "calm/text/chat_template/load.hpp"
#include "calm/text/chat_tokenizer.hpp"
#include "calm/text/jsonl.hpp"
#include "calm/text/tokenizer/tokenizer.hpp"
#include "calm/train/batch.hpp"
#include "calm/train/jsonl_stream.hpp"
#include "tools/compose/settings.hpp"
#include "tools/generate/ends.hpp"

namespace calm::programs {

/// Examples in memory, each for one thing, in the file's order: to train on, to choose the best bridges by (perhaps
/// none), and held out for the results.
struct Data {
  std::vector<train::Example> train, choose, held_out;
  std::size_t longest = 0;           ///< tokens
  std::size_t cut = 0, dropped = 0;  ///< lines that were too long
};

/// A share of `lines` lines, or their number, as `option` says it: at least `least` of them, and fewer than all.
inline std::size_t count_of(const std::string& option, double share, std::size_t lines, std::size_t least) {
  const double count = share < 1 ? share * static_cast<double>(lines) : share;
  calm::detail::require(share >= 0 && (share > 0 || least == 0) && count < static_cast<double>(lines), [&] {
    return option + ' ' + std::to_string(share) + ": expected a share " + (least == 0 ? "from" : "above") +
           " 0 and below 1, or a number of lines below " + std::to_string(lines);
  });
  return std::max(least, static_cast<std::size_t>(count));
}

/// What each of `lines` lines is for.
enum class Use : unsigned char { train, choose, report };

/// Depends on the seed and on how many lines there are alone. Throws `Error`.
inline std::vector<Use> uses_of(const ComposeSettings& s, std::size_t lines) {
  const std::size_t reported = count_of("--held-out", s.held_out, lines, 1);
  const std::size_t choosing = count_of("--choose-on", s.choose_on, lines, 0);
  calm::detail::require(reported + choosing < lines, [&] {
    return "--held-out and --choose-on take " + std::to_string(reported) + " and " + std::to_string(choosing) + " of " +
           std::to_string(lines) + " lines, and leave none to train on; give less to one of them";
  });
  calm::detail::require(s.patience == 0 || choosing > 0, [&] {
    return "--patience " + std::to_string(s.patience) + ": no lines are kept to choose by; give more to --choose-on";
  });
  std::vector<Use> uses(lines, Use::train);
  constexpr std::uint64_t stream = 0x68656C64;  // so that the seed serves for the order of the others, too
  for (std::size_t i = 0; i < reported + choosing; ++i)
    uses[train::shuffled_index({s.seed, stream}, i, lines)] = i < reported ? Use::report : Use::choose;
  return uses;
}

/// The lines of a file as the anchor's tokens, those of more than `limit` cut where that is wanted. Throws `Error` for
/// chats without a template.
inline auto lines_of(const ComposeSettings& s, const text::Jsonl& file, std::size_t limit,
                     std::shared_ptr<const text::Tokenizer> tokenizer, const Ends& ends) {
  const bool chats = file.kind() == text::JsonlKind::chat;
  auto source = chats ? text::load_chat_template(s.anchor) : text::ChatTemplate::parse("");
  const auto turns = s.chat_turns == "last" ? text::ChatTurns::last : text::ChatTurns::all;
  train::JsonlStreamOptions options{.begin = ends.begin};
  if (!ends.end.empty()) options.end = ends.end.front();
  if (s.too_long == "cut") options.max_tokens = limit, options.too_long = train::TooLong::cut;
  return train::JsonlStream(
      file, text::ChatTokenizer(std::move(tokenizer), std::move(source), turns, {.now = day_of(s.generate.date)}),
      options);
}

/// Reads the whole of `s.data`. Throws `Error` with the line for what cannot be read or is too long.
inline Data read_data(const ComposeSettings& s, std::size_t context, std::shared_ptr<const text::Tokenizer> tokenizer,
                      const Ends& ends) {
  const text::Jsonl file = text::Jsonl::open(s.data);
  const std::size_t lines = file.size(), limit = s.max_length == 0 ? context : s.max_length;
  calm::detail::require(limit <= context, [&] {
    return "--max-length " + std::to_string(limit) + ": the anchor's context is " + std::to_string(context) + " tokens";
  });
  const std::vector<Use> uses = uses_of(s, lines);
  auto stream = lines_of(s, file, limit, std::move(tokenizer), ends);
  Data data;
  for (std::size_t i = 0; i < lines; ++i) {
    train::Example e;
    const std::size_t found = stream.read(i, e);
    if (found > limit) {
      if (s.too_long == "refuse")
        throw Error(s.data + ":" + std::to_string(i + 1) + ": found " + std::to_string(found) +
                    " tokens, expected at most " + std::to_string(limit) +
                    "; shorten the line, or give --too-long cut or drop");
      ++(s.too_long == "cut" ? data.cut : data.dropped);
      if (s.too_long == "drop") continue;
    }
    data.longest = std::max(data.longest, e.tokens.size());
    (uses[i] == Use::train ? data.train : uses[i] == Use::choose ? data.choose : data.held_out).push_back(std::move(e));
  }
  for (const auto& [name, part] : {std::pair{"train on", &data.train}, std::pair{"hold out", &data.held_out}}) {
    if (part->empty())
      throw Error(s.data + ": no line is left to " + name + "; " + std::to_string(data.dropped) + " were too long");
  }
  return data;
}

}  // namespace calm::programs
