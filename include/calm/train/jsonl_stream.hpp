/// \file  Training examples from a JSONL file: a shuffled endless walk that resumes from an example's number alone.
///
/// Stands in train, not in text: it makes train's `Example`, and includes point downward.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "calm/tensor/dtype.hpp"
#include "calm/tensor/error.hpp"
#include "calm/tensor/philox.hpp"
#include "calm/text/jsonl.hpp"
#include "calm/text/tokenized_chat.hpp"
#include "calm/train/batch.hpp"
#include "calm/train/chat_example.hpp"

namespace calm::train {

/// Turns a text into tokens. It must depend on the text alone, or a resumed run will differ.
template <class F>
concept Tokenize = requires(F& f, const std::string& text) {
  { f(text) } -> std::convertible_to<std::vector<Index>>;
};

/// Turns a line with "messages", as it stands in the file, into tokens and what the assistant says of them, too.
template <class F>
concept TokenizeChat = requires(F& f, const std::string& json) {
  { f.chat(json) } -> std::convertible_to<text::TokenizedChat>;
};

/// What to do with an example of more than `max_tokens`.
enum class TooLong {
  refuse,  ///< throw `Error`
  cut,     ///< drop what comes after, the end token too; a prompt that leaves no room is refused
};

/// How lines become examples.
struct JsonlStreamOptions {
  std::uint64_t seed = 0;
  bool shuffle = true;           ///< a new order in each epoch; false: the file's order, over and over
  std::vector<Index> begin{};    ///< put in front of each example, but not of a chat: its template does that
  std::optional<Index> end{};    ///< put behind each example, and to be learned; not behind a chat
  std::size_t max_tokens = 0;    ///< of one example, `begin` and `end` included; 0: any number
  TooLong too_long = TooLong::refuse;
};

/// An `ExampleStream` over a file: each line once per epoch. Example `i` depends on `i`, the seed and the file alone.
///
/// A {"text"} line is learned from its second token on; of a {"prompt", "completion"} line the completion is. No token
/// spans the border of these two: the prompt's are those that decoding begins with, and all tokens behind them are
/// learned. Of a {"messages"} line what the assistant says is learned; F must be a `TokenizeChat` for that, as
/// text::ChatTokenizer is.
template <Tokenize F>
class JsonlStream {
 public:
  JsonlStream(text::Jsonl file, F tokenize, const JsonlStreamOptions& options = {})
      : file_(std::move(file)), tokenize_(std::move(tokenize)), options_(options) {}

  /// Writes example `i` into `out`, reusing its memory. Throws `Error` with the file's line if the example is too long
  /// or has nothing to predict.
  void operator()(std::uint64_t i, Example& out) { read(line_of(i), out); }

  /// The same of a line, counted from 0. Returns how many tokens it has, those that are cut included.
  std::size_t read(std::size_t line, Example& out) {
    file_.read(line, line_);
    if (line_.kind == text::JsonlKind::chat) return read_chat(line, out);
    out.tokens = options_.begin;
    out.labels.clear();
    out.prompt = 0;
    at_line(line, [&] { line_.kind == text::JsonlKind::pair ? append_pair(out) : append(tokenize_(line_.text), out); });
    if (options_.end) out.tokens.push_back(*options_.end);
    return fit(line, out);
  }

  /// Which line, counted from 0, example `i` is.
  std::size_t line_of(std::uint64_t i) const {
    constexpr std::uint64_t stream = 0x6A736F6E6C;  // so that one seed serves for other random numbers, too
    return options_.shuffle ? shuffled_index({options_.seed, stream}, i, file_.size())
                            : static_cast<std::size_t>(i % file_.size());
  }
  /// How many examples are an epoch.
  std::size_t size() const { return file_.size(); }

 private:
  using Tokens = std::vector<Index>;

  static void append(const Tokens& tokens, Example& out, std::size_t from = 0) {
    out.tokens.insert(out.tokens.end(), tokens.begin() + static_cast<std::ptrdiff_t>(from), tokens.end());
  }

  static bool begins(const Tokens& head, const Tokens& whole) {
    return head.size() <= whole.size() && std::equal(head.begin(), head.end(), whole.begin());
  }

  /// Behind the prompt's tokens come those by which the tokens of prompt and completion together go on; where one would
  /// span the border, those by which a new line's do: of a completion by itself, the tokenizer may take the beginning
  /// for a word's and put a blank there.
  void append_pair(Example& out) {
    Tokens head = tokenize_(line_.prompt), both = tokenize_(line_.prompt + line_.completion);
    append(head, out);
    out.prompt = out.tokens.size();
    if (!begins(head, both)) head = tokenize_("\n"), both = tokenize_("\n" + line_.completion);
    if (!begins(head, both)) head.clear(), both = tokenize_(line_.completion);
    append(both, out, head.size());
  }

  std::size_t read_chat(std::size_t line, Example& out) {
    if constexpr (TokenizeChat<F>) {
      text::TokenizedChat chat = at_line(line, [&] { return tokenize_.chat(line_.chat); });
      if (!chat.answers.empty()) chat.tokens.resize(chat.answers.back().end);
      const std::size_t found = chat.tokens.size(), answers = chat.answers.size(), n = within_limit(line, found);
      chat.tokens.resize(n);
      std::erase_if(chat.answers, [&](const auto& answer) { return std::max<std::size_t>(answer.begin, 1) >= n; });
      if (chat.answers.empty())
        fail(line, "expected something that the assistant says after the first token, found " +
                       std::to_string(answers) + " answers, none of them within " + std::to_string(n) +
                       " tokens; remove the line, or raise max_tokens");
      chat.answers.back().end = std::min(chat.answers.back().end, n);
      learn_answers(std::move(chat), out);
      return found;
    } else {
      fail(line,
           "found a chat, expected {\"text\": ...} or {\"prompt\": ..., \"completion\": ...}; give the stream a "
           "text::ChatTokenizer, which reads chats");
    }
  }

  template <class Make>
  auto at_line(std::size_t line, const Make& make) const {
    try {
      return make();
    } catch (const Error& e) {
      fail(line, e.what());
    }
  }

  /// How many of an example's `found` tokens are kept.
  std::size_t within_limit(std::size_t line, std::size_t found) const {
    const std::size_t limit = options_.max_tokens;
    if (limit == 0 || found <= limit) return found;
    if (options_.too_long == TooLong::refuse)
      fail(line, "expected at most max_tokens = " + std::to_string(limit) + " tokens, found " + std::to_string(found) +
                     "; shorten the line, or set too_long to TooLong::cut");
    return limit;
  }

  std::size_t fit(std::size_t line, Example& out) const {
    const std::size_t found = out.tokens.size();
    out.tokens.resize(within_limit(line, found));
    if (out.tokens.size() < 2 || out.tokens.size() <= out.prompt)
      fail(line, "expected at least 2 tokens and one after the prompt, found " + std::to_string(found) +
                     " tokens and a prompt of " + std::to_string(out.prompt) +
                     (found > out.tokens.size() ? ", cut to max_tokens = " + std::to_string(out.tokens.size()) : "") +
                     "; remove the line, or set begin and end");
    return found;
  }

  [[noreturn]] void fail(std::size_t line, const std::string& what) const {
    throw Error("calm::train: " + file_.path() + ":" + std::to_string(line + 1) + ": " + what);
  }

  text::Jsonl file_;
  F tokenize_;
  JsonlStreamOptions options_;
  text::JsonlLine line_;
};

}  // namespace calm::train
