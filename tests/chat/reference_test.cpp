// What transformers renders of the templates in tests/fixtures/chat, text by text (make_chat_fixture.py).

#include <chrono>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include <catch2/catch.hpp>

#include "calm/io/sha256.hpp"
#include "calm/text/chat_template.hpp"
#include "io/temporary_folder.hpp"

using namespace calm;
using namespace calm::text;
using nlohmann::ordered_json;

namespace {

std::string contents(const std::string& name) { return test::contents_of(std::string(CALM_FIXTURES "/chat/") + name); }

const ordered_json& expected() {
  static const ordered_json out = ordered_json::parse(contents("expected.json"));
  return out;
}
const ordered_json& chats() {
  static const ordered_json out = ordered_json::parse(contents("chats.json"));
  return out;
}

std::chrono::sys_seconds fixture_time() {
  using namespace std::chrono;
  const auto t = expected()["now"].get<std::string>();  // as 2024-12-05T08:03:09
  const auto number = [&](std::size_t at, std::size_t n) { return std::stoi(t.substr(at, n)); };
  const year_month_day date(year(number(0, 4)), month(static_cast<unsigned>(number(5, 2))),
                            day(static_cast<unsigned>(number(8, 2))));
  return sys_days(date) + hours(number(11, 2)) + minutes(number(14, 2)) + seconds(number(17, 2));
}

ChatTemplate load(const std::string& source) {
  ChatTemplate out = ChatTemplate::parse(source);
  out.set("bos_token", "<s>");
  out.set("eos_token", "</s>");
  return out;
}

/// The digest that the fixture has, or the error behind "!".
std::string digest(const ChatTemplate& source, const Chat& chat, const ChatOptions& options, std::string& shown) {
  try {
    const RenderedChat rendered = source.render(chat, options);
    shown = rendered.text;
    for (const auto& span : rendered.answers)
      shown += "\n" + std::to_string(span.begin) + "," + std::to_string(span.end);
    io::Sha256 sha;
    sha.update(shown.data(), shown.size());
    return sha.hex().substr(0, 12);
  } catch (const Error& e) {
    shown = e.what();
    return "!";
  }
}

/// Snippets that jinja2 renders and calm refuses by name.
const std::set<std::string> refused{
#ifndef CALM_UTF8PROC
    "{{ 'É'.lower() }}",
    "{{ 'ÉA Straße Ω Ж' | lower }} {{ 'İ'.lower() }}",
#endif
    "{{ 'ΑΣ' | lower }}",
    "{{ '%s' % 'a' }}",
    "{{ '{}'.format(1) }}",
    "{{ 'a'.encode() }}",
    "{{ 2 ** 3 }}",
    "{{ [3, 1] | sort }}",
    "{{ ''.__class__ }}",
    "{{ messages.__len__ }}",
    "{%- set sep = joiner -%}{{ n }}",
    "{{ ('a<' | safe) + '<' }}",
    "{{ ('a<' | safe).upper() }}",
    "{{ 'a<' | safe | upper }}",
    "{{ ('a<' | safe)[0] }}",
    "{{ ('a' | safe) * 2 }}",
};

}  // namespace

TEST_CASE("chat templates: each family's texts are transformers', byte by byte") {
  std::size_t compared = 0, errors = 0;
  for (const ordered_json& run : expected()["runs"]) {
    const auto name = run["template"].get<std::string>();
    const ChatTemplate source = load(contents("templates/" + name + ".jinja"));
    for (const auto& [key, digests] : run["digests"].items()) {
      const Chat chat = Chat::from_json(chats()[key].dump());
      for (const bool prompt : {false, true}) {
        std::string shown;
        const ChatOptions options{
            .add_generation_prompt = prompt, .variables = run["variables"].dump(), .now = fixture_time()};
        const std::string found = digest(source, chat, options, shown);
        ++compared;
        errors += found == "!";
        INFO(name << " " << key << " " << prompt << " " << run["variables"].dump() << ": " << shown);
        CHECK(found == digests[prompt].get<std::string>());
        if (found == "!") CHECK(shown.find("not supported") == shown.npos);
      }
    }
  }
  CHECK(compared > 1200);
  CHECK(errors < compared / 5);
}

TEST_CASE("chat templates: the language is jinja2's, expression by expression") {
  const Chat chat = Chat::from_json(chats()["tools_called"].dump());
  const ChatOptions options{.add_generation_prompt = true,
                            .variables = R"({"text": " Ab cB\tc ", "n": 7, "numbers": [3, 1, 2]})",
                            .now = fixture_time()};
  for (const ordered_json& snippet : expected()["snippets"]) {
    const auto source = snippet["source"].get<std::string>();
    std::string found, error;
    try {
      found = load(source).render(chat, options).text;
    } catch (const Error& e) {
      error = e.what();
    }
    INFO(source << "\n" << error);
    if (snippet["text"].is_null()) {
      CHECK(!error.empty());
    } else if (refused.contains(source)) {
      CHECK(error.find("is not supported") != error.npos);
    } else {
      CHECK(error.empty());
      CHECK(found == snippet["text"].get<std::string>());
    }
  }
}
