/// \file  The values of expressions.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "calm/text/chat_template/arguments.hpp"
#include "calm/text/chat_template/clock.hpp"
#include "calm/text/chat_template/filters.hpp"
#include "calm/text/chat_template/items.hpp"
#include "calm/text/chat_template/machine.hpp"
#include "calm/text/chat_template/methods.hpp"
#include "calm/text/chat_template/operators.hpp"
#include "calm/text/chat_template/print.hpp"
#include "calm/text/chat_template/syntax.hpp"
#include "calm/text/chat_template/tests.hpp"
#include "calm/text/chat_template/value.hpp"

namespace calm::text::jinja {

/// Names with values; what is not found is looked for in the scope outside.
struct Scope {
  const Scope* outside = nullptr;
  std::unordered_map<std::string_view, Value> names{};

  const Value* find(std::string_view name) const {
    for (const Scope* scope = this; scope; scope = scope->outside) {
      const auto it = scope->names.find(name);
      if (it != scope->names.end()) return &it->second;
    }
    return nullptr;
  }
};

/// Computes expressions; what renders statements stands on it, since a macro's value is what its statements write.
class Evaluator {
 public:
  Evaluator(const Source& source, const ChatLimits& limits, std::optional<std::chrono::sys_seconds> now)
      : machine_(source, limits), now_(now) {}

 protected:
  ~Evaluator() = default;

  /// Counts how deeply the rendering is inside of itself.
  class Depth {
   public:
    explicit Depth(Evaluator& evaluator) : evaluator_(evaluator) {
      if (++evaluator_.depth_ > max_depth)
        evaluator_.machine_.fail("is more than " + std::to_string(max_depth) +
                                 " calls deep; does a macro call itself?");
    }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;
    ~Depth() { --evaluator_.depth_; }

   private:
    Evaluator& evaluator_;
  };

  virtual Value call_macro(const Statement& macro, const Arguments& given) = 0;

  Value evaluate(const Expression& e) {
    const Depth depth(*this);
    machine_.at = e.at;
    machine_.spend(1);
    switch (e.kind) {
      case Expression::constant: return e.value;
      case Expression::name: return name(e);
      case Expression::list: return machine_.list(values(e.parts));
      case Expression::tuple: return machine_.list(values(e.parts), List::tuple);
      case Expression::dict: return dict(e);
      case Expression::attribute: return attribute_of(e);
      case Expression::item: return item_of(e);
      case Expression::slice: return slice_of(e);
      case Expression::call: return call(e);
      case Expression::filter: return filtered(e, evaluate(*e.parts[0]));
      case Expression::test: return tested(e);
      case Expression::negate:
      case Expression::plus: return signed_number(e);
      case Expression::logical_not: return !is_true(evaluate(*e.parts[0]));
      case Expression::logical_and: {
        Value left = evaluate(*e.parts[0]);
        return is_true(left) ? evaluate(*e.parts[1]) : left;
      }
      case Expression::logical_or: {
        Value left = evaluate(*e.parts[0]);
        return is_true(left) ? left : evaluate(*e.parts[1]);
      }
      case Expression::arithmetic: return calculated(e);
      case Expression::concat: return concatenated(e);
      case Expression::compare: return compared(e);
      case Expression::conditional:
        if (is_true(evaluate(*e.parts[0]))) return evaluate(*e.parts[1]);
        return e.parts[2] ? evaluate(*e.parts[2]) : Undefined();
    }
    return Undefined();
  }

  /// A filter's value, of what stands before it.
  Value filtered(const Expression& e, const Value& v) {
    const Arguments given = arguments(e.arguments);
    machine_.at = e.at;
    return filter(machine_, e.text, v, given);
  }

  Machine machine_;
  Scope* scope_ = nullptr;

 private:
  std::vector<Value> values(const std::vector<ExpressionPtr>& parts) {
    std::vector<Value> out;
    out.reserve(parts.size());
    for (const ExpressionPtr& part : parts) out.push_back(evaluate(*part));
    return out;
  }
  Arguments arguments(const CallArguments& parts) {
    Arguments out{.values = values(parts.values)};
    for (const auto& [name, part] : parts.named) out.named.emplace_back(name, evaluate(*part));
    return out;
  }

  Value name(const Expression& e) {
    if (const Value* found = scope_->find(e.text)) return *found;
    if (e.text == "range") return Callable{Callable::range};
    if (e.text == "namespace") return Callable{Callable::make_namespace};
    if (e.text == "dict") return Callable{Callable::dict};
    if (e.text == "raise_exception") return Callable{Callable::raise_exception};
    if (e.text == "strftime_now") return Callable{Callable::strftime_now};
    for (const std::string_view other :
         {"lipsum", "cycler", "joiner", "varargs", "kwargs", "caller", "self", "super"}) {
      if (e.text == other) machine_.unsupported(shown(e.text));
    }
    return Undefined();
  }

  Value dict(const Expression& e) {
    std::vector<std::pair<std::string, Value>> items;
    for (std::size_t i = 0; i < e.parts.size(); i += 2) {
      const Value key = evaluate(*e.parts[i]);
      machine_.at = e.parts[i]->at;
      if (!as_text(key)) machine_.unsupported("a dict's key that is " + kind_of(key));
      put(items, *as_text(key), evaluate(*e.parts[i + 1]));
    }
    return machine_.dict(std::move(items));
  }
  void put(std::vector<std::pair<std::string, Value>>& items, std::string_view key, Value value) {
    machine_.spend(1 + items.size() / 8);
    const auto it = std::find_if(items.begin(), items.end(), [&](const auto& item) { return item.first == key; });
    if (it != items.end())
      it->second = std::move(value);
    else
      items.emplace_back(key, std::move(value));
  }

  /// A value of which a part is asked, which must be there.
  Value owner(const Expression& e) {
    Value v = evaluate(*e.parts[0]);
    machine_.at = e.at;
    if (holds<Undefined>(v)) machine_.fail(described(*e.parts[0]) + " is undefined");
    return v;
  }
  static std::string described(const Expression& e) {
    if (e.kind == Expression::name || e.kind == Expression::attribute) return shown(e.text);
    if (e.kind == Expression::item && e.parts[1]->kind == Expression::constant && as_text(e.parts[1]->value))
      return shown(*as_text(e.parts[1]->value));
    return "the value before this place";
  }

  Value attribute_of(const Expression& e) { return attribute(machine_, owner(e), e.text); }
  Value item_of(const Expression& e) {
    const Value v = owner(e);
    const Value index = evaluate(*e.parts[1]);
    machine_.at = e.at;
    return item(machine_, v, index);
  }
  Value slice_of(const Expression& e) {
    const Value v = owner(e);
    Value bounds[3] = {None(), None(), None()};
    for (std::size_t i = 0; i < 3; ++i) {
      if (e.parts[i + 1]) bounds[i] = evaluate(*e.parts[i + 1]);
    }
    machine_.at = e.at;
    return slice(machine_, v, bounds[0], bounds[1], bounds[2]);
  }

  Value tested(const Expression& e) {
    const Value v = evaluate(*e.parts[0]);
    const Arguments given = arguments(e.arguments);
    machine_.at = e.at;
    return test(machine_, e.text, v, given);
  }
  Value signed_number(const Expression& e) {
    const Value v = evaluate(*e.parts[0]);
    machine_.at = e.at;
    if (!as_number(v)) machine_.fail("expected a number behind the sign, found " + kind_of(v));
    if (const double* d = std::get_if<double>(&v)) return e.kind == Expression::negate ? -*d : *d;
    return arithmetic(machine_, e.kind == Expression::negate ? "-" : "+", std::int64_t{0}, v);
  }
  Value calculated(const Expression& e) {
    const Value a = evaluate(*e.parts[0]), b = evaluate(*e.parts[1]);
    machine_.at = e.at;
    return arithmetic(machine_, e.text, a, b);
  }
  Value concatenated(const Expression& e) {
    std::string out;
    for (const ExpressionPtr& part : e.parts) {
      const Value v = evaluate(*part);
      machine_.at = part->at;
      append(machine_, out, v);
    }
    return machine_.text(std::move(out));
  }
  Value compared(const Expression& e) {
    Value left = evaluate(*e.parts[0]);
    for (std::size_t i = 0; i < e.operators.size(); ++i) {
      Value right = evaluate(*e.parts[i + 1]);
      machine_.at = e.at;
      if (!compare(machine_, e.operators[i], left, right)) return false;
      left = std::move(right);
    }
    return true;
  }

  Value call(const Expression& e) {
    const Expression& callee = *e.parts[0];
    if (callee.kind == Expression::attribute) {
      const Value v = owner(callee);
      const auto* loop = std::get_if<std::shared_ptr<const Loop>>(&v);
      if (loop || as_text(v) || as_list(v) || (as_dict(v) && is_python_method(v, callee.text))) {
        const Arguments given = arguments(e.arguments);
        machine_.at = callee.at;
        return loop ? cycle(**loop, callee.text, given) : call_method(machine_, v, callee.text, given);
      }
    }
    const Value function = evaluate(callee);
    const Arguments given = arguments(e.arguments);
    machine_.at = e.at;
    if (const auto* callable = std::get_if<Callable>(&function)) return call_function(*callable, given);
    machine_.fail(holds<Undefined>(function) ? described(callee) + " is undefined, so it cannot be called"
                                             : "expected a function before '(', found " + kind_of(function));
  }

  /// loop.cycle(a, b, ...).
  Value cycle(const Loop& loop, std::string_view name, const Arguments& given) {
    if (name != "cycle") machine_.unsupported("'loop." + std::string(name) + "()'");
    if (given.values.empty() || !given.named.empty()) machine_.fail("'loop.cycle': expected values to choose from");
    return given.values[loop.index % given.values.size()];
  }

  Value call_function(const Callable& function, const Arguments& given) {
    switch (function.kind) {
      case Callable::method: machine_.unsupported("calling a method that is not called where it is named");
      case Callable::macro: return call_macro(*function.body, given);
      case Callable::range: return range(given);
      case Callable::make_namespace: {
        if (!given.values.empty()) machine_.unsupported("'namespace' of values without names");
        Namespace out;
        for (const auto& [name, value] : given.named) out.members.insert_or_assign(std::string(name), value);
        return machine_.make_namespace(std::move(out));
      }
      case Callable::dict: {
        if (!given.values.empty()) machine_.unsupported("'dict' of values without names");
        std::vector<std::pair<std::string, Value>> items;
        for (const auto& [name, value] : given.named) put(items, name, value);
        return machine_.dict(std::move(items));
      }
      case Callable::raise_exception:
        machine_.fail("the template refuses the chat: " +
                      shown(str(machine_, Bound(machine_, "'raise_exception'", given, {"message"}).need(0))));
      case Callable::strftime_now: {
        const Bound args(machine_, "'strftime_now'", given, {"format"});
        if (!now_) machine_.fail("'strftime_now': the template asks for the date; set ChatOptions::now");
        return machine_.text(format_time(machine_, *now_, args.need_text(0)));
      }
    }
    return Undefined();
  }

  Value range(const Arguments& given) {
    Bound args(machine_, "'range'", given, {"start", "stop", "step"});
    const bool has_start = args[1] != nullptr;
    const std::int64_t begin = has_start ? args.integer_or(0, 0) : 0;
    args.need(0);
    const std::int64_t end = has_start ? args.integer_or(1, 0) : args.integer_or(0, 0), step = args.integer_or(2, 1);
    if (step == 0) args.fail("the step is 0");
    constexpr std::int64_t most = 100'000;  // that of jinja2's sandbox
    const double count = std::ceil((static_cast<double>(end) - static_cast<double>(begin)) / static_cast<double>(step));
    if (count > static_cast<double>(most)) args.fail("expected at most 100000 numbers, found more");
    std::vector<Value> out;
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(count); ++i) out.push_back(begin + i * step);
    return machine_.list(std::move(out), List::range);
  }

  std::optional<std::chrono::sys_seconds> now_;
  int depth_ = 0;
};

}  // namespace calm::text::jinja
