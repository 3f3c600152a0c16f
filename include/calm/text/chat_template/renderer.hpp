/// \file  What a template writes.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/text/chat_template/evaluator.hpp"
#include "calm/text/chat_template/syntax.hpp"

namespace calm::text::jinja {

/// Bytes of a rendered text.
struct Span {
  std::size_t begin = 0, end = 0;
  friend bool operator==(const Span&, const Span&) = default;
};

/// Renders a template once.
class Renderer final : private Evaluator {
 public:
  using Evaluator::Evaluator;

  /// Puts a variable in place, before `run`; the name must outlive the renderer.
  void set(std::string_view name, Value value) { given_.names.insert_or_assign(name, std::move(value)); }

  std::string run(const std::vector<Statement>& statements) {
    std::string out;
    out_ = main_ = &out;
    top_.outside = &given_;
    scope_ = &top_;
    write(statements);
    return out;
  }
  /// Where in the text the bodies of {% generation %} are.
  const std::vector<Span>& generations() const { return generations_; }

 private:
  enum class Flow { on, leave, next };

  /// A scope inside of the present one, or of the one given, as long as it stands.
  class Inside {
   public:
    Inside(Renderer& renderer, const Scope* outside) : renderer_(renderer), before_(renderer.scope_), own_{outside} {
      renderer.scope_ = &own_;
    }
    explicit Inside(Renderer& renderer) : Inside(renderer, renderer.scope_) {}
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    ~Inside() { renderer_.scope_ = before_; }

   private:
    Renderer& renderer_;
    Scope* before_;
    Scope own_;
  };

  Flow write(const std::vector<Statement>& statements) {
    const Depth depth(*this);
    for (const Statement& statement : statements) {
      const Flow flow = write(statement);
      if (flow != Flow::on) return flow;
    }
    return Flow::on;
  }

  Flow write(const Statement& s) {
    machine_.at = s.at;
    machine_.spend(1);
    switch (s.kind) {
      case Statement::text: machine_.append(*out_, s.name); break;
      case Statement::print: print(s); break;
      case Statement::branch: return branch(s);
      case Statement::arm: break;  // of a branch, which looks at it
      case Statement::loop: loop(s); break;
      case Statement::assign: assign(s.targets, evaluate(*s.source)); break;
      case Statement::assign_all: assign(s.targets, captured(s)); break;
      case Statement::macro: scope_->names.insert_or_assign(s.name, Callable{Callable::macro, &s}); break;
      case Statement::leave: return Flow::leave;
      case Statement::next: return Flow::next;
      case Statement::generation: generation(s); break;
    }
    return Flow::on;
  }

  void print(const Statement& s) {
    const Value v = evaluate(*s.condition);
    machine_.at = s.condition->at;
    append(machine_, *out_, v);
  }

  Flow branch(const Statement& s) {
    for (const Statement& arm : s.body) {
      if (is_true(evaluate(*arm.condition))) return write(arm.body);
    }
    return write(s.other);
  }

  void loop(const Statement& s) {
    const Value source = evaluate(*s.source);
    machine_.at = s.source->at;
    auto loop = std::make_shared<Loop>(Loop{machine_.elements(source)});
    if (s.condition) loop->items = chosen(s, *loop->items);
    for (; loop->index < loop->items->items.size(); ++loop->index) {
      const Inside inside(*this);
      // A copy per turn, which a template may keep.
      scope_->names["loop"] = std::make_shared<const Loop>(*loop);
      machine_.spend(1);
      assign(s.targets, loop->items->items[loop->index]);
      if (write(s.body) == Flow::leave) break;
    }
    if (loop->items->items.empty()) {
      const Inside inside(*this);
      write(s.other);
    }
  }
  /// The items for which a loop's own condition holds.
  ListPtr chosen(const Statement& s, const List& all) {
    std::vector<Value> out;
    for (const Value& item : all.items) {
      const Inside inside(*this);
      assign(s.targets, item);
      if (is_true(evaluate(*s.condition))) out.push_back(item);
    }
    return std::get<ListPtr>(machine_.list(std::move(out)));
  }

  void assign(const std::vector<Target>& targets, const Value& v) {
    if (targets.size() == 1) return assign(targets[0], v);
    machine_.at = targets[0].at;
    const ListPtr parts = machine_.elements(v);
    if (parts->items.size() != targets.size())
      machine_.fail("expected " + std::to_string(targets.size()) + " values to assign, found " +
                    std::to_string(parts->items.size()));
    for (std::size_t i = 0; i < targets.size(); ++i) assign(targets[i], parts->items[i]);
  }
  void assign(const Target& target, const Value& v) {
    machine_.at = target.at;
    if (target.member.empty()) {
      scope_->names.insert_or_assign(target.name, v);
      return;
    }
    const Value* owner = scope_->find(target.name);
    if (!owner || !holds<Namespace*>(*owner))
      machine_.fail("expected " + shown(target.name) + " to be a namespace, found " +
                    kind_of(owner ? *owner : Value(Undefined())));
    std::get<Namespace*>(*owner)->members.insert_or_assign(target.member, v);
  }

  /// What statements write, as a value.
  Value written(const std::vector<Statement>& body) {
    std::string text;
    std::string* const before = std::exchange(out_, &text);
    write(body);
    out_ = before;
    return machine_.text(std::move(text));
  }
  Value captured(const Statement& s) {
    const Inside inside(*this);
    Value out = written(s.body);
    return s.source ? through(*s.source, std::move(out)) : out;
  }
  /// A text through a chain of filters, of which the innermost has nothing before it.
  Value through(const Expression& filter, Value v) {
    const Depth depth(*this);
    return filtered(filter, filter.parts[0] ? through(*filter.parts[0], std::move(v)) : std::move(v));
  }

  Value call_macro(const Statement& macro, const Arguments& given) override {
    const Depth depth(*this);
    const Inside inside(*this, &top_);
    const std::string what = "macro " + shown(macro.name);
    if (given.values.size() > macro.parameters.size())
      machine_.fail(what + ": expected at most " + std::to_string(macro.parameters.size()) + " arguments, found " +
                    std::to_string(given.values.size()));
    std::size_t used = given.values.size();
    for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
      const Statement::Parameter& parameter = macro.parameters[i];
      const auto named = std::find_if(given.named.begin(), given.named.end(),
                                      [&](const auto& argument) { return argument.first == parameter.name; });
      used += named != given.named.end();
      Value v = i < given.values.size()      ? given.values[i]
                : named != given.named.end() ? named->second
                : parameter.otherwise        ? evaluate(*parameter.otherwise)
                                             : Value(Undefined());
      scope_->names.insert_or_assign(parameter.name, std::move(v));
    }
    if (used != given.values.size() + given.named.size())
      machine_.fail(what + ": found an argument with a name that it does not have");
    return written(macro.body);
  }

  void generation(const Statement& s) {
    const Inside inside(*this);
    if (out_ != main_) machine_.unsupported("'generation' inside of a macro or 'set'");
    const std::size_t begin = out_->size();
    write(s.body);
    if (out_->size() > begin) generations_.push_back({begin, out_->size()});
  }

  Scope given_, top_;
  std::string* out_ = nullptr;
  std::string* main_ = nullptr;  ///< of the whole template
  std::vector<Span> generations_;
};

}  // namespace calm::text::jinja
