#include "calm/text/chat_tokenizer.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/text/tokenizer/tokenizer_json.hpp"
#include "calm/train/jsonl_stream.hpp"
#include "io/temporary_folder.hpp"

using namespace calm;
using namespace calm::text;
using namespace calm::test;
using Catch::Contains;
using Tokens = std::vector<Index>;

namespace {

constexpr Index bos = 1, eos = 2;

Tokenizer tokenizer() { return load_tokenizer_json(CALM_FIXTURES "/gemma_tokenizer.json"); }

ChatTemplate load(const std::string& name) {
  ChatTemplate out = ChatTemplate::parse(contents_of(CALM_FIXTURES "/chat/templates/" + name + ".jinja"));
  out.set("bos_token", "<s>");
  out.set("eos_token", "</s>");
  return out;
}

const Chat chat{{"user", "tell me a story"}, {"assistant", "Once upon a time"}, {"user", "more"}, {"assistant", "no"}};
const std::string line = R"({"messages": [{"role": "user", "content": "tell me a story"}, )"
                         R"({"role": "assistant", "content": "Once upon a time"},)"
                         R"( {"role": "user", "content": "more"}, {"role": "assistant", "content": "no"}]})";

Tokens part(const Tokens& tokens, const TokenizedChat::Range& range) {
  return {tokens.begin() + static_cast<std::ptrdiff_t>(range.begin),
          tokens.begin() + static_cast<std::ptrdiff_t>(range.end)};
}

}  // namespace

TEST_CASE("a chat's special tokens become their ids, and none is added") {
  const Tokenizer t = tokenizer();
  const Tokens prompt = encode_chat(t, load("mistral"), Chat{{"user", "tell me"}});
  CHECK(prompt.front() == bos);
  CHECK(std::count(prompt.begin(), prompt.end(), bos) == 1);
  CHECK(std::count(prompt.begin(), prompt.end(), eos) == 0);
  CHECK(t.decode(prompt, true) == "<s> [INST] tell me [/INST]");
  const Tokens whole = encode_chat(t, load("mistral"), chat, {});
  CHECK(std::count(whole.begin(), whole.end(), eos) == 2);
  CHECK(whole.back() == eos);
}

TEST_CASE("what the assistant says are the tokens behind the prompt's, turn by turn") {
  const Tokenizer t = tokenizer();
  for (const char* name : {"mistral", "llama2", "chatml_generation", "zephyr"}) {
    INFO(name);
    const ChatTemplate source = load(name);
    const TokenizedChat found = encode_answers(t, source, chat);
    REQUIRE(found.answers.size() == 2);
    for (const std::size_t turn : {0u, 1u}) {
      const Tokens prompt = encode_chat(t, source, chat.first(2 * turn + 1));
      const auto& answer = found.answers[turn];
      CHECK(part(found.tokens, {0, answer.begin}) == prompt);
      CHECK(t.decode(part(found.tokens, answer)).find(turn == 0 ? "Once upon a time" : "no") != std::string::npos);
    }
    if (std::string(name) != "chatml_generation") CHECK(found.tokens == encode_chat(t, source, chat, {}));
    CHECK(encode_answers(t, source, chat, ChatTurns::last).answers ==
          std::vector<TokenizedChat::Range>{found.answers[1]});
  }
}

TEST_CASE("lines of messages are trained on through JsonlStream") {
  const TemporaryFolder folder;
  put_contents(folder / "data", line + "\n" + R"({"messages": [{"role": "user", "content": "x"}]})" + "\n");
  const ChatTokenizer chats(tokenizer(), load("mistral"));
  const TokenizedChat expected = chats.chat(line);
  train::JsonlStream stream(Jsonl::open(folder / "data"), chats, {.shuffle = false});
  train::Example example;
  stream(0, example);
  CHECK(example.prompt == expected.answers[0].begin);
  CHECK(example.tokens.size() + 1 == expected.tokens.size());
  std::size_t learned = 0;
  for (std::size_t i = 0; i < example.labels.size(); ++i) {
    if (example.labels[i] == -1) continue;
    ++learned;
    CHECK(example.labels[i] == expected.tokens[i + 1]);
  }
  CHECK(learned ==
        expected.answers[0].end - expected.answers[0].begin + expected.answers[1].end - expected.answers[1].begin);
  CHECK(train::target_count(std::vector{example}) == learned);
  CHECK_THROWS_WITH(stream(1, example),
                    Contains("data:2: ") && Contains("expected a message of the role \"assistant\""));

  train::JsonlStream last(Jsonl::open(folder / "data"), ChatTokenizer(tokenizer(), load("mistral"), ChatTurns::last),
                          {.shuffle = false});
  last(0, example);
  CHECK(example.labels.empty());
  CHECK(example.tokens == expected.tokens);
  CHECK(example.prompt == expected.answers[1].begin);
  CHECK(chats.prompt(chat.first(3)) == part(expected.tokens, {0, expected.answers[1].begin}));
}

TEST_CASE("wherever a text is cut in two, the prompt is read as when decoding, and the completion adds what it says") {
  const TemporaryFolder folder;
  const std::string whole = "tell me a story: Once upon a time, unbelievably";
  for (const char* name : {"gemma", "llama"}) {
    const ChatTokenizer chats(load_tokenizer_json(CALM_FIXTURES "/" + std::string(name) + "_tokenizer.json"),
                              load("mistral"));
    for (std::size_t cut = 1; cut < whole.size(); ++cut) {
      const std::string prompt = whole.substr(0, cut), completion = whole.substr(cut);
      CAPTURE(name, prompt);
      put_contents(folder / "data", R"({"prompt": ")" + prompt + R"(", "completion": ")" + completion + "\"}\n");
      train::Example example;
      train::JsonlStream(Jsonl::open(folder / "data"), chats).read(0, example);
      CHECK(part(example.tokens, {0, example.prompt}) == chats(prompt));
      CHECK(chats.tokenizer().decode(example.tokens) == chats.tokenizer().decode(chats(whole)));
    }
  }
}

TEST_CASE("texts that are no chats are tokenized as they are") {
  const ChatTokenizer chats(tokenizer(), load("mistral"));
  CHECK(chats("Once upon a time") == tokenizer().ids("Once upon a time", Template::leave));
  CHECK(chats("Once upon a time").front() != bos);
  CHECK(tokenizer().ids("Once upon a time").front() == bos);
}
