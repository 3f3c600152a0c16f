#include "calm/generate/stop.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/philox.hpp"

namespace {

using namespace calm;

std::string spelled(Index token) {
  static const std::vector<std::string> words{"a", "b", "ab", "", "ba", "aab"};
  return words[static_cast<std::size_t>(token)];
}

template <class Text>
std::size_t first_stop(const Text& text, const std::vector<Text>& stops) {
  std::size_t first = text.size();
  for (const auto& s : stops) {
    first = std::min(first, static_cast<std::size_t>(
                                std::search(text.begin(), text.end(), s.begin(), s.end()) - text.begin()));
  }
  return first;
}

std::string text_of(const std::vector<Index>& tokens) {
  std::string text;
  for (const Index t : tokens) text += spelled(t);
  return text;
}

/// How many tokens lie whole within the first `bytes` bytes.
std::size_t whole_tokens(const std::vector<Index>& tokens, std::size_t bytes) {
  std::size_t end = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    end += spelled(tokens[i]).size();
    if (end > bytes) return i;
  }
  return tokens.size();
}

}  // namespace

TEST_CASE("end tokens stop a text at once and are not kept") {
  const GenerateOptions options{.end_tokens = {3, 5, 1}};
  for (const Index end : {3, 5, 1}) {
    StopWatch watch(options);
    CHECK_FALSE(watch.push(2));
    CHECK_FALSE(watch.push(0));
    CHECK(watch.push(end) == Finish::end_token);
    CHECK(watch.tokens() == std::vector<Index>{2, 0});
  }
}

TEST_CASE("a stop sequence is found across steps; its beginning is not certain until it is broken") {
  const GenerateOptions options{.stop_sequences = {{1, 2, 1, 3}}};
  StopWatch watch(options);
  std::vector<std::size_t> certain;
  for (const Index t : {0, 1, 2, 1, 2, 1}) {
    CHECK_FALSE(watch.push(t));
    certain.push_back(watch.certain());
  }
  CHECK(certain == std::vector<std::size_t>{1, 1, 1, 1, 3, 3});
  CHECK(watch.push(3) == Finish::stop_sequence);
  CHECK(watch.tokens() == std::vector<Index>{0, 1, 2});
  CHECK(watch.certain() == 3);
}

TEST_CASE("a stop string cuts text at its first byte and tokens before the one that holds it") {
  const GenerateOptions options{.stop_strings = {"ba"}, .text_of = spelled};
  StopWatch watch(options);
  CHECK_FALSE(watch.push(0));
  CHECK_FALSE(watch.push(2));  // "ab"
  CHECK(watch.certain() == 1);
  CHECK(watch.push(5) == Finish::stop_string);  // "aab"
  CHECK(watch.tokens() == std::vector<Index>{0});
  CHECK(watch.text() == "aa");
}

TEST_CASE("over random texts and stops nothing is kept that a search of the whole text would not keep") {
  std::size_t by_sequence = 0, by_string = 0;
  for (std::uint64_t c = 0; c < 4000; ++c) {
    const RandomKey key{23, c};
    std::uint64_t drawn = 0;
    const auto below = [&](std::uint32_t n) { return random_below(key, drawn++, n); };
    GenerateOptions options{.text_of = spelled};
    for (std::uint32_t i = below(3); i-- > 0;) {
      auto& s = options.stop_sequences.emplace_back(1 + below(4));
      for (Index& t : s) t = static_cast<Index>(below(6));
    }
    for (std::uint32_t i = below(3); i-- > 0;) {
      std::string& s = options.stop_strings.emplace_back();
      for (std::uint32_t n = 1 + below(6); n-- > 0;) s += below(2) ? 'a' : 'b';
    }
    StopWatch watch(options);
    std::vector<Index> tokens;
    std::optional<Finish> finish;
    std::size_t announced = 0;
    while (!finish && tokens.size() < 20) {
      tokens.push_back(static_cast<Index>(below(6)));
      finish = watch.push(tokens.back());
      REQUIRE(watch.certain() >= announced);
      announced = watch.certain();
      const std::size_t sequence = first_stop(tokens, options.stop_sequences);
      const std::string text = text_of(tokens);
      const std::size_t byte = first_stop(text, options.stop_strings);
      const bool found_sequence = sequence < tokens.size(), found_string = byte < text.size();
      REQUIRE(finish.has_value() == (found_sequence || found_string));
      if (!finish) {
        REQUIRE(watch.tokens() == tokens);
        REQUIRE(watch.text() == text);
        continue;
      }
      const std::size_t string = found_string ? whole_tokens(tokens, byte) : tokens.size();
      REQUIRE(watch.tokens().size() == std::min(sequence, string));
      REQUIRE(std::equal(watch.tokens().begin(), watch.tokens().end(), tokens.begin()));
      REQUIRE(*finish == (found_sequence && sequence <= string ? Finish::stop_sequence : Finish::stop_string));
      REQUIRE(watch.text() == (*finish == Finish::stop_string ? text.substr(0, byte) : text_of(watch.tokens())));
      by_sequence += *finish == Finish::stop_sequence;
      by_string += *finish == Finish::stop_string;
    }
  }
  CHECK(by_sequence > 500);
  CHECK(by_string > 500);
}
