#include "tools/compose/data.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/text/tokenizer/load.hpp"
#include "io/temporary_folder.hpp"
#include "tools/convert/tokenizer_json.hpp"

using namespace calm;
using Catch::Contains;
using Tokens = std::vector<Index>;

namespace {

/// Lines of digits in a model with a BOS (0) and an end token (9).
struct Subject {
  test::TemporaryFolder folder;
  programs::Ends ends{{0}, {9}};
  std::shared_ptr<const text::Tokenizer> tokenizer = [this] {
    convert::write_digit_tokenizer(10, folder / "m");
    return std::make_shared<const text::Tokenizer>(text::load_tokenizer(folder / "m"));
  }();
  programs::ComposeSettings settings;

  programs::Data read(const std::string& lines, std::size_t context = 100) {
    test::put_contents(folder / "data.jsonl", lines);
    settings.data = folder / "data.jsonl";
    settings.anchor = folder / "m";
    return programs::read_data(settings, context, tokenizer, ends);
  }
};

std::string numbered_lines(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) lines += "{\"text\": \"" + std::to_string(100 + i) + "\"}\n";
  return lines;
}

std::vector<Tokens> sorted_tokens(const std::vector<train::Example>& examples) {
  std::vector<Tokens> out;
  for (const auto& e : examples) out.push_back(e.tokens);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

TEST_CASE("each line is trained on, chosen by, or held out") {
  Subject subject;
  const auto data = subject.read(numbered_lines(50));
  CHECK(data.train.size() == 40);
  CHECK(data.choose.size() == 5);
  CHECK(data.held_out.size() == 5);
  CHECK(data.longest == 5);
  auto all = sorted_tokens(data.train), held = sorted_tokens(data.held_out);
  all.insert(all.end(), held.begin(), held.end());
  for (const auto& e : data.choose) all.push_back(e.tokens);
  std::sort(all.begin(), all.end());
  CHECK(std::unique(all.begin(), all.end()) == all.end());
  CHECK(all.front() == Tokens{0, 1, 0, 0, 9});
  CHECK(sorted_tokens(subject.read(numbered_lines(50)).held_out) == held);
  subject.settings.seed = 1;
  CHECK(sorted_tokens(subject.read(numbered_lines(50)).held_out) != held);
  subject.settings.held_out = 20;
  subject.settings.choose_on = 0;
  CHECK(subject.read(numbered_lines(50)).held_out.size() == 20);
  CHECK(subject.read(numbered_lines(50)).train.size() == 30);
  CHECK(subject.read(numbered_lines(50)).choose.empty());
  subject.settings.choose_on = 30;
  CHECK_THROWS_WITH(subject.read(numbered_lines(50)),
                    Contains("--held-out and --choose-on take 20 and 30 of 50 lines, and leave none to train on"));
  subject.settings.choose_on = 0.001;
  subject.settings.patience = 2;
  CHECK_THROWS_WITH(subject.read(numbered_lines(50)), Contains("--patience 2: no lines are kept to choose by"));
  subject.settings.choose_on = 50;
  CHECK_THROWS_WITH(subject.read(numbered_lines(50)), Contains("--choose-on 50"));
}

TEST_CASE("of a prompt and its completion the completion is learned, and the end") {
  Subject subject;
  subject.settings.held_out = 1;
  const auto data =
      subject.read("{\"prompt\": \"12\", \"completion\": \"34\"}\n{\"prompt\": \"12\", \"completion\": \"34\"}\n");
  CHECK(data.train[0].tokens == Tokens{0, 1, 2, 3, 4, 9});
  CHECK(data.train[0].prompt == 3);
}

TEST_CASE("lines that are too long are refused, cut or dropped") {
  Subject subject;
  subject.settings.held_out = 2;
  const std::string lines = numbered_lines(3) + "{\"text\": \"123456\"}\n";
  CHECK_THROWS_WITH(subject.read(lines, 6), Contains("data.jsonl:4: found 8 tokens, expected at most 6"));
  subject.settings.too_long = "cut";
  CHECK(subject.read(lines, 6).cut == 1);
  subject.settings.too_long = "drop";
  const auto data = subject.read(lines, 6);
  CHECK(data.dropped == 1);
  CHECK(data.train.size() + data.held_out.size() == 3);
  CHECK_THROWS_WITH(subject.read(lines, 4), Contains("no line is left to train on; 4 were too long"));
  subject.settings.max_length = 7;
  CHECK_THROWS_WITH(subject.read(lines, 6), Contains("--max-length 7: ") && Contains("context is 6"));
}

TEST_CASE("what cannot be learned from is refused by line") {
  Subject subject;
  subject.ends = {};
  subject.settings.held_out = 1;
  CHECK_THROWS_WITH(subject.read(numbered_lines(2) + "{\"text\": \"7\"}\n"),
                    Contains("data.jsonl:3: ") && Contains("found 1 tokens"));
  CHECK_THROWS_WITH(
      subject.read("{\"prompt\": \"12\", \"completion\": \"x\"}\n{\"prompt\": \"1\", \"completion\": \"3\"}\n"),
      Contains("data.jsonl:1: ") && Contains("found 2 tokens and a prompt of 2"));
  for (const double share : {0.0, -1.0, 2.0, 3.0}) {
    subject.settings.held_out = share;
    CHECK_THROWS_WITH(subject.read(numbered_lines(2)), Contains("--held-out"));
  }
}

TEST_CASE("of a chat what the assistant says is learned") {
  Subject subject;
  subject.settings.held_out = 1;
  const std::string one = R"({"messages": [{"role": "user", "content": "34"}, {"role": "assistant", "content": "5"}]})";
  const std::string lines = one + "\n" + one + "\n";
  CHECK_THROWS_WITH(subject.read(lines), Contains("chat template"));
  test::put_contents(subject.folder / "m/chat_template.jinja",
                     "{% for m in messages %}{{ 1 if m.role == 'user' else 2 }}{{ m.content }}{% endfor %}"
                     "{% if add_generation_prompt %}2{% endif %}");
  const auto data = subject.read(lines);
  CHECK(data.train[0].tokens == Tokens{1, 3, 4, 2, 5});
  CHECK(data.train[0].prompt == 4);
  const std::string none = R"({"messages": [{"role": "user", "content": "34"}]})";
  CHECK_THROWS_WITH(subject.read(one + "\n" + none + "\n"), Contains("data.jsonl:2: "));
}
