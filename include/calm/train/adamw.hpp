/// \file  AdamW with clipping by the global norm.
///
/// Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2; the order of the arithmetic, and
/// the clipping, are those of torch.optim.AdamW and torch.nn.utils.clip_grad_norm_.
#pragma once

#include <cmath>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "calm/tensor/cpu/adamw.hpp"
#include "calm/train/parameter_set.hpp"

namespace calm::train {

/// The constants of AdamW (Loshchilov and Hutter 2019).
struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999;  ///< decay of the first and the second moment
  double epsilon = 1e-8;
  double weight_decay = 0.01;
  std::size_t decay_from_rank = 2;  ///< parameters with fewer axes (biases, scales, gates) are not decayed
};

/// An optimizer with two moments per element. Nothing is allocated after the constructor but by save and load.
///
/// One step: `clip_gradients(1.0); step(rate); zero_gradients();`
template <class Moment = float, class Device = Cpu>
class AdamW : public ParameterSet<Moment, Device> {
 public:
  template <class Module>
  explicit AdamW(Module& module, AdamWOptions options = {}, const ParameterGroups& groups = {})
      : ParameterSet<Moment, Device>("AdamW"), options_(options) {
    this->collect(module, {options.weight_decay, options.decay_from_rank}, groups,
                  [&]<class T>(std::type_identity<T>, const detail::ParameterEntry& e, std::size_t master) {
                    slots_.push_back({this->add_state("m", e, e.size), this->add_state("v", e, e.size), master,
                                      &change<T>});
                  });
    listed_.reserve(slots_.size());
  }

  const AdamWOptions& options() const { return options_; }

  /// One update of every parameter with `learning_rate`. Throws `Error` if somebody else holds a parameter's memory.
  void step(double learning_rate) {
    Change change = nullptr;
    const auto change_listed = [&] {
      if (!listed_.empty()) change(listed_.size(), listed_.data());
      listed_.clear();
    };
    listed_.clear();  // of a step that an exception ended
    this->update([&](std::size_t i, double t, double gradient_scale) {
      const Slots& at = slots_[i];
      if (at.change != change) change_listed();  // neighbours of one type of element together
      change = at.change;
      const auto& e = this->entries()[i];
      listed_.push_back({numbers(e, learning_rate, t, gradient_scale), e.size, e.gradient(), this->state(at.m),
                         this->state(at.v), this->state(at.master), e.data()});
    });
    change_listed();
  }

 private:
  using Change = void (*)(std::size_t count, const kernel::AdamWOperands<Moment>*);
  /// Where a parameter's state is, and the kernel of its elements.
  struct Slots {
    std::size_t m, v, master;
    Change change;
  };

  /// The t-th step of a parameter.
  kernel::AdamWStep<Moment> numbers(const detail::ParameterEntry& e, double learning_rate, double t,
                                    double gradient_scale) const {
    const double rate = learning_rate * e.rate_factor;
    kernel::AdamWStep<Moment> s{};
    s.gradient_scale = static_cast<Moment>(gradient_scale);
    s.beta1 = static_cast<Moment>(options_.beta1);
    s.beta2 = static_cast<Moment>(options_.beta2);
    s.decay = static_cast<Moment>(1 - rate * e.weight_decay);
    s.step_size = static_cast<Moment>(rate / (1 - std::pow(options_.beta1, t)));
    s.second_correction = static_cast<Moment>(std::sqrt(1 - std::pow(options_.beta2, t)));
    s.epsilon = static_cast<Moment>(options_.epsilon);
    return s;
  }

  template <class T>
  static void change(std::size_t count, const kernel::AdamWOperands<Moment>* list) {
    kernel::adamw<T>(Device{}, count, list);
  }

  AdamWOptions options_;
  std::vector<Slots> slots_;
  std::vector<kernel::AdamWOperands<Moment>> listed_;
};

/// For a module that says on which device it is.
template <class Module>
  requires requires { typename Module::device; }
AdamW(Module&, AdamWOptions = {}, const ParameterGroups& = {}) -> AdamW<float, typename Module::device>;

}  // namespace calm::train
