/// \file  AdamW with clipping by the global norm.
///
/// Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2; the order of the arithmetic, and
/// the clipping, are those of torch.optim.AdamW and torch.nn.utils.clip_grad_norm_.
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
#include "calm/tensor/cpu/adamw.hpp"
#include "calm/tensor/tensor.hpp"
#include "calm/tensor/var.hpp"

namespace calm::train {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999;  ///< decay of the first and the second moment
  double epsilon = 1e-8;
  double weight_decay = 0.01;
  std::size_t decay_from_rank = 2;  ///< parameters with fewer axes (biases, scales, gates) are not decayed
};

/// The global norm of all gradients.
struct GradientNorm {
  double value = 0;
  /// The path of the first parameter whose gradient has a NaN or an infinity; null if all are finite. The text is the
  /// optimizer's.
  const std::string* non_finite = nullptr;

  bool finite() const { return non_finite == nullptr; }
};

/// The optimizer of the trainable parameters of one module, which must stay where it is while the optimizer lives.
/// `Moment` (float or double) is the type of the moments and of the arithmetic.
///
/// A bf16 parameter is updated in `Moment` precision on an exact copy that the optimizer keeps, and rounded. A gradient
/// that has not arrived counts as zero. Nothing is allocated after the constructor but by save and load.
///
/// One step: `clip_gradients(1.0); step(rate); zero_gradients();`
template <class Moment = float>
class AdamW {
  static_assert(std::is_floating_point_v<Moment>, "calm::train::AdamW: the moments are float or double");

 public:
  template <class Module>
  explicit AdamW(Module& module, AdamWOptions options = {}) : options_(options) {
    std::size_t chunks = 0;
    nn::for_each_trainable(module, [&](const std::string& path, auto& parameter) {
      calm::detail::require(parameter.value().defined(), [&] {
        return "calm::train::AdamW: parameter " + path + " has no memory; initialise or load it first";
      });
      entries_.push_back(make_entry(path, parameter));
      chunks = std::max(chunks, parameter.value().size() / kernel::norm_chunk + 1);
    });
    calm::detail::require(!entries_.empty(), [] {
      return std::string("calm::train::AdamW: the module has no trainable parameter");
    });
    partial_.resize(chunks);
  }
  AdamW(const AdamW&) = delete;
  AdamW& operator=(const AdamW&) = delete;

  /// Updates made.
  std::uint64_t updates() const { return updates_; }
  const AdamWOptions& options() const { return options_; }

  /// sqrt(Σ g²) over all gradients, summed in double.
  GradientNorm gradient_norm() {
    GradientNorm norm;
    double total = 0;
    for (const Entry& e : entries_) {
      const double sum = e.squares(e.parameter, partial_.data());
      if (!std::isfinite(sum) && norm.finite()) norm.non_finite = &e.path;
      total += sum;
    }
    norm.value = std::sqrt(total);
    return norm;
  }

  /// Scales the gradients, as the next step reads them, so that their global norm is at most `max_norm` (0: leaves them
  /// as they are). Returns the norm of before. Throws `Error`, and changes nothing, if a gradient is not finite.
  double clip_gradients(double max_norm) {
    const GradientNorm norm = gradient_norm();
    calm::detail::require(norm.finite(), [&] {
      return "calm::train::AdamW::clip_gradients: the gradient of parameter " + *norm.non_finite +
             " is not finite after " + std::to_string(updates_) + " updates; lower the learning rate or skip the batch";
    });
    gradient_scale_ = max_norm > 0 ? std::min(1.0, max_norm / (norm.value + 1e-6)) : 1.0;
    return norm.value;
  }

  /// One update of every parameter with `learning_rate`. Throws `Error` if somebody else holds a parameter's memory.
  void step(double learning_rate) {
    for (const Entry& e : entries_) {
      calm::detail::require(e.writable(e.parameter, e.m.size()), [&] {
        return "calm::train::AdamW::step: parameter " + e.path + " shares its memory with another handle, or has "
               "another size than when the optimizer was made; drop copies and recordings before the step";
      });
    }
    ++updates_;
    const double t = static_cast<double>(updates_), correction1 = 1 - std::pow(options_.beta1, t);
    kernel::AdamWStep<Moment> s{};
    s.gradient_scale = static_cast<Moment>(std::exchange(gradient_scale_, 1.0));
    s.beta1 = static_cast<Moment>(options_.beta1);
    s.beta2 = static_cast<Moment>(options_.beta2);
    s.step_size = static_cast<Moment>(learning_rate / correction1);
    s.second_correction = static_cast<Moment>(std::sqrt(1 - std::pow(options_.beta2, t)));
    s.epsilon = static_cast<Moment>(options_.epsilon);
    for (Entry& e : entries_) {
      s.decay = static_cast<Moment>(e.decays ? 1 - learning_rate * options_.weight_decay : 1.0);
      e.update(e, s);
    }
  }

  /// Makes every gradient zero, for the next step; forgets an unused clip.
  void zero_gradients() {
    gradient_scale_ = 1;
    for (const Entry& e : entries_) e.zero(e.parameter);
  }

  /// Writes all that an exact resume takes into one file: parameters, moments, exact copies and counts. `step` is the
  /// caller's own position, which `load` returns (batches may have been skipped, so it need not be `updates()`).
  void save(const std::string& path, std::uint64_t step) const {
    io::SafetensorsWriter writer;
    writer.set_metadata("optimizer", "adamw");
    writer.set_metadata("step", std::to_string(step));
    writer.set_metadata("updates", std::to_string(updates_));
    for (const Entry& e : entries_) {
      e.add(e, writer);
      writer.add("m." + e.path, e.m);
      writer.add("v." + e.path, e.v);
      if (e.master.defined()) writer.add("master." + e.path, e.master);
    }
    writer.add_digest();
    writer.save(path);
  }

  /// Reads what `save` wrote for the same module, and returns its `step`. Throws `Error`, and changes nothing, if the
  /// file is of another module or damaged.
  std::uint64_t load(const std::string& path) {
    const io::SafetensorsFile file = io::SafetensorsFile::open(path);
    const std::uint64_t step = read_count(file, "step"), updates = read_count(file, "updates");
    std::size_t expected = 0;
    std::vector<Moments> loaded;
    for (const Entry& e : entries_) {
      e.check(e, file);
      loaded.push_back(load_moments(file, "m." + e.path, e.m.size()));
      loaded.push_back(load_moments(file, "v." + e.path, e.v.size()));
      loaded.push_back(e.master.defined() ? load_moments(file, "master." + e.path, e.m.size()) : Moments());
      expected += e.master.defined() ? 4 : 3;
    }
    calm::detail::require(file.size() == expected, [&] {
      return "calm::train::AdamW::load: " + path + ": expected " + std::to_string(expected) + " tensors, found " +
             std::to_string(file.size()) + "; the state belongs to another module";
    });
    file.check_digest();
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      entries_[i].read(entries_[i], file);
      entries_[i].m = std::move(loaded[3 * i]);
      entries_[i].v = std::move(loaded[3 * i + 1]);
      entries_[i].master = std::move(loaded[3 * i + 2]);
    }
    updates_ = updates;
    gradient_scale_ = 1;
    return step;
  }

 private:
  struct Element {
    static constexpr std::size_t extent = dynamic;
  };
  using Moments = Tensor<Moment, Cpu, Element>;

  /// A parameter with its type erased: the functions know it.
  struct Entry {
    std::string path;
    void* parameter = nullptr;
    bool decays = false;
    Moments m, v, master;
    double (*squares)(const void* parameter, double* partial) = nullptr;
    bool (*writable)(const void* parameter, std::size_t size) = nullptr;
    void (*update)(Entry&, const kernel::AdamWStep<Moment>&) = nullptr;
    void (*zero)(void* parameter) = nullptr;
    void (*add)(const Entry&, io::SafetensorsWriter&) = nullptr;
    void (*check)(const Entry&, const io::SafetensorsFile&) = nullptr;
    void (*read)(const Entry&, const io::SafetensorsFile&) = nullptr;
  };

  template <class P>
  Entry make_entry(const std::string& path, P& parameter) const {
    using X = typename P::tensor_type;
    using T = typename X::value_type;
    static_assert(std::is_same_v<typename X::device, Cpu>, "calm::train::AdamW: its kernels are those of calm::Cpu");
    static_assert(sizeof(T) <= sizeof(Moment), "calm::train::AdamW: double parameters need double moments");
    const Shape<Element> shape(parameter.value().size());
    Entry e;
    e.path = path;
    e.parameter = &parameter;
    e.decays = X::rank >= options_.decay_from_rank;
    e.m = Moments::zeros(shape);
    e.v = Moments::zeros(shape);
    if constexpr (sizeof(T) < sizeof(float)) {
      e.master = Moments(shape);
      kernel::copy(Cpu{}, shape.size(), parameter.value().data(), e.master.mutable_data());
    }
    bind_step<P>(e);
    bind_file<P>(e);
    return e;
  }

  template <class P>
  static void bind_step(Entry& e) {
    using X = typename P::tensor_type;
    e.squares = [](const void* p, double* partial) {
      const P& x = *static_cast<const P*>(p);
      return x.gradient() ? kernel::sum_of_squares(Cpu{}, x.value().size(), x.gradient(), partial) : 0.0;
    };
    e.writable = [](const void* p, std::size_t size) {
      const X& x = static_cast<const P*>(p)->value();
      return x.storage().unique() && x.size() == size;
    };
    e.update = [](Entry& self, const kernel::AdamWStep<Moment>& s) {
      P& x = *static_cast<P*>(self.parameter);
      Moment* master = self.master.defined() ? self.master.mutable_data() : nullptr;
      kernel::adamw(Cpu{}, self.m.size(), s, x.gradient(), self.m.mutable_data(), self.v.mutable_data(), master,
                    x.mutable_value().mutable_data());
    };
    e.zero = [](void* p) { static_cast<P*>(p)->zero_gradient(); };
  }

  template <class P>
  static void bind_file(Entry& e) {
    using X = typename P::tensor_type;
    e.add = [](const Entry& self, io::SafetensorsWriter& writer) {
      writer.add("parameter." + self.path, static_cast<const P*>(self.parameter)->value());
    };
    e.check = [](const Entry& self, const io::SafetensorsFile& file) {
      file.check<X>("parameter." + self.path, io::Conversion::refuse);
    };
    e.read = [](const Entry& self, const io::SafetensorsFile& file) {
      static_cast<P*>(self.parameter)->assign(file.load<X>("parameter." + self.path).clone());
    };
  }

  static Moments load_moments(const io::SafetensorsFile& file, const std::string& name, std::size_t size) {
    const Moments found = file.load<Moments>(name, io::Conversion::refuse);
    calm::detail::require(found.size() == size, [&] {
      return "calm::train::AdamW::load: " + file.path() + ": tensor " + name + ": expected " + std::to_string(size) +
             " elements, found " + std::to_string(found.size()) + "; the state belongs to another module";
    });
    return found.clone();  // the mapped memory is read-only
  }

  static std::uint64_t read_count(const io::SafetensorsFile& file, const std::string& key) {
    const auto place = file.metadata().find(key);
    const std::string text = place == file.metadata().end() ? "" : place->second;
    std::uint64_t count = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), count);
    calm::detail::require(code == std::errc() && end == text.data() + text.size(), [&] {
      return "calm::train::AdamW::load: " + file.path() + ": expected the metadata key '" + key +
             "' with a number, found '" + text.substr(0, 40) + "'; the file is not the state of an optimizer";
    });
    return count;
  }

  AdamWOptions options_;
  std::vector<Entry> entries_;
  std::vector<double> partial_;
  std::uint64_t updates_ = 0;
  double gradient_scale_ = 1;
};

}  // namespace calm::train
