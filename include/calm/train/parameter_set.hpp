/// \file  What all optimizers share: the trainable parameters of a module, their groups, gradients and saved state.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "calm/io/safetensors.hpp"
#include "calm/nn/module.hpp"
#include "calm/tensor/cpu/adamw.hpp"  // sums_of_squares
#include "calm/tensor/tensor.hpp"
#include "calm/train/parameter_entry.hpp"
#include "calm/train/parameter_group.hpp"

namespace calm::train {

/// The global norm of all gradients.
struct GradientNorm {
  double value = 0;
  /// The path of the first parameter whose gradient has a NaN or an infinity; null if all are finite. The text is the
  /// optimizer's.
  const std::string* non_finite = nullptr;

  bool finite() const { return non_finite == nullptr; }
};

/// Which parameters an optimizer decays where no group says otherwise.
struct WeightDecay {
  double value = 0;
  std::size_t from_rank = 2;  ///< parameters with fewer axes (biases, scales, gates) are not decayed
};

namespace detail {

/// The number under `key` in a file's metadata; throws `Error` if there is none.
inline std::uint64_t metadata_count(const io::SafetensorsFile& file, const std::string& key) {
  const auto place = file.metadata().find(key);
  const std::string text = place == file.metadata().end() ? "" : place->second;
  std::uint64_t count = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), count);
  calm::detail::require(code == std::errc() && end == text.data() + text.size(), [&] {
    return "calm::train: " + file.path() + ": expected the metadata key '" + key + "' with a number, found '" +
           text.substr(0, 40) + "'; the file is not the state of an optimizer";
  });
  return count;
}

}  // namespace detail

/// The base of optimizers. `Moment` (float or double) is the type of their state and arithmetic; a parameter of a
/// coarser type is updated on an exact copy, and rounded. A gradient that has not arrived counts as zero. The module
/// must stay where it is while the optimizer lives, and its parameters are on `Device`, as is the state.
template <class Moment, class Device = Cpu>
class ParameterSet {
  static_assert(std::is_floating_point_v<Moment>, "calm::train: an optimizer's moments are float or double");

 public:
  ParameterSet(const ParameterSet&) = delete;
  ParameterSet& operator=(const ParameterSet&) = delete;

  /// Updates made.
  std::uint64_t updates() const { return updates_; }
  const std::vector<detail::ParameterEntry>& entries() const { return entries_; }

  /// sqrt(Σ g²) over all gradients, summed in double, the smallest first: the same bits in whatever order the module
  /// lists its parameters.
  GradientNorm gradient_norm() {
    GradientNorm norm;
    auto* const sums = static_cast<double*>(sums_.data());
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const detail::ParameterEntry& e = entries_[i];
      gradients_[i] = {active(e) ? e.gradient() : nullptr, e.size};
    }
    for (std::size_t i = 0, end = 0; i < entries_.size(); i = end) {  // those of one type of element together
      while (end < entries_.size() && squares_of_[end] == squares_of_[i]) ++end;
      squares_of_[i](end - i, gradients_.data() + i, partial_.data(), sums + i);
    }
    kernel::copy_to_host(Device{}, entries_.size() * sizeof(double), sums, squares_.data());  // the one time to wait
    std::size_t count = 0;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (!active(entries_[i])) continue;
      const double sum = squares_[i];
      if (!std::isfinite(sum) && norm.finite()) norm.non_finite = &entries_[i].path;
      squares_[count++] = sum;
    }
    double total = 0;
    const auto end = squares_.begin() + static_cast<std::ptrdiff_t>(count);
    if (norm.finite()) std::sort(squares_.begin(), end);
    for (auto sum = squares_.begin(); sum != end; ++sum) total += *sum;
    norm.value = std::sqrt(total);
    return norm;
  }

  /// Scales the gradients, as the next step reads them, so that their global norm is at most `max_norm` (0: leaves them
  /// as they are). Returns the norm of before. Throws `Error`, and changes nothing, if a gradient is not finite.
  double clip_gradients(double max_norm) {
    const GradientNorm norm = gradient_norm();
    calm::detail::require(norm.finite(), [&] {
      return "calm::train::" + name_ + "::clip_gradients: the gradient of parameter " + *norm.non_finite +
             " is not finite after " + std::to_string(updates_) + " updates; lower the learning rate or skip the batch";
    });
    clip_gradients(max_norm, norm.value);
    return norm.value;
  }
  /// As above, with the norm that `gradient_norm` returned.
  void clip_gradients(double max_norm, double norm) {
    gradient_scale_ = max_norm > 0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1.0;
  }

  /// Makes every gradient zero, for the next step; forgets an unused clip.
  void zero_gradients() {
    gradient_scale_ = 1;
    for (const detail::ParameterEntry& e : entries_) e.zero_gradient();
  }

  /// Adds all that an exact resume takes to a file: parameters, moments, exact copies and the number of updates.
  void add_to(io::SafetensorsWriter& writer) const {
    writer.set_metadata("optimizer", name_);
    writer.set_metadata("updates", std::to_string(updates_));
    for (const detail::ParameterEntry& e : entries_) e.add(nullptr, writer);
    for (const State& s : state_) writer.add(s.name, on_host(s.value));
  }

  /// Reads what `add_to` wrote for the same module. Throws `Error`, and changes nothing, if the file is of another
  /// module or optimizer, or damaged.
  void load(const io::SafetensorsFile& file) {
    const std::uint64_t updates = detail::metadata_count(file, "updates");
    for (const detail::ParameterEntry& e : entries_) e.check(file);
    std::vector<Values> loaded;
    for (const State& s : state_) loaded.push_back(load_values(file, s));
    const std::size_t expected = entries_.size() + state_.size();
    calm::detail::require(file.size() == expected, [&] {
      return "calm::train::" + name_ + "::load: " + file.path() + ": expected " + std::to_string(expected) +
             " tensors, found " + std::to_string(file.size()) + "; the state belongs to another module";
    });
    file.check_digest();
    for (const detail::ParameterEntry& e : entries_) e.read(file);
    for (std::size_t i = 0; i < state_.size(); ++i) state_[i].value = std::move(loaded[i]);
    updates_ = updates;
    gradient_scale_ = 1;
  }

 protected:
  static constexpr std::size_t no_state = ~std::size_t{0};

  explicit ParameterSet(std::string name) : name_(std::move(name)) {}
  ~ParameterSet() = default;

  /// Lists the module's parameters; calls each(std::type_identity<T>, entry, master) per parameter, whose elements are
  /// T; `master` is for `state`. Throws `Error` if there is none, if one has no memory, or if a group picks none.
  template <class Module, class F>
  void collect(Module& module, const WeightDecay& decay, const ParameterGroups& groups, const F& each) {
    std::vector<bool> used(groups.size(), false);
    nn::for_each_trainable(module, [&]<class P>(const std::string& path, P& parameter) {
      static_assert(std::is_same_v<typename P::tensor_type::device, Device>,
                    "calm::train: the optimizer is for another device than the module's (its second argument says)");
      const auto extents = parameter.value().shape().extents();
      const detail::ParameterType& type = detail::ParameterTypeOf<P>::value;
      list<typename P::tensor_type::value_type>(
          detail::make_entry(path, &parameter, type, &parameter.gradient_buffer(), extents), decay, groups, used, each);
    });
    check_listed(groups, used);
  }

  /// New state of `size` zeros, saved as "<kind>.<path>"; for `state`.
  std::size_t add_state(const char* kind, const detail::ParameterEntry& e, std::size_t size) {
    state_.push_back({kind + ("." + e.path), Values::zeros(Shape<Element>(size))});
    return state_.size() - 1;
  }
  /// Null for `no_state`.
  Moment* state(std::size_t i) { return i == no_state ? nullptr : state_[i].value.mutable_data(); }

  /// Whether the next update reaches a parameter.
  bool active(const detail::ParameterEntry& e) const { return updates_ >= e.frozen_updates; }

  /// Counts an update and calls change(i, t, gradient_scale) for each parameter that it reaches, its t-th. Throws
  /// `Error`, and changes nothing, if somebody else holds a parameter's memory.
  template <class F>
  void update(const F& change) {
    for (const detail::ParameterEntry& e : entries_) {
      calm::detail::require(e.writable(), [&] {
        return "calm::train::" + name_ + "::step: parameter " + e.path + " shares its memory with another handle, or "
               "has another size than when the optimizer was made; drop copies and recordings before the step";
      });
    }
    const double scale = std::exchange(gradient_scale_, 1.0);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (active(entries_[i])) change(i, static_cast<double>(updates_ + 1 - entries_[i].frozen_updates), scale);
    }
    ++updates_;
  }

 private:
  struct Element {
    static constexpr std::size_t extent = dynamic;
  };
  using Values = Tensor<Moment, Device, Element>;
  struct State {
    std::string name;
    Values value;
  };

  static void choose_group(const ParameterGroups& groups, std::vector<bool>& used, detail::ParameterEntry& e) {
    for (std::size_t i = 0; i < groups.size(); ++i) {
      if (!groups[i].contains(e.path)) continue;
      used[i] = true;
      e.rate_factor = groups[i].rate_factor;
      e.weight_decay = groups[i].weight_decay.value_or(e.weight_decay);
      e.frozen_updates = groups[i].frozen_updates;
      return;
    }
  }

  // Out of line: once per type of element, not per parameter.
  template <class T, class F>
  [[gnu::noinline]] void list(detail::ParameterEntry e, const WeightDecay& decay, const ParameterGroups& groups,
                              std::vector<bool>& used, const F& each) {
    static_assert(sizeof(T) <= sizeof(Moment), "calm::train: double parameters need an optimizer with double moments");
    calm::detail::require(e.data() != nullptr, [&] {
      return "calm::train::" + name_ + ": parameter " + e.path + " has no memory; initialise or load it first";
    });
    e.weight_decay = e.extents.size() >= decay.from_rank ? decay.value : 0;
    choose_group(groups, used, e);
    each(std::type_identity<T>{}, e, add_master<T>(e));
    squares_of_.push_back(&sums_of_squares<T>);
    entries_.push_back(std::move(e));
  }

  void check_listed(const ParameterGroups& groups, const std::vector<bool>& used) {
    calm::detail::require(!entries_.empty(), [&] {
      return "calm::train::" + name_ + ": the module has no trainable parameter";
    });
    for (std::size_t i = 0; i < groups.size(); ++i) {
      calm::detail::require(used[i], [&] {
        return "calm::train::" + name_ + ": group " + std::to_string(i) + " picks no parameter of its own among " +
               std::to_string(entries_.size()) + " (the first is " + entries_.front().path + "); correct its predicate";
      });
    }
    std::size_t chunks = 0;
    for (const detail::ParameterEntry& e : entries_) chunks = std::max(chunks, e.size / kernel::norm_chunk + 1);
    partial_.resize(chunks);
    squares_.resize(entries_.size());
    gradients_.resize(entries_.size());
    sums_ = Storage<Device>(entries_.size() * sizeof(double));
  }

  template <class T>
  static void sums_of_squares(std::size_t count, const kernel::Elements* x, double* partial, double* sums) {
    if constexpr (std::is_same_v<Device, Cpu>)
      kernel::sums_of_squares<T>(Cpu{}, count, x, partial, sums);
    else
      kernel::sums_of_squares<T>(Device{}, count, x, sums);
  }

  template <class T>
  std::size_t add_master(const detail::ParameterEntry& e) {
    if constexpr (sizeof(T) < sizeof(float)) {
      const std::size_t i = add_state("master", e, e.size);
      kernel::copy(Device{}, e.size, static_cast<const T*>(e.data()), state(i));
      return i;
    } else {
      return no_state;
    }
  }

  Values load_values(const io::SafetensorsFile& file, const State& s) const {
    const auto found = file.load<OnDevice<Values, Cpu>>(s.name, io::Conversion::refuse);
    calm::detail::require(found.size() == s.value.size(), [&] {
      return "calm::train::" + name_ + "::load: " + file.path() + ": tensor " + s.name + ": expected " +
             std::to_string(s.value.size()) + " elements, found " + std::to_string(found.size()) +
             "; the state belongs to another module";
    });
    return move_to<Device>(found).clone();  // mapped memory is read-only
  }

  std::string name_;
  std::vector<detail::ParameterEntry> entries_;
  std::vector<State> state_;
  /// One per entry.
  std::vector<void (*)(std::size_t count, const kernel::Elements*, double* partial, double* sums)> squares_of_;
  std::vector<kernel::Elements> gradients_;
  Storage<Device> sums_;  ///< what these make: a double per entry
  std::vector<double> partial_, squares_;
  std::uint64_t updates_ = 0;
  double gradient_scale_ = 1;
};

}  // namespace calm::train
