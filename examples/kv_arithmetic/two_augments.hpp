/// \file  Two augments, each of its own keys, on one anchor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <calm/compose/with.hpp>

#include "columns.hpp"
#include "experiment.hpp"

namespace kv {

/// The augment of the book's keys, and the one of the same values under other keys.
template <class S>
using Two = calm::Compose<Anchor<S>, calm::With<Augment<S>, Links, calm::bridge::Local>,
                          calm::With<Augment<S>, Links, calm::bridge::Local>>;

/// D_C of both key sets by turns.
template <class S>
auto two_streams(const KeyBook<S>& book, std::uint64_t seed) {
  const KeyRange in = book.range(Keys::held_in);
  return [one = composition_stream<S>(book, seed, in, false), other = composition_stream<S>(book, seed, in, true)](
             std::uint64_t i, Example& out) mutable {
    if (i % 2 == 0)
      one(i / 2, out);
    else
      other((std::uint64_t{1} << 32) + i / 2, out);
  };
}

template <class S>
std::unique_ptr<Two<S>> two_bases(const Experiment<S>& experiment, const std::string& first,
                                  const std::string& second) {
  auto model = std::make_unique<Two<S>>();
  calm::io::load_module(model->anchor, experiment.base_file("anchor"));
  calm::io::load_module(model->template branch<0>().augment, experiment.base_file(first), {.allow_unused = true});
  calm::io::load_module(model->template branch<1>().augment, experiment.base_file(second), {.allow_unused = true});
  return model;
}

/// What a composition makes of either key set, of both in one expression, and of numbers.
inline const std::vector<std::string> two_columns{"numeric", "math_first_keys", "math_second_keys", "math_both_keys",
                                                  "substitution_first", "substitution_second"};
template <class S, class Model>
std::vector<double> two_scores(const Experiment<S>& experiment, const Model& model) {
  const auto& book = experiment.book();
  const Writer<S> one(book, false), other(book, true);
  const auto score = [&](Set set, const auto& write) {
    return evaluate_written(model, book, set, book.range(Keys::held_out), experiment.settings().evaluated, write);
  };
  const auto first = [&](Set set, const Expression& e, Example& out) { one.write(set, e, out); };
  const auto second = [&](Set set, const Expression& e, Example& out) { other.write(set, e, out); };
  const auto both = [&](Set set, const Expression& e, Example& out) {  // every other operand is of the second set
    one.write(set, e, out);
    for (std::size_t k = 1; k < e.operands.size(); k += 2) {
      out.tokens[k * (S::digits + 1)] += static_cast<Index>(S::keys);
    }
  };
  return {score(Set::numeric, first), score(Set::math, first),         score(Set::math, second),
          score(Set::math, both),     score(Set::substitution, first), score(Set::substitution, second)};
}

/// Whether both orders of the augments give the same logits, bit for bit, on texts of both key sets.
template <class S>
bool order_changes_nothing(const Experiment<S>& experiment, const Two<S>& model) {
  auto swapped = two_bases(experiment, "vanilla", "augment");
  swapped->template branch<0>().bridges = model.template branch<1>().bridges;
  swapped->template branch<1>().bridges = model.template branch<0>().bridges;
  auto stream = two_streams<S>(experiment.book(), experiment.settings().seed);
  std::vector<Example> texts(64);
  for (std::size_t i = 0; i < texts.size(); ++i) stream(i, texts[i]);
  const auto batch = calm::train::collate<Device>(texts);
  const auto a = calm::on_host(calm::value(model.logits(batch.tokens, batch.layout)));
  const auto b = calm::on_host(calm::value(swapped->logits(batch.tokens, batch.layout)));
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// The lines of one seed, in the order of `two_lines`.
inline const std::vector<std::string> two_lines{"first alone",     "second alone",        "each trained alone",
                                                "together",        "together, no second", "together, no first"};
template <class S>
std::vector<std::vector<double>> two_augments_of(Experiment<S>& experiment) {
  const auto& book = experiment.book();
  const std::uint64_t seed = experiment.settings().seed;
  const KeyRange in = book.range(Keys::held_in);
  const auto first = experiment.template bases_composed<Composed<S>>("augment"),
             second = experiment.template bases_composed<Composed<S>>("vanilla");
  experiment.train_or_load(*first, "composed", composition_stream<S>(book, seed, in));
  experiment.train_or_load(*second, "second", composition_stream<S>(book, seed, in, true));
  auto apart = two_bases(experiment, "augment", "vanilla"), together = two_bases(experiment, "augment", "vanilla");
  apart->template branch<0>().bridges = first->bridges;
  apart->template branch<1>().bridges = second->bridges;
  experiment.train_or_load(*together, "together", two_streams<S>(book, seed));
  if (!order_changes_nothing(experiment, *together)) {
    throw calm::Error("two_augments: the order of the augments changes the logits");
  }
  std::vector<std::vector<double>> lines{two_scores(experiment, *first), two_scores(experiment, *second),
                                         two_scores(experiment, *apart), two_scores(experiment, *together)};
  together->template branch<1>().scale.fill(0);
  lines.push_back(two_scores(experiment, *together));
  together->template branch<1>().scale.fill(1);
  together->template branch<0>().scale.fill(0);
  lines.push_back(two_scores(experiment, *together));
  return lines;
}

template <class S>
void two_augments(const Settings& settings) {
  std::vector<Line> lines;
  for (const std::string& name : two_lines) lines.push_back({name, std::vector<std::vector<double>>(settings.seeds)});
  std::vector<std::function<void()>> jobs;
  for (std::size_t i = 0; i < settings.seeds; ++i) {
    jobs.push_back([&, i] {
      Settings one = settings;
      one.seed += i;
      Experiment<S> experiment(one);
      const auto found = two_augments_of(experiment);
      for (std::size_t l = 0; l < lines.size(); ++l) lines[l].of_seed[i] = found[l];
    });
  }
  run_jobs(jobs);
  fmt::print("the order of the augments changes no bit of the logits\n");
  write_columns(settings, "kv_two_augments", two_columns, lines);
}

}  // namespace kv
