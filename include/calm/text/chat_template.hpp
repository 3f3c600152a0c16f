/// \file  Chat templates: the Jinja programs that turn a conversation into the text that a model was trained on.
///
/// The language is what real templates use of jinja2, under the settings of transformers' apply_chat_template
/// (trim_blocks, lstrip_blocks, loop controls, {% generation %}); texts equal jinja2's byte by byte. A template is code
/// out of a model's directory, so it reaches nothing but its chat, and its steps, output and nesting are bounded. What
/// is outside of the language is refused by name with its line and column.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/tensor/error.hpp"
#include "calm/text/chat.hpp"
#include "calm/text/chat_template/json_value.hpp"
#include "calm/text/chat_template/parser.hpp"
#include "calm/text/chat_template/renderer.hpp"
#include "calm/text/chat_template/source.hpp"

namespace calm::text {

/// What a rendering takes besides the chat.
struct ChatOptions {
  bool add_generation_prompt = false;  ///< ends with what makes the assistant speak
  /// Further variables of the template, as a JSON object: {"enable_thinking": false}.
  std::string variables{};
  /// What `strftime_now` says; without it, a template that asks for the date is refused, so that a text depends on
  /// what is given alone.
  std::optional<std::chrono::sys_seconds> now{};
  ChatLimits limits{};
};

/// A chat as text, and which bytes of it {% generation %} marks.
struct RenderedChat {
  std::string text{};
  std::vector<jinja::Span> answers{};
};

/// A template. Nothing of it changes, so threads may share it; copies share the program.
class ChatTemplate {
 public:
  /// Reads a template's source; `name` begins the messages. Throws `Error` for what is not of the language.
  static ChatTemplate parse(std::string_view source, const std::string& name = "chat template") {
    ChatTemplate out;
    out.program_ = std::make_shared<const Program>(jinja::Source(name, source));
    return out;
  }

  /// A variable that each rendering has unless its options say otherwise, as "bos_token"; replaces an older one.
  void set(const std::string& name, const std::string& text) {
    std::erase_if(variables_, [&](const auto& variable) { return variable.first == name; });
    variables_.emplace_back(name, std::make_shared<const std::string>(text));
  }
  /// The variable of that name, or nothing.
  std::optional<std::string> variable(std::string_view name) const {
    for (const auto& [key, value] : variables_) {
      if (key == name) return *jinja::as_text(value);
    }
    return {};
  }
  /// The template that is rendered instead where the chat has tools.
  void set_tool_use(const ChatTemplate& other) { tool_use_ = other.program_; }

  /// Whether {% generation %} marks what the assistant says of a chat.
  bool marks_answers(const Chat& chat) const { return program_for(chat).marks_answers; }

  /// Throws `Error` with the template's line and column if it refuses the chat or exceeds a limit.
  RenderedChat render(const Chat& chat, const ChatOptions& options = {}) const {
    const Program& program = program_for(chat);
    const jinja::Value more = variables_of(options);
    jinja::Renderer renderer(program.source, options.limits, options.now);
    renderer.set("messages", chat.messages());
    renderer.set("tools", chat.tools());
    renderer.set("documents", chat.documents());
    renderer.set("add_generation_prompt", options.add_generation_prompt);
    for (const auto& [name, value] : variables_) renderer.set(name, value);
    for (const auto& [name, value] : jinja::as_dict(more)->items) renderer.set(name, value);
    RenderedChat out{.text = renderer.run(program.statements)};
    out.answers = renderer.generations();
    return out;
  }
  /// The text alone.
  std::string operator()(const Chat& chat, const ChatOptions& options = {}) const { return render(chat, options).text; }

 private:
  struct Program {
    jinja::Source source;
    std::vector<jinja::Statement> statements{};
    bool marks_answers = false;

    explicit Program(jinja::Source s) : source(std::move(s)) {
      jinja::Parser parser(source);
      statements = parser.run();
      marks_answers = parser.has_generation();
    }
  };

  const Program& program_for(const Chat& chat) const {
    return tool_use_ && !jinja::holds<jinja::None>(chat.tools()) ? *tool_use_ : *program_;
  }

  static jinja::Value variables_of(const ChatOptions& options) {
    const jinja::Value out =
        jinja::value_of_json(options.variables.empty() ? "{}" : options.variables, "ChatOptions::variables");
    calm::detail::require(jinja::as_dict(out) != nullptr, [&] {
      return "calm::text: ChatOptions::variables: expected a JSON object, found " + jinja::kind_of(out);
    });
    return out;
  }

  ChatTemplate() = default;

  std::shared_ptr<const Program> program_, tool_use_;
  std::vector<std::pair<std::string, jinja::Value>> variables_;
};

}  // namespace calm::text
