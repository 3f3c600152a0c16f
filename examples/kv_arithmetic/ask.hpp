/// \file  One expression put to the augment, the anchor and their composition.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "experiment.hpp"
#include "question.hpp"

namespace kv {

/// Prints what each model answers, with the working, beside the truth.
template <class S>
void ask(Experiment<S>& experiment, const std::string& text) {
  const Question q = read_question(experiment.book(), text);
  Example right;
  Writer<S>(experiment.book()).write_mixed(q.expression, q.is_key, right);
  const std::vector<Index> prompt(right.tokens.begin(),
                                  right.tokens.begin() + static_cast<std::ptrdiff_t>(right.prompt));
  const auto answer = [&](const std::string& name, const auto& model) {
    const auto found =
        calm::generate(model, prompt, {.max_new_tokens = S::context - prompt.size(), .end_tokens = {S::end}});
    fmt::print("{:<9} {}\n", name, show<S>(experiment.book(), found));
  };
  fmt::print("{:<9} {}\n", "asked", show<S>(experiment.book(), prompt));
  answer("augment", *experiment.template base<Augment<S>>("augment"));
  answer("anchor", *experiment.template base<Anchor<S>>("anchor"));
  answer("composed", *experiment.composed());
  right.tokens.pop_back();
  right.tokens.erase(right.tokens.begin(), right.tokens.begin() + static_cast<std::ptrdiff_t>(right.prompt));
  fmt::print("{:<9} {}\n", "truth", show<S>(experiment.book(), right.tokens));
}

}  // namespace kv
