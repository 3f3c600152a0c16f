// A chat template: any text as the program, and as the conversation where it is JSON.
#include <cstddef>
#include <string>

#include "calm/text/chat_template.hpp"
#include "fuzz/target.hpp"

void calm::fuzz::read(std::string_view contents) {
  static const text::Chat chat = text::Chat::from_json(R"({"messages": [
    {"role": "system", "content": " Be brief.\n"}, {"role": "user", "content": "caf\u00e9 \ud83d\ude00?"},
    {"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function":
      {"name": "add", "arguments": {"a": 1, "b": [2.5, true, null, "x"]}}}]},
    {"role": "tool", "content": "3.5"}, {"role": "assistant", "content": "<think>so</think>3.5"}],
    "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]})");
  accepts([&] { text::Chat::from_json(contents); });
  text::ChatTemplate program = text::ChatTemplate::parse(contents);
  program.set("bos_token", "<s>");
  program.set("eos_token", "</s>");
  text::ChatOptions options{.variables = R"({"enable_thinking": false, "n": 3})"};
  options.now.emplace();
  options.limits = {.steps = 200'000, .output_bytes = std::size_t{1} << 20};
  for (const bool prompts : {false, true}) {
    options.add_generation_prompt = prompts;
    accepts([&] {
      const text::RenderedChat out = program.render(chat, options);
      check(text::find_invalid_utf8(out.text) == std::string::npos, "a rendering is UTF-8");
      for (const auto& span : out.answers)
        check(span.begin <= span.end && span.end <= out.text.size(), "an answer lies in the text");
    });
  }
}
