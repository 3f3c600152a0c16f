#include "calm/text/chat_template/load.hpp"

#include <filesystem>
#include <string>

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"

using namespace calm;
using namespace calm::text;
using namespace calm::test;
using Catch::Contains;

namespace {

const Chat chat{{"user", "hi"}};
const std::string config = "tokenizer_config.json";

}  // namespace

TEST_CASE("a directory's chat template comes with its special tokens") {
  const TemporaryFolder folder;
  put_contents(folder / config, R"({"chat_template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}",
      "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null})");
  CHECK(has_chat_template(folder / ""));
  const ChatTemplate loaded = load_chat_template(folder / "");
  CHECK(loaded(chat) == "<s>hi</s>");
  CHECK(loaded.variable("eos_token") == "</s>");
  CHECK(!loaded.variable("pad_token"));
  CHECK(loaded(chat, {.variables = R"({"bos_token": "B"})"}) == "Bhi</s>");

  put_contents(folder / "chat_template.jinja", "file {{ eos_token }}\n");
  CHECK(load_chat_template(folder / "")(chat) == "file </s>");
  std::filesystem::remove(folder / config);
  CHECK(has_chat_template(folder / ""));
  CHECK(load_chat_template(folder / "")(chat) == "file ");
}

TEST_CASE("of named templates, the default is taken, and tool_use for chats with tools") {
  const TemporaryFolder folder;
  put_contents(folder / config, R"({"chat_template": [{"name": "default", "template": "plain"},
      {"name": "tool_use", "template": "tools"}, {"name": "rag", "template": "{% include 'x' %}"}]})");
  const ChatTemplate loaded = load_chat_template(folder / "");
  const Chat with_tools = Chat::from_json(R"({"messages": [{"role": "user"}], "tools": [{}]})");
  CHECK(loaded(chat) == "plain");
  CHECK(loaded(with_tools) == "tools");
  CHECK(load_chat_template(folder / "", "tool_use")(chat) == "tools");
  CHECK(load_chat_template(folder / "", "default")(with_tools) == "plain");
  CHECK_THROWS_WITH(
      load_chat_template(folder / "", "rag"),
      Contains("tokenizer_config.json: chat_template 'rag': line 1, column 4: statement 'include' is not"));
  CHECK_THROWS_WITH(load_chat_template(folder / "", "other"),
                    Contains("a chat template named other in chat_template.jinja or tokenizer_config.json, found "
                             "default, tool_use, rag"));
}

TEST_CASE("files of named templates, and the special tokens of older directories") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "additional_chat_templates");
  put_contents(folder / "additional_chat_templates/tool_use.jinja", "tools {{ eos_token }}");
  put_contents(folder / "additional_chat_templates/README.md", "{%");
  CHECK(load_chat_template(folder / "", "tool_use")(chat) == "tools ");
  CHECK_THROWS_WITH(load_chat_template(folder / ""), Contains("found tool_use"));
  put_contents(folder / "chat_template.jinja", "plain");
  put_contents(folder / config, R"({"chat_template": "unread", "eos_token": "</s>"})");
  put_contents(folder / "special_tokens_map.json", R"({"eos_token": {"content": "<end>"}, "bos_token": "<s>"})");
  const ChatTemplate loaded = load_chat_template(folder / "");
  CHECK(loaded(chat) == "plain");
  CHECK(loaded(Chat::from_json(R"({"messages": [], "tools": []})")) == "tools <end>");
  CHECK(loaded.variable("bos_token") == "<s>");
  put_contents(folder / config, R"({"eos_token": "</s>", "added_tokens_decoder": {}})");
  CHECK(load_chat_template(folder / "").variable("eos_token") == "</s>");
  CHECK(!load_chat_template(folder / "").variable("bos_token"));
}

TEST_CASE("directories without a template, and what is none, are refused by name") {
  const TemporaryFolder folder;
  CHECK(!has_chat_template(folder / ""));
  CHECK_THROWS_WITH(load_chat_template(folder / ""), Contains("found none; it is a base model"));
  const auto error = [&](const std::string& text) -> std::string {
    put_contents(folder / config, text);
    try {
      load_chat_template(folder / "");
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  CHECK_THAT(error("[]"), Contains("expected an object, found array"));
  CHECK_THAT(error("{"), Contains("not valid JSON"));
  CHECK_THAT(error("{\"chat_template\": null}"), Contains("found none"));
  CHECK_THAT(error("{\"chat_template\": 5}"), Contains("chat_template: expected a text, or a list of objects"));
  CHECK_THAT(error("{\"chat_template\": [{\"name\": \"default\"}]}"), Contains("found another kind of value"));
  CHECK_THAT(error("{\"chat_template\": \"{{ x\"}"), Contains("line 1, column 1: the tag has no end, '}}'"));
  CHECK_THAT(error("{\"chat_template\": \"\", \"bos_token\": 3}"), Contains("bos_token: expected a text or an object"));
  put_contents(folder / "chat_template.jinja", std::string((1 << 18) + 1, ' '));
  CHECK_THAT(error("{}"), Contains("expected at most 262144 bytes, found 262145"));
}
