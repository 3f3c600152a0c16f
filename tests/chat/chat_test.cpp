#include "calm/text/chat.hpp"

#include <string>

#include <catch2/catch.hpp>

#include "calm/text/chat_template.hpp"

using namespace calm;
using namespace calm::text;
using Catch::Contains;

namespace {

std::string error_of(const std::string& json) {
  try {
    Chat::from_json(json);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a chat is messages, from C++ or from JSON, in which fields keep their order") {
  const Chat chat{{"system", "s"}, {"user", "ü"}};
  CHECK(chat.size() == 2);
  CHECK(chat.role(0) == "system");
  CHECK(chat.first(1).size() == 1);
  CHECK(chat.first(5).size() == 2);
  const ChatTemplate print =
      ChatTemplate::parse("{{ messages | tojson }} {{ tools | tojson }} {{ documents | tojson }}");
  CHECK(print(chat) == R"([{"role": "system", "content": "s"}, {"role": "user", "content": "ü"}] null null)");
  const Chat read = Chat::from_json(
      R"({"id": 7, "tools": [{"z": 1, "a": [1.5, -2, true, null]}], "messages": [{"x": {}, "role": "user"}]})");
  CHECK(print(read) == R"([{"x": {}, "role": "user"}] [{"z": 1, "a": [1.5, -2, true, null]}] null)");
  CHECK(print(read.first(0)) == R"([] [{"z": 1, "a": [1.5, -2, true, null]}] null)");
  CHECK(print(Chat::from_json(R"([{"role": "user"}])")) == R"([{"role": "user"}] null null)");
}

TEST_CASE("what is no chat is refused by name") {
  CHECK_THAT(error_of("{"), Contains("calm::text: chat: expected JSON, found at its byte"));
  CHECK_THAT(error_of("5"), Contains("expected a list of messages") && Contains("found a whole number"));
  CHECK_THAT(error_of("{}"), Contains("expected a list of messages") && Contains("found a dict"));
  CHECK_THAT(error_of(R"({"messages": 5})"), Contains("found a whole number"));
  CHECK_THAT(error_of(R"([{"role": "user"}, 5])"),
             Contains("message 2: expected an object") && Contains("found a whole"));
  CHECK_THAT(error_of(R"([{"content": ""}])"), Contains("message 1") && Contains("found no role"));
  CHECK_THAT(error_of(R"([{"role": null}])"), Contains("found a role that is none"));
  CHECK_THAT(error_of(R"({"messages": [], "tools": {}})"), Contains("key \"tools\": expected a list, found a dict"));
  CHECK_THAT(error_of(R"([{"role": "a", "role": "b"}])"), Contains("the key 'role' stands twice in one object"));
  CHECK_THAT(error_of("[\"\xFF\"]"), Contains("expected UTF-8, found an invalid byte at 2"));
  CHECK_THAT(error_of("[\"\\ud800\"]"), Contains("expected JSON"));
  CHECK_THAT(error_of(R"([{"role": "a", "n": 9223372036854775808}])"), Contains("at most 64 bits with a sign, found"));
  CHECK_THAT(error_of(R"([{"role": "a", "n": 123456789012345678901234567890}])"), Contains("write it as a text"));
  CHECK_THAT(error_of("[{\"role\": 1e999}]"), Contains("expected JSON"));
  CHECK_THAT(error_of(std::string(100'000, '[')), Contains("expected values at most 50 deep, found deeper ones"));
  std::string wide = "[{\"role\": \"a\"";
  for (int i = 0; i < 2000; ++i) wide += ", \"k" + std::to_string(i) + "\": 0";
  CHECK_THAT(error_of(wide + "}]"), Contains("expected at most 1000 keys in one object"));
  CHECK_THROWS_WITH((Chat{{"user", "\xC0"}}), Contains("expected UTF-8, found an invalid byte at 0 of a message"));
}
