/// \file  What the training loop asks of an optimizer.
#pragma once

#include <concepts>
#include <cstdint>
#include <vector>

#include "calm/io/safetensors.hpp"
#include "calm/train/parameter_set.hpp"

namespace calm::train {

/// What `fit` calls; `ParameterSet` has all of it but `step`.
template <class O>
concept Optimizer = requires(O& o, const O& c, double number, io::SafetensorsWriter& writer,
                             const io::SafetensorsFile& file) {
  { o.gradient_norm() } -> std::same_as<GradientNorm>;
  o.clip_gradients(number, number);  // (max_norm, norm)
  o.step(number);                    // (learning_rate)
  o.zero_gradients();
  { c.updates() } -> std::convertible_to<std::uint64_t>;
  { c.entries() } -> std::convertible_to<const std::vector<detail::ParameterEntry>&>;
  c.add_to(writer);
  o.load(file);
};

namespace detail {

/// An optimizer with its type erased.
class AnyOptimizer {
 public:
  virtual GradientNorm gradient_norm() = 0;
  virtual void clip_gradients(double max_norm, double norm) = 0;
  virtual void step(double learning_rate) = 0;
  virtual void zero_gradients() = 0;
  virtual std::uint64_t updates() const = 0;
  virtual const std::vector<ParameterEntry>& entries() const = 0;
  virtual void add_to(io::SafetensorsWriter& writer) const = 0;
  virtual void load(const io::SafetensorsFile& file) = 0;

 protected:
  ~AnyOptimizer() = default;
};

template <Optimizer O>
class OptimizerReference final : public AnyOptimizer {
 public:
  explicit OptimizerReference(O& optimizer) : optimizer_(optimizer) {}

  GradientNorm gradient_norm() override { return optimizer_.gradient_norm(); }
  void clip_gradients(double max_norm, double norm) override { optimizer_.clip_gradients(max_norm, norm); }
  void step(double learning_rate) override { optimizer_.step(learning_rate); }
  void zero_gradients() override { optimizer_.zero_gradients(); }
  std::uint64_t updates() const override { return optimizer_.updates(); }
  const std::vector<ParameterEntry>& entries() const override { return optimizer_.entries(); }
  void add_to(io::SafetensorsWriter& writer) const override { optimizer_.add_to(writer); }
  void load(const io::SafetensorsFile& file) override { optimizer_.load(file); }

 private:
  O& optimizer_;
};

}  // namespace detail

}  // namespace calm::train
