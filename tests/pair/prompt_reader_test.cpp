#include "tools/generate/prompt_reader.hpp"

#include <filesystem>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/text/tokenizer/load.hpp"
#include "io/temporary_folder.hpp"
#include "tools/convert/tokenizer_json.hpp"

using namespace calm;
using Tokens = std::vector<Index>;

TEST_CASE("a prompt is a text to continue, or a message") {
  const test::TemporaryFolder folder;
  convert::write_digit_tokenizer(10, folder / "m");
  test::put_contents(folder / "m/chat_template.jinja",
                     "{% for m in messages %}{{ 1 if m.role == 'user' else 3 }}{{ m.content }}{% endfor %}"
                     "{% if add_generation_prompt %}2{% endif %}");
  const auto tokenizer = text::load_tokenizer(folder / "m");
  const programs::Ends ends{{0}, {}};
  programs::GenerateSettings settings;
  const auto read = [&] { return programs::PromptReader(settings, folder / "m", tokenizer, ends)("4"); };
  CHECK(read() == Tokens{0, 4});
  settings.chat = true;
  CHECK(read() == Tokens{1, 4, 2});
  settings.system = "9";
  CHECK(read() == Tokens{3, 9, 1, 4, 2});
  std::filesystem::remove(folder / "m/chat_template.jinja");
  CHECK_THROWS_WITH(read(), Catch::Contains("chat template"));
}
