#include "calm/text/chat_template.hpp"

#include <chrono>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

using namespace calm;
using namespace calm::text;
using Catch::Contains;
using Catch::Matchers::Equals;

namespace {

const Chat chat{{"user", "hi"}, {"assistant", "yes"}};

std::string render(const std::string& source, const ChatOptions& options = {}) {
  return ChatTemplate::parse(source)(chat, options);
}

std::string error_of(const std::string& source, const ChatOptions& options = {}) {
  try {
    render(source, options);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

std::string times(std::size_t n, const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += text;
  return out;
}

}  // namespace

TEST_CASE("a rendering says which bytes the assistant's words are") {
  const ChatTemplate marked = ChatTemplate::parse(
      "é{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% else %}"
      "{% generation %}<{{ m.content }}>{% endgeneration %}{% endif %}{% endfor %}!");
  CHECK(marked.marks_answers(chat));
  CHECK(!ChatTemplate::parse("x").marks_answers(chat));
  const RenderedChat rendered = marked.render(chat);
  CHECK(rendered.text == "éhi<yes>!");
  CHECK(rendered.answers == std::vector<jinja::Span>{{4, 9}});
  CHECK_THAT(error_of("{% macro m() %}{% generation %}x{% endgeneration %}{% endmacro %}{{ m() }}"),
             Contains("'generation' inside of a macro or 'set' is not supported"));
}

TEST_CASE("the date is what the options say, or the template is refused") {
  const std::string source = "{{ strftime_now('%d %b %Y') }}";
  CHECK(render(source, {.now = std::chrono::sys_days(std::chrono::year(2024) / 7 / 26)}) == "26 Jul 2024");
  CHECK_THAT(error_of(source),
             Contains("column 4: 'strftime_now': the template asks for the date; set ChatOptions::now"));
  CHECK_THAT(error_of("{{ strftime_now('%c') }}", {.now = std::chrono::sys_seconds()}),
             Contains("'strftime_now' with '%c' is not supported"));
}

TEST_CASE("errors say what is wrong, in which line and column") {
  CHECK_THAT(error_of("a\n  {{ 'é' | nope }}"),
             Equals("calm::text: chat template: line 2, column 12: filter 'nope' is not supported"));
  CHECK_THAT(error_of("{{ x is nope }}"), Contains("line 1, column 9: test 'nope' is not supported"));
  CHECK_THAT(error_of("{{ messages.x.y }}"), Contains("column 15: 'x' is undefined"));
  CHECK_THAT(error_of("\n\n{% if nothing.role %}{% endif %}"), Contains("line 3, column 15: 'nothing' is undefined"));
  CHECK_THAT(error_of("{{ nothing() }}"), Contains("'nothing' is undefined, so it cannot be called"));
  CHECK_THAT(error_of("{{ 'a' + 1 }}"), Contains("operator '+': found a text and a whole number; '~' joins"));
  CHECK_THAT(error_of("{{ raise_exception('Take turns!') }}"),
             Contains("the template refuses the chat: 'Take turns!'"));
  CHECK_THAT(error_of("{{ 'a'.split(1) }}"),
             Contains("method 'split': argument 'sep': expected a text, found a whole"));
  CHECK_THAT(error_of("{{ [] | join(x=1) }}"), Contains("filter 'join': the argument 'x' is not supported"));
  CHECK_THAT(error_of("{{ messages | map('x') }}"), Contains("filter 'x' is not supported"));
  CHECK_THAT(error_of("{{ range }}"), Contains("printing a function is not supported"));
  CHECK_THAT(error_of("{% set x = messages | map(attribute='role') %}{{ x | list }}{{ x | list }}"),
             Contains("an iterator is walked through twice"));
  CHECK_THAT(error_of("{{ messages | map(attribute='role') }}"),
             Contains("printing an iterator, which is no list yet"));
}

TEST_CASE("what a template may not be is refused when it is read") {
  const auto is_refused = [](const std::string& source, const std::string& why) {
    INFO(source);
    CHECK_THROWS_WITH(ChatTemplate::parse(source), Contains(why));
  };
  for (const char* name : {"include", "import", "extends", "block", "call", "filter", "with", "do", "trans"})
    is_refused("{% " + std::string(name) + " x %}", "statement '" + std::string(name) + "' is not supported");
  is_refused("{% if x %}", "column 4: 'if' has no end, 'endif'");
  is_refused("{% for x in y %}{% else %}", "'for' has no end, 'endfor'");
  is_refused("{% set x %}", "'set' has no end, 'endset'");
  is_refused("{% endif %}", "'endif' ends nothing that is open here");
  is_refused("{% if x %}{% endfor %}", "'endfor' ends nothing");
  is_refused("{{ x", "column 1: the tag has no end, '}}'");
  is_refused("{% x", "the tag has no end, '%}'");
  is_refused("{# x", "the comment has no end");
  is_refused("{% raw %}{% endra %}", "'raw' has no 'endraw'");
  is_refused("{{ 'x }}", "the text has no closing quote");
  is_refused("{{ '\\", "the text has no closing quote");
  is_refused("{{ '\\ud800' }}", "the escape stands for no character");
  is_refused("{{ '\\xg0' }}", "expected 2 hexadecimal digits");
  is_refused("{{ '\\N{DASH}' }}", "the escape '\\N' is not supported");
  is_refused("{{ }}", "expected an expression, found the tag's end");
  is_refused("{{ 1 + }}", "expected an expression, found the tag's end");
  is_refused("{{ (1 }}", "expected ')'");
  is_refused("{{ [1) }}", "column 6: found ')', expected ']'");
  is_refused("{{ ) }}", "found ')', expected no closing bracket");
  is_refused("{{ 1 2 }}", "expected '}}', found '2'");
  is_refused("{{ a.'b' }}", "expected a name behind '.', found 'b'");
  is_refused("{{ 1x }}", "a number goes on as a name");
  is_refused("{{ 99999999999999999999 }}", "a whole number of more than 64 bits");
  is_refused("{{ a @ b }}", "found the character '@', which is not part of the language");
  is_refused("{{ f(*x) }}", "arguments out of a list or dict");
  is_refused("{{ f(a=1, 2) }}", "an argument without a name stands behind one with a name");
  is_refused("{{ a[1, 2] }}", "several indices");
  is_refused("{% set 1 = 2 %}", "expected a name to assign to, found '1'");
  is_refused("{% set loop = 2 %}", "expected a name to assign to, found 'loop'");
  is_refused("{% for x y %}", "expected 'in', found 'y'");
  is_refused("{% for x in y recursive %}", "recursive loops are not supported");
  is_refused("{% break %}", "'break' stands in no loop");
  is_refused("{% for x in y %}{% set z %}{% break %}{% endset %}{% endfor %}", "'break' stands in no loop");
  is_refused("{% for x in y %}{% macro m() %}{% endmacro %}{% endfor %}", "a macro inside of a loop");
  is_refused("{% macro m(a=1, b) %}{% endmacro %}", "a parameter without a default");
  is_refused("\xFF", "expected UTF-8, found an invalid byte at 0");
  is_refused(std::string((1 << 18) + 1, 'x'), "expected at most 262144 bytes, found 262145");
  is_refused(std::string("{{ \0 }}", 7), "which is not part of the language");
}

TEST_CASE("hostile templates end soon, with one error") {
  const auto begin = std::chrono::steady_clock::now();
  const auto ends = [](const std::string& source, const std::string& why) {
    INFO(source.substr(0, 200));
    CHECK_THAT(error_of(source), Contains(why));
  };
  const std::string steps = "takes more than 4000000 steps", bytes = "makes a text of more than 16777216 bytes";
  const std::string nested = "{% for a in range(99999) %}{% for b in range(99999) %}";
  ends(nested + "{% endfor %}{% endfor %}", steps);
  ends(nested + "x{% endfor %}{% endfor %}", steps);
  ends("{{ 'x' * 99999999 }}", bytes);
  ends("{{ 'x' * 9223372036854775807 }}", bytes);
  ends("{{ [0] * 9223372036854775807 }}", steps);
  ends("{{ [[]] * 3999999 * 3 }}", steps);
  ends("{{ range(100001) }}", "expected at most 100000 numbers");
  ends("{{ range(-9223372036854775807, 9223372036854775807) }}", "expected at most 100000 numbers");
  ends("{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", bytes);
  ends("{% set ns = namespace(s='x' * 1000000) %}{% for i in range(9999) %}{{ ns.s }}{% endfor %}", bytes);
  ends(
      "{% set ns = namespace(s='x' * 1000000, l=[]) %}{% for i in range(9999) %}{% set ns.l = ns.l + [ns.s ~ i] %}"
      "{% endfor %}",
      steps);
  ends("{% set ns = namespace(l=[]) %}{% for i in range(999) %}{% set ns.l = [ns.l] %}{% endfor %}",
       "nests values more than 100 deep");
  ends("{% set ns = namespace(l=[0]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
       steps);
  ends(
      "{% set ns = namespace(l=[]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l == "
      "[ns.l] }}"
      "{% set o = namespace(l=[]) %}{% for i in range(60) %}{% set o.l = [o.l, o.l] %}{% endfor %}{{ ns.l == o.l }}",
      steps);
  ends("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns.me }}", "printing a namespace is not supported");
  ends("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "is more than 400 calls deep");
  ends("{% macro m(n) %}{{ m(n + 1) ~ m(n + 1) }}{% endmacro %}{{ m(0) }}", "is more than 400 calls deep");
  ends("{{ 'a' * 9999999 in 'a' * 4000000 ~ 'b' }}{{ 'a' * 4000000 ~ 'b' in 'a' * 9999999 }}", steps);
  ends("{{ ('a' * 9999999).replace('a', 'b' * 100) }}", steps);
  ends("{{ ('a' * 9999999).replace('', 'x') }}", steps);
  ends("{{ ','.join('a' * 9999999) }}", steps);
  ends("{{ ('a ' * 4999999).split() | length }}", steps);
  ends("{% for c in 'a' * 9999999 %}{% endfor %}", steps);
  ends("{{ [1] | tojson(indent=999999999) }}", "expected an indent of at most 64");
  ends("{{ ('a\n' * 999999) | indent(' ' * 999) }}", bytes);
  ends("{{ 'x' | indent(999999999) }}", "expected a width of at most 64");
  ends("{{ 9223372036854775807 + 1 }}", "more than 64 bits");
  ends("{{ -9223372036854775807 - 2 }}", "more than 64 bits");
  ends("{{ 9223372036854775807 * 2 }}", "more than 64 bits");
  ends("{{ (-9223372036854775807 - 1) // -1 }}", "more than 64 bits");
  ends("{{ -(-9223372036854775807 - 1) }}", "more than 64 bits");
  CHECK(render("{{ (-9223372036854775807 - 1) % -1 }}") == "0");
  CHECK(render("{{ 'abc'[-9223372036854775807:9223372036854775807:9223372036854775807] }}") == "a");
  CHECK(render("{{ [1,2][9223372036854775807::-9223372036854775807] }}") == "[2]");
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(60));
}

TEST_CASE("templates that nest deeply are refused, wide ones are not") {
  for (const auto& [open, close] : std::vector<std::pair<std::string, std::string>>{{"(", ")"},
                                                                                    {"[", "]"},
                                                                                    {"{'a':", "}"},
                                                                                    {"not ", ""},
                                                                                    {"-", ""},
                                                                                    {"f(", ")"},
                                                                                    {"a[", "]"},
                                                                                    {"1 if ", ""},
                                                                                    {"a is eq(", ")"},
                                                                                    {"x|default(", ")"}}) {
    INFO(open);
    CHECK_THAT(error_of("{{ " + times(20'000, open) + "1" + times(20'000, close) + " }}"), Contains("deep"));
  }
  CHECK_THAT(error_of(times(9000, "{% if 1 %}")), Contains("nests more than 100 deep"));
  CHECK_THAT(error_of("{{ 1" + times(9000, " + 1") + " }}"), Contains("nests more than 200 deep"));
  CHECK_THAT(error_of("{{ x" + times(9000, "|d") + " }}"), Contains("nests more than 200 deep"));
  CHECK_THAT(error_of("{{ x" + times(9000, ".a") + " }}"), Contains("nests more than 200 deep"));
  CHECK_THAT(error_of("{{ 1" + times(9000, " if 1") + " }}"), Contains("nests more than 200 deep"));
  CHECK(render("{{ 1" + times(150, " + 1") + " }}") == "151");
  CHECK(render("{{ ''" + times(9000, " ~ 1") + " }}").size() == 9000);
  CHECK(render("{% if 0 %}" + times(9000, "{% elif 0 %}") + "{% else %}x{% endif %}") == "x");
  CHECK(render("{{ " + times(20, "(") + "1" + times(20, ")") + " }}") == "1");
}

TEST_CASE("limits are the caller's to set") {
  CHECK_THAT(error_of("{% for i in range(99) %}{% endfor %}", {.limits = {.steps = 50}}),
             Contains("more than 50 steps"));
  CHECK_THAT(error_of("{{ 'x' * 11 }}", {.limits = {.output_bytes = 10}}), Contains("of more than 10 bytes"));
  CHECK_THAT(error_of("12345678901", {.limits = {.output_bytes = 10}}), Contains("of more than 10 bytes"));
  CHECK(render("1234567890", {.limits = {.output_bytes = 10}}) == "1234567890");
  CHECK_THAT(error_of("x", {.variables = "[]"}),
             Contains("ChatOptions::variables: expected a JSON object, found a list"));
}
