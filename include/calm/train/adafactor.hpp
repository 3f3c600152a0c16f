/// \file  Adafactor: a second moment per row and per column of a matrix, instead of one per element.
///
/// Shazeer and Stern 2018, "Adafactor: adaptive learning rates with sublinear memory cost", algorithms 4 to 6, without
/// a first moment; with `relative_step`, as torch.optim.Adafactor.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "calm/tensor/cpu/adafactor.hpp"
#include "calm/train/parameter_set.hpp"

namespace calm::train {

/// The constants of Adafactor (Shazeer and Stern 2018, whose sections are named).
struct AdafactorOptions {
  double decay_power = 0.8;     ///< the second moment's decay at update t is 1 - t^-decay_power (§7.2)
  double clip_threshold = 1;    ///< of the root mean square of a parameter's update (§6)
  double epsilon = 1e-30;       ///< added to squared gradients
  bool relative_step = true;    ///< steps of max(floor, RMS of the parameter) · min(rate, 1 / √t) (§8); false: of rate
  double relative_floor = 1e-3;
  double weight_decay = 0;
  std::size_t decay_from_rank = 2;  ///< parameters with fewer axes (biases, scales, gates) are not decayed
};

/// An optimizer whose state grows with the rows and columns of matrices (the last two axes; those before count a
/// list of matrices), for models too large for AdamW's two moments. Parameters of one axis keep a moment per element.
/// Nothing is allocated after the constructor but by save and load.
template <class Moment = float, class Device = Cpu>
class Adafactor : public ParameterSet<Moment, Device> {
 public:
  template <class Module>
  explicit Adafactor(Module& module, AdafactorOptions options = {}, const ParameterGroups& groups = {})
      : ParameterSet<Moment, Device>("Adafactor"), options_(options) {
    std::size_t scratch = 0;
    this->collect(module, {options.weight_decay, options.decay_from_rank}, groups,
                  [&]<class T>(std::type_identity<T>, const detail::ParameterEntry& entry, std::size_t master) {
                    Slots s{matrices(entry.extents), 0, this->no_state, master, &change<T>};
                    const std::size_t rows = s.shape.count * s.shape.rows, columns = s.shape.count * s.shape.columns;
                    const bool factored = entry.extents.size() > 1;
                    s.rows = this->add_state(factored ? "rows" : "v", entry, factored ? rows : entry.size);
                    if (factored) s.columns = this->add_state("columns", entry, columns);
                    scratch = std::max(scratch, 2 * rows + columns + entry.size / kernel::norm_chunk + 1);
                    slots_.push_back(s);
                  });
    if (std::is_same_v<Device, Cpu>) scratch_.resize(scratch);
  }

  const AdafactorOptions& options() const { return options_; }

  /// One update of every parameter with `learning_rate`. Throws `Error` if somebody else holds a parameter's memory.
  void step(double learning_rate) {
    this->update([&](std::size_t i, double t, double gradient_scale) {
      const auto& e = this->entries()[i];
      const double rate = learning_rate * e.rate_factor;
      kernel::AdafactorStep s{};
      s.gradient_scale = gradient_scale;
      s.forget = std::pow(t, -options_.decay_power);
      s.epsilon = options_.epsilon;
      s.clip_threshold = options_.clip_threshold;
      s.decay = 1 - rate * e.weight_decay;
      s.step_size = options_.relative_step ? std::min(rate, 1 / std::sqrt(t)) : rate;
      s.relative_floor = options_.relative_step ? options_.relative_floor : 0;
      s.relative = options_.relative_step;
      const Slots& at = slots_[i];
      at.change(e, at.shape, s, this->state(at.rows), this->state(at.columns), this->state(at.master),
                scratch_.data());
    });
  }

 private:
  /// Where a parameter's state is, and the kernel of its elements.
  struct Slots {
    kernel::Matrices shape;
    std::size_t rows, columns, master;
    void (*change)(const detail::ParameterEntry&, const kernel::Matrices&, const kernel::AdafactorStep&, Moment* rows,
                   Moment* columns, Moment* master, double* scratch);
  };

  static kernel::Matrices matrices(const std::vector<std::size_t>& extents) {
    kernel::Matrices m{1, 1, extents.empty() ? 1 : extents.back()};
    if (extents.size() > 1) m.rows = extents[extents.size() - 2];
    for (std::size_t i = 0; i + 2 < extents.size(); ++i) m.count *= extents[i];
    return m;
  }

  template <class T>
  static void change(const detail::ParameterEntry& e, const kernel::Matrices& shape, const kernel::AdafactorStep& s,
                     Moment* rows, Moment* columns, Moment* master, [[maybe_unused]] double* scratch) {
    const auto* const g = static_cast<const T*>(e.gradient());
    auto* const x = static_cast<T*>(e.data());
    if constexpr (std::is_same_v<Device, Cpu>)
      kernel::adafactor(Cpu{}, shape, s, g, rows, columns, master, x, scratch);
    else
      kernel::adafactor(Device{}, shape, s, g, rows, columns, master, x);
  }

  AdafactorOptions options_;
  std::vector<Slots> slots_;
  std::vector<double> scratch_;  // the host's kernels'
};

/// For a module that says on which device it is.
template <class Module>
  requires requires { typename Module::device; }
Adafactor(Module&, AdafactorOptions = {}, const ParameterGroups& = {}) -> Adafactor<float, typename Module::device>;

}  // namespace calm::train
