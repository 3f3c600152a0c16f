#include "calm/text/chat_answers.hpp"

#include <chrono>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"

using namespace calm;
using namespace calm::text;
using Catch::Contains;
using Strings = std::vector<std::string>;

namespace {

ChatTemplate load(const std::string& name) {
  ChatTemplate out = ChatTemplate::parse(test::contents_of(CALM_FIXTURES "/chat/templates/" + name + ".jinja"), name);
  out.set("bos_token", "<s>");
  out.set("eos_token", "</s>");
  return out;
}

const Chat two_turns{{"user", "a"}, {"assistant", "bé"}, {"user", "c"}, {"assistant", "d"}};
const ChatOptions dated{.now = std::chrono::sys_seconds()};

Strings answers(const std::string& name, const Chat& chat, ChatTurns turns = ChatTurns::all) {
  const RenderedChat rendered = render_answers(load(name), chat, turns, dated);
  Strings out;
  for (const auto& span : rendered.answers) out.push_back(rendered.text.substr(span.begin, span.end - span.begin));
  return out;
}

}  // namespace

TEST_CASE("the assistant's turns are what the prompt before them leaves") {
  CHECK(answers("chatml", two_turns) == Strings{"bé<|im_end|>\n", "d<|im_end|>\n"});
  CHECK(answers("llama2", two_turns) == Strings{" bé </s>", " d </s>"});
  CHECK(answers("llama3", two_turns) == Strings{"bé<|eot_id|>", "d<|eot_id|>"});
  CHECK(answers("mistral", two_turns) == Strings{" bé</s>", " d</s>"});
  CHECK(answers("gemma", two_turns) == Strings{"bé<end_of_turn>\n", "d<end_of_turn>\n"});
  CHECK(answers("gemma3", two_turns) == Strings{"bé<end_of_turn>\n", "d<end_of_turn>\n"});
  CHECK(answers("qwen25", two_turns) == Strings{"bé<|im_end|>\n", "d<|im_end|>\n"});
  CHECK(answers("zephyr", two_turns) == Strings{"bé</s>\n", "d</s>\n"});
  CHECK(answers("granite", two_turns) == Strings{"bé<|end_of_text|>\n", "d<|end_of_text|>\n"});
}

TEST_CASE("the last turn alone is learned where told to, and what follows it is left out") {
  CHECK(answers("chatml", two_turns, ChatTurns::last) == Strings{"d<|im_end|>\n"});
  CHECK(answers("phi3", two_turns, ChatTurns::last) == Strings{"d<|end|>\n</s>"});
  CHECK(answers("qwen3", two_turns, ChatTurns::last) == Strings{"<think>\n\n</think>\n\nd<|im_end|>\n"});
  const Chat goes_on{{"user", "a"}, {"assistant", "b"}, {"user", "c"}};
  CHECK(answers("chatml", goes_on) == Strings{"b<|im_end|>\n"});
  const ChatTurn turn = last_turn(load("llama3"), two_turns);
  CHECK(turn.completion == "d<|eot_id|>");
  CHECK(turn.prompt == load("llama3")(two_turns.first(3), {.add_generation_prompt = true}));
}

TEST_CASE("generation blocks say what is learned") {
  CHECK(answers("chatml_generation", two_turns) == Strings{"bé<|im_end|>", "d<|im_end|>"});
  CHECK(answers("chatml_generation", two_turns, ChatTurns::last) == Strings{"d<|im_end|>"});
  const ChatTurn turn = last_turn(load("chatml_generation"), two_turns);
  CHECK(turn.prompt.ends_with("<|im_start|>assistant\n"));
  CHECK(turn.completion == "d<|im_end|>");
  CHECK(answers("smollm3", two_turns).size() == 2);
  // Two blocks in one turn belong together.
  const ChatTemplate blocks = ChatTemplate::parse(
      "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}|"
      "{% generation %}!{% endgeneration %}{% else %}?{% endif %}{% endfor %}");
  const RenderedChat rendered = render_answers(blocks, two_turns, ChatTurns::last);
  CHECK(rendered.text == "?bé|!?d|!");
  CHECK(rendered.answers == std::vector<jinja::Span>{{7, 8}, {9, 10}});
}

TEST_CASE("templates whose turns cannot be told apart are refused by name") {
  CHECK_THROWS_WITH(
      answers("phi3", two_turns),
      Contains("the template renders the chat up to message 2, the assistant's turn, differently when more "
               "messages follow: at byte") &&
          Contains("'/s>', in the whole '|user|>") && Contains("learn ChatTurns::last alone"));
  CHECK_THROWS_WITH(answers("qwen3", two_turns), Contains("up to message 2, the assistant's turn, differently"));
  CHECK_THROWS_WITH(answers("deepseek", two_turns, ChatTurns::last),
                    Contains("up to message 3, with the generation prompt, differently"));
  CHECK_THROWS_WITH(answers("chatml", Chat{{"user", "a"}}),
                    Contains("expected a message of the role \"assistant\" to learn, found none among 1 messages"));
  CHECK_THROWS_WITH(answers("chatml", Chat(std::vector<ChatMessage>())), Contains("found none among 0"));
  const ChatTemplate silent = ChatTemplate::parse("nothing");
  CHECK_THROWS_WITH(render_answers(silent, two_turns), Contains("renders nothing that the assistant says"));
}
