// Two small vocabularies and a text, line by line: the tokens of a text that grows by the anchor's tokens, as when an
// augment with a tokenizer of its own decodes along, are those of the whole text.
#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/compose/two_tokenizers.hpp"
#include "fuzz/target.hpp"

namespace calm::fuzz {

namespace {

std::string_view take_until(std::string_view& text, char end) {
  const std::string_view part = text.substr(0, text.find(end));
  text.remove_prefix(std::min(part.size() + 1, text.size()));
  return part;
}

/// "w:a,##b" is WordPiece, "b: a,ab" BPE and "u: a,ab" Unigram, the first pieces the likeliest; "B" and "U" take the
/// whole text for one word, as SentencePiece does. As in its vocabularies, a blank only begins a piece. A piece like
/// "<s>" is cut out before, and takes the blanks around it along.
std::shared_ptr<const text::Tokenizer> tokenizer(std::string_view line) {
  const char kind = line.empty() ? 'b' : line[0];
  take_until(line, ':');
  text::TokenizerParts parts;
  parts.vocabulary.set(0, "?");
  while (!line.empty()) {
    const std::string_view piece = take_until(line, ',');
    if (piece.empty() || piece.find(' ', 1) != piece.npos || parts.vocabulary.find(piece) >= 0) continue;
    const auto id = static_cast<text::TokenId>(parts.vocabulary.size());
    parts.vocabulary.set(id, std::string(piece));
    if (piece.starts_with('<') && piece.ends_with('>'))
      parts.added.add({.id = id, .content = std::string(piece), .lstrip = true, .rstrip = true}, piece);
  }
  const auto size = static_cast<text::TokenId>(parts.vocabulary.size());
  const auto fill = [&](auto model, const auto& add) {
    for (text::TokenId id = 1; id < size; ++id) add(model, id);
    parts.model = std::move(model);
  };
  if (kind == 'w')
    parts.model = text::WordPiece(parts.vocabulary, 0, "##", 100);
  else if (kind == 'u' || kind == 'U')
    fill(text::Unigram<double>(parts.vocabulary, 0, false), [&](auto& unigram, text::TokenId id) {
      unigram.add(parts.vocabulary.piece(id), id, -1 - 0.5 * id);
    });
  else
    fill(text::Bpe(parts.vocabulary, {.unknown = 0, .word_end = {}}), [&](auto& bpe, text::TokenId id) {
      bpe.add_cuts(parts.vocabulary, id, static_cast<std::uint32_t>(id));
    });
  if (kind == 'B' || kind == 'U')
    parts.normalizers.push_back(text::normalizers::prepend(" "));
  else if (kind == 'w')
    parts.pre_tokenizers.push_back(text::pre_tokenizers::whitespace_split());
  else
    parts.pre_tokenizers.push_back(
        text::pre_tokenizers::split(std::string(" "), text::SplitBehavior::merged_with_next, false));
  return std::make_shared<const text::Tokenizer>(std::move(parts));
}

/// Each line as often as its first character says, '0' for never.
std::string unrolled(std::string_view lines) {
  constexpr std::size_t longest = 900;
  std::string text;
  while (!lines.empty()) {
    const std::string_view line = take_until(lines, '\n');
    if (line.size() < 2) continue;
    for (char n = line[0]; n > '0' && text.size() + line.size() < longest; --n) text += line.substr(1);
  }
  return text::repair_utf8(text);
}

}  // namespace

void read(std::string_view contents) {
  const std::string valid = text::repair_utf8(contents);
  std::string_view rest = valid;
  const auto anchor = tokenizer(take_until(rest, '\n')), augment = tokenizer(take_until(rest, '\n'));
  const auto follower = retokenizer(anchor, augment)->text();
  text::TokenStream spelled = anchor->stream();
  std::string so_far;
  for (const text::TokenId id : anchor->ids(unrolled(rest))) {
    so_far += spelled.push(id);
    const std::vector<Index> before = follower->tokens();
    const std::size_t kept = follower->push(id);
    const auto& now = follower->tokens();
    check(kept <= std::min(before.size(), now.size()), "tokens that stay were there and are there");
    check(std::equal(now.begin(), now.begin() + static_cast<std::ptrdiff_t>(kept), before.begin()),
          "tokens that stay are what they were");
    check(now == augment->ids(so_far), "a text that grows has the tokens of the whole");
  }
}

}  // namespace calm::fuzz
