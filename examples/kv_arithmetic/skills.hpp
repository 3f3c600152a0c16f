/// \file  Skills kept: what anchor and augment knew before, in models that were trained on D_C.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <calm/text/perplexity.hpp>

#include "baselines.hpp"
#include "columns.hpp"

namespace kv {

/// exp of the mean nats per predicted token over `count` texts of a stream, from its number 2^40 on, which no training
/// reaches.
template <class Model, class Stream>
double perplexity_on(const Model& model, Stream stream, std::size_t count) {
  static constexpr std::size_t batch = 50;
  std::vector<Example> examples(batch);
  double nats = 0;
  std::size_t tokens = 0;
  for (std::size_t done = 0; done < count; done += batch) {
    for (std::size_t j = 0; j < batch; ++j) stream((std::uint64_t{1} << 40) + done + j, examples[j]);
    const auto b = calm::train::collate<Device>(examples);
    const auto logits = calm::on_host(calm::value(model.logits(b.tokens, b.layout)));
    const std::size_t vocab = logits.extent(2);
    for (std::size_t i = 0; i < b.targets.size(); ++i) {
      if (b.targets[i] == calm::ignored_target) continue;
      const float* row = logits.data() + i * vocab;
      nats += calm::log_sum_exp(row, vocab) - static_cast<double>(row[b.targets[i]]);
      ++tokens;
    }
  }
  return calm::text::perplexity(nats, tokens);
}

/// What one model has of each skill.
inline const std::vector<std::string> skill_columns{"anchor_text_perplexity",  "numeric_arithmetic",
                                                    "augment_text_perplexity", "kv_substitution",
                                                    "kv_math_of_d_c_keys",     "kv_math"};
template <class S, class Model>
std::vector<double> skills_of(Experiment<S>& experiment, const Model& model) {
  const auto& book = experiment.book();
  const auto& settings = experiment.settings();
  const KeyRange in = book.range(Keys::held_in), out = book.range(Keys::held_out);
  const auto substitution = [&book, writer = Writer<S>(book), seed = settings.seed, out, e = Expression{}](
                                std::uint64_t i, Example& example) mutable {
    draw(book, out, {seed, 13}, i, e);
    writer.write(Set::substitution, e, example);
  };
  const std::size_t n = settings.evaluated;
  return {perplexity_on(model, anchor_stream<S>(book, settings.anchor_seed), n),
          evaluate(model, book, Set::numeric, out, n),
          perplexity_on(model, substitution, n),
          evaluate(model, book, Set::substitution, out, n),
          evaluate(model, book, Set::math, in, n),
          evaluate(model, book, Set::math, out, n)};
}

/// What the bases know, and what is left of it in the composition, under LoRA, full fine-tuning and proxy-tuning.
template <class S>
void skills(const Settings& settings) {
  std::vector<Line> rows;
  for (const char* name : {"anchor", "augment", "composed", "lora", "full", "proxy"}) {
    rows.push_back({name, std::vector<std::vector<double>>(settings.seeds)});
  }
  std::vector<std::function<void()>> jobs;
  for (std::size_t i = 0; i < settings.seeds; ++i) {
    const auto job = [&, i](std::size_t row, auto make) {
      jobs.push_back([&, i, row, make] {
        Settings one = settings;
        one.seed += i;
        Experiment<S> experiment(one);
        rows[row].of_seed[i] = skills_of(experiment, *make(experiment));
      });
    };
    job(0, [](auto& e) { return e.template base<Anchor<S>>("anchor"); });
    job(1, [](auto& e) { return e.template base<Augment<S>>("augment"); });
    job(2, [](auto& e) { return e.composed(); });
    job(3, [](auto& e) { return std::move(lora(e).model); });
    job(4, [](auto& e) { return std::move(full(e).model); });
    job(5, [](auto& e) { return std::move(proxy(e).model); });
  }
  run_jobs(jobs);
  write_columns(settings, "kv_skills", skill_columns, rows);
}

}  // namespace kv
