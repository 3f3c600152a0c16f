#include "tools/generate/converse.hpp"

#include <sstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/text/tokenizer/load.hpp"
#include "io/temporary_folder.hpp"
#include "tools/convert/tokenizer_json.hpp"

using namespace calm;
using Tokens = std::vector<Index>;

namespace {

/// Answers "7", and remembers what it was asked; a signal ends the third answer.
struct Sevens {
  std::vector<Tokens> asked{};

  bool operator()(const std::vector<Tokens>& prompts) {
    asked.push_back(prompts.at(0));
    return asked.size() < 3;
  }
  std::string added(std::size_t) const { return "7"; }
};

/// A model of digits whose users are 1, assistants 2 and systems 3.
struct Model {
  test::TemporaryFolder folder;
  programs::GenerateSettings settings;
  programs::Ends ends{{0}, {}};
  text::Tokenizer tokenizer = (convert::write_digit_tokenizer(10, folder / "m"), text::load_tokenizer(folder / "m"));

  Model() {
    settings.chat = true;
    test::put_contents(folder / "m/chat_template.jinja",
                       "{% for m in messages %}{{ {'user': 1, 'assistant': 2, 'system': 3}[m.role] }}{{ m.content }}"
                       "{% endfor %}{% if add_generation_prompt %}2{% endif %}");
  }
  programs::PromptReader reader() const { return {settings, folder / "m", tokenizer, ends}; }
};

}  // namespace

TEST_CASE("each message of a conversation is asked behind all that was said") {
  Model model;
  model.settings.system = "9";
  auto read = model.reader();
  Sevens sevens;
  std::istringstream lines("4\n\n55\n6\n8\n");
  CHECK_FALSE(programs::converse(read, sevens, lines));
  CHECK(sevens.asked == std::vector<Tokens>{{3, 9, 1, 4, 2},
                                            {3, 9, 1, 4, 2, 7, 1, 5, 5, 2},
                                            {3, 9, 1, 4, 2, 7, 1, 5, 5, 2, 7, 1, 6, 2}});
  Sevens again;
  std::istringstream one("4\n");
  CHECK(programs::converse(read, again, one));
}
