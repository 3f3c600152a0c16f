/// \file  What the links of a composition do: how much they add, where their heads rest, how far they have moved.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "calm/compose/bridge_config.hpp"
#include "calm/compose/link_place.hpp"
#include "calm/compose/pass.hpp"
#include "calm/nn/module.hpp"
#include "calm/tensor/ops/attention.hpp"
#include "calm/tensor/ops/squash.hpp"

namespace calm {

/// How far parameters are from where they began, as Euclidean norms.
struct Moved {
  std::string parameter;  ///< its path in the bridge; empty: all of them together
  double distance = 0;    ///< ‖θ - θ_start‖
  double start = 0;       ///< ‖θ_start‖; 0 of the one factor that begins at zero

  double relative() const { return distance == 0 ? 0 : distance / start; }
};

/// What one link does. Means are over the tokens of all texts, without padding.
struct LinkReport {
  LinkPlace place{};
  double scale = 1;
  double strength = 0;            ///< mean of ‖F‖ / ‖H‖: F is what the link adds, times its scale, and H the state
                                  ///< that it is added to; 0 where the link is off
  std::vector<double> gate{};     ///< what multiplies F: tanh α, once or per head; of a sigmoid the mean per head;
                                  ///< empty without a gate
  std::optional<double> sink{};   ///< mean weight, over heads, too, that goes to nothing, where there is a sink
  std::optional<double> share{};  ///< mean weight that the joining policy gives this link, where it gives any
  std::vector<Moved> moved{};     ///< each parameter of the bridge

  /// All parameters of the bridge together.
  Moved distance() const {
    Moved all;
    for (const Moved& m : moved) {
      all.distance = std::hypot(all.distance, m.distance);
      all.start = std::hypot(all.start, m.start);
    }
    return all;
  }
};

/// The links in order: branch by branch, links back behind the others.
struct Inspection {
  std::vector<LinkReport> links;
};

namespace detail {

template <class T>
double as_double(T x) {
  return static_cast<double>(static_cast<Accumulator<T>>(x));
}
template <class T>
double norm_of(const T* x, std::size_t n) {
  double squares = 0;
  for (std::size_t i = 0; i < n; ++i) squares += as_double(x[i]) * as_double(x[i]);
  return std::sqrt(squares);
}

/// The mean of f(row) over the tokens that are no padding; rows are numbered as in [Batch, Time].
template <class Device, class F>
double mean_over_tokens(const nn::Layout<Device>& layout, const F& f) {
  double sum = 0;
  std::size_t tokens = 0;
  for (std::size_t row = 0; row < layout.position.size(); ++row) {
    if (layout.keys.end[row] == 0) continue;
    sum += f(row);
    ++tokens;
  }
  return tokens > 0 ? sum / static_cast<double>(tokens) : 0;
}
/// The mean of x over tokens, for each element of the last axis.   x: [Batch, Time, Any]
template <class X, class Device>
std::vector<double> means_over_tokens(const X& x, const nn::Layout<Device>& layout) {
  std::vector<double> means(LastAxisOf<X>::extent);
  for (std::size_t c = 0; c < means.size(); ++c) {
    means[c] = mean_over_tokens(layout, [&](std::size_t row) { return as_double(x[row * means.size() + c]); });
  }
  return means;
}
inline double mean_of(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v;
  return sum / static_cast<double>(x.size());
}

/// The gate of a bridge with state h, as in LinkReport.
template <class Bridge, Operand H, class Device>
std::vector<double> gate_values(const Bridge& bridge, const H& h, const nn::Layout<Device>& layout) {
  std::vector<double> values;
  if constexpr (Bridge::config.gate == BridgeGate::sigmoid) {
    values = means_over_tokens(on_host(value(sigmoid(bridge.gate(bridge.query_input(h))))), layout);
  } else if constexpr (Bridge::gated) {
    const auto factors = on_host(value(tanh(bridge.gate())));
    for (std::size_t i = 0; i < factors.size(); ++i) values.push_back(as_double(factors[i]));
  }
  return values;
}

/// The mean weight of the sink, from the log-sum-exp of the keys alone: 1 / (1 + e^(lse - sink)).
template <class Bridge, Operand H, class From, class Device>
double sink_share(const Bridge& bridge, const H& h, const From& source, const KeyIntervals<Device>& seen,
                  const nn::Layout<Device>& layout) {
  constexpr std::size_t heads = Bridge::Head::extent;
  const auto [k, v] = bridge.keys_and_values(source);
  const auto lse = on_host(value(attention_with_lse(bridge.queries(h), k, v, seen, Bridge::options()).second));
  const auto sink = on_host(bridge.sink.value());
  return mean_over_tokens(layout, [&](std::size_t row) {
    double sum = 0;
    for (std::size_t i = 0; i < heads; ++i) {
      sum += 1 / (1 + std::exp(as_double(lse[row * heads + i]) - as_double(sink[i])));
    }
    return sum / heads;
  });
}

/// Writes what a branch's links do in a pass into their reports.
template <class Device>
struct LinkObserver {
  const nn::Layout<Device>* layout;
  LinkReport *links, *back;  // of this branch

  void added(std::size_t i, const auto& bridge, const auto& h, const auto& source, const auto& seen,
             const auto& f) const {
    look(links[i], bridge, h, source, seen, f);
  }
  void heard(std::size_t k, const auto& bridge, const auto& h, const auto& source, const auto& seen,
             const auto& f) const {
    look(back[k], bridge, h, source, seen, f);
  }
  void shared(std::size_t i, const auto& weight) const {
    links[i].share = mean_of(means_over_tokens(on_host(value(weight)), *layout));
  }

 private:
  template <class Bridge>
  void look(LinkReport& report, const Bridge& bridge, const auto& h, const auto& source, const auto& seen,
            const auto& f) const {
    constexpr std::size_t width = LastAxisOf<ValueOf<decltype(h)>>::extent;
    const auto added = on_host(value(f)), state = on_host(value(h));
    report.strength = mean_over_tokens(*layout, [&](std::size_t row) {
      const double more = norm_of(added.data() + row * width, width);
      return more == 0 ? 0 : more / norm_of(state.data() + row * width, width);
    });
    if constexpr (requires { Bridge::config; }) {
      report.gate = gate_values(bridge, h, *layout);
      if constexpr (Bridge::config.sink) report.sink = sink_share(bridge, h, source, seen, *layout);
    }
  }
};

/// How far each parameter of `bridge` is from that of `start`.
template <class Bridge>
std::vector<Moved> moved_from(Bridge& start, Bridge& bridge) {
  std::vector<Moved> moved;
  std::vector<std::vector<double>> before;
  nn::for_each_trainable(start, [&](const std::string& path, auto& p) {
    const auto x = on_host(p.value());
    moved.push_back({path, 0, norm_of(x.data(), x.size())});
    before.emplace_back();
    for (std::size_t i = 0; i < x.size(); ++i) before.back().push_back(as_double(x[i]));
  });
  std::size_t n = 0;
  nn::for_each_trainable(bridge, [&](const std::string&, auto& p) {
    auto& difference = before[n];
    const auto x = on_host(p.value());
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= as_double(x[i]);
    moved[n++].distance = norm_of(difference.data(), difference.size());
  });
  return moved;
}

/// A report for each link, with all that is known without a pass.
template <class Model>
std::vector<LinkReport> reports_at_rest(Model& model, std::uint64_t seed) {
  const auto fresh = std::make_unique<Model>();  // without models: its bridges alone take room
  fresh->initialise_bridges(seed);
  std::vector<LinkReport> reports;
  model.for_each_branch([&](auto b, auto& branch) {
    auto& start = fresh->template branch<b>();
    for (std::size_t i = 0; i < branch.links; ++i) {
      reports.emplace_back().moved = moved_from(start.bridges[i], branch.bridges[i]);
    }
    if constexpr (requires { branch.back; }) {
      for (std::size_t k = 0; k < branch.backs; ++k) {
        reports.emplace_back().moved = moved_from(start.back[k], branch.back[k]);
      }
    }
  });
  std::size_t n = 0;
  for_each_place(model, [&](const LinkPlace& place, auto&, double scale) {
    reports[n].place = place;
    reports[n++].scale = scale;
  });
  return reports;
}

}  // namespace detail

/// Runs `model` over whole texts and reports what each link does there, and how far its bridge is from the start that
/// `initialise_bridges(seed)` gave it.
///
/// tokens: [Batch, Time]. States are looked at on the host, wherever the pass runs. Of a user's own bridge and of
/// grafts, gate and sink are not known.
template <class Model>
Inspection inspect(Model& model, const nn::Tokens<typename Model::device>& tokens,
                   const nn::Layout<typename Model::device>& layout, std::uint64_t seed = 0) {
  using Device = typename Model::device;
  Inspection all{detail::reports_at_rest(model, seed)};
  model.observed_states(tokens, layout, [&](auto b) {
    LinkReport* first = all.links.data();
    while (first->place.branch != b) ++first;
    return detail::LinkObserver<Device>{&layout, first, first + Model::template branch_type<b>::links};
  });
  return all;
}

/// A table for people.
inline std::string to_string(const Inspection& all) {
  std::size_t width = 16;
  for (const LinkReport& r : all.links) width = std::max(width, to_string(r.place).size() + 2);
  const auto number = [](double x) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%9.3g", x);
    return std::string(text.data());
  };
  const auto known = [&](const std::optional<double>& x) { return x ? number(*x) : std::string("        -"); };
  std::string text = "link";
  text.resize(width, ' ');
  text += "    scale  |F|/|H|  nothing    share    moved  gate\n";
  for (const LinkReport& r : all.links) {
    std::string name = to_string(r.place);
    name.resize(width, ' ');
    text += name + number(r.scale) + number(r.strength) + known(r.sink) + known(r.share);
    text += number(r.distance().relative());
    for (double g : r.gate) text += number(g);
    text += '\n';
  }
  return text;
}

}  // namespace calm
