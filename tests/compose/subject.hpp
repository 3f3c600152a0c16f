/// \file  A composition whose type is forgotten, so that what every composition owes is written and compiled once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "calm/compose/bridge_file.hpp"
#include "calm/nn/initialise.hpp"
#include "compose/toy_retokenizer.hpp"

namespace calm::test {

/// Some trainable parameter: its numbers, and their gradient or null.
struct ParameterView {
  std::string path;
  double* data;
  const double* gradient;
  std::size_t size;
};

/// A composition in double. Logits are [Batch, Time, Vocab] or, of `next_logits`, [Batch, Vocab].
class Subject {
 public:
  using Tokens = nn::Tokens<Cpu>;
  using Layout = nn::Layout<Cpu>;

  std::size_t vocab = 0, links = 0, trainable = 0;
  bool causal = true;  ///< whether no bridge reads what is later in the prompt
  bool one_by_one = false;  ///< whether decoding must read one token at a time behind the prompt

  virtual ~Subject() = default;

  virtual std::vector<double> logits(const Tokens& tokens, const Layout& layout) const = 0;
  virtual std::vector<double> anchor_logits(const Tokens& tokens, const Layout& layout) const = 0;
  virtual double loss(const Tokens& tokens, const Layout& layout, const Tokens& targets) const = 0;
  /// Leaves the gradients of `loss` in the parameters.
  virtual void differentiate(const Tokens& tokens, const Layout& layout, const Tokens& targets) = 0;

  virtual void make_caches(std::size_t batch, std::size_t capacity) = 0;
  virtual std::vector<double> next_logits(const Tokens& tokens, const Layout& layout,
                                          const Tensor<Index, Cpu, Batch>& last) = 0;

  /// The largest difference between f_proj folded into W_K and W_V, and one after the other.
  virtual double folding_error() const = 0;
  virtual void save(const std::string& path) = 0;
  virtual void load(const std::string& path) = 0;

  virtual std::vector<ParameterView> parameters() = 0;
  /// The factor of each link, those of two-way bridges last.
  virtual std::vector<double*> scales() = 0;
  virtual std::string description() = 0;

  void set_scales(double s) {
    for (double* scale : scales()) *scale = s;
  }
};

namespace detail {

template <class X>
std::vector<double> numbers(const X& x) {
  const auto& v = value(x);
  return {v.data(), v.data() + v.size()};
}

template <class X>
X random_rows(std::size_t rows, std::uint64_t seed) {
  X x(typename X::shape_type(1, rows));
  for (std::size_t i = 0; i < x.size(); ++i) x.mutable_data()[i] = static_cast<double>(random_normal({seed, 1}, i));
  return x;
}

template <class A, class B>
double largest_difference(const A& a, const B& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

/// Bridges of `Spec`'s states that have a projection to fold; others have nothing to get wrong.
template <class Spec, class Bridges>
double folding_error_of(const Bridges& bridges) {
  double worst = 0;
  if constexpr (requires { bridges[0].proj; }) {
    const auto a = random_rows<Tensor<double, Cpu, Batch, Source, nn::Hidden<Spec>>>(3, 7);
    for (const auto& bridge : bridges) {
      const auto folded = bridge.template folded<Frozen>();
      const auto p = value(bridge.proj(a));
      worst = std::max({worst, largest_difference(folded.k_proj(a), value(bridge.k_proj(p))),
                        largest_difference(folded.v_proj(a), value(bridge.v_proj(p)))});
    }
  }
  return worst;
}

}  // namespace detail

/// Model, with both kinds of bases at random, and fresh bridges.
template <class Model>
class SubjectOf final : public Subject {
 public:
  explicit SubjectOf(std::uint64_t seed) {
    vocab = nn::Vocab<typename Model::spec>::extent;
    trainable = Model::trainable_parameters;
    causal = Model::shares_prefixes;
    nn::initialise(model.anchor, {.seed = seed, .deviation = 0.3});
    model.for_each_branch([&](auto i, auto& branch) {
      nn::initialise(branch.augment, {.seed = seed + 1 + i, .deviation = 0.3});
      links += branch.scale.size();
      if constexpr (requires { branch.retokenizer; }) {
        branch.retokenizer = std::make_shared<ToyRetokenizer>();
        one_by_one = true;
      }
    });
    model.initialise_bridges(seed);
  }

  Model model;

  std::vector<double> logits(const Tokens& tokens, const Layout& layout) const override {
    return detail::numbers(model.logits(tokens, layout));
  }
  std::vector<double> anchor_logits(const Tokens& tokens, const Layout& layout) const override {
    return detail::numbers(model.anchor.logits(tokens, layout));
  }
  double loss(const Tokens& tokens, const Layout& layout, const Tokens& targets) const override {
    return value(model.loss(tokens, layout, targets))[0];
  }
  void differentiate(const Tokens& tokens, const Layout& layout, const Tokens& targets) override {
    nn::for_each_trainable(model, [](const std::string&, auto& p) { p.zero_gradient(); });
    Tape<Cpu> tape;
    const auto recording = tape.record();
    if constexpr (Model::trainable_parameters > 0) backward(model.loss(tokens, layout, targets));
  }

  void make_caches(std::size_t batch, std::size_t capacity) override { caches_ = model.make_caches(batch, capacity); }
  std::vector<double> next_logits(const Tokens& tokens, const Layout& layout,
                                  const Tensor<Index, Cpu, Batch>& last) override {
    return detail::numbers(model.next_logits(tokens, layout, last, caches_));
  }

  double folding_error() const override {
    double worst = 0;
    model.for_each_branch([&](auto, const auto& branch) {
      using B = std::remove_cvref_t<decltype(branch)>;
      worst = std::max(worst, detail::folding_error_of<typename B::augment_spec>(branch.bridges));
      if constexpr (requires { branch.back; })
        worst = std::max(worst, detail::folding_error_of<typename Model::spec>(branch.back));
    });
    return worst;
  }
  void save(const std::string& path) override { save_bridges(model, path); }
  void load(const std::string& path) override { load_bridges(model, path); }

  std::vector<ParameterView> parameters() override {
    std::vector<ParameterView> all;
    nn::for_each_trainable(model, [&](const std::string& path, auto& p) {
      all.push_back({path, p.mutable_value().mutable_data(), gradient(p), p.value().size()});
    });
    return all;
  }
  std::vector<double*> scales() override {
    std::vector<double*> all;
    model.for_each_branch([&](auto, auto& branch) {
      for (double& s : branch.scale) all.push_back(&s);
    });
    model.for_each_branch([&](auto, auto& branch) {
      if constexpr (requires { branch.back_scale; }) {
        for (double& s : branch.back_scale) all.push_back(&s);
      }
    });
    return all;
  }
  std::string description() override {
    std::string text;
    for (const auto& [key, what] : calm::detail::bridge_identity(model)) {
      if (!key.ends_with("sha256")) text += key + ": " + what + "\n";
    }
    return text;
  }

 private:
  typename Model::Caches caches_;
};

/// Every parameter at random, those too that training alone moves from their constants.
inline void randomise(Subject& s, std::uint64_t seed) {
  for (const ParameterView& p : s.parameters()) {
    for (std::size_t i = 0; i < p.size; ++i) {
      p.data[i] = 0.4 * static_cast<double>(random_normal({seed, nn::detail::hash(p.path)}, i));
    }
  }
}

template <class Model>
std::unique_ptr<SubjectOf<Model>> subject(bool trained, std::uint64_t seed = 1) {
  auto s = std::make_unique<SubjectOf<Model>>(seed);
  if (trained) test::randomise(*s, seed + 10);
  return s;
}

}  // namespace calm::test
