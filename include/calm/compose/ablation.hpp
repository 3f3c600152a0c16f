/// \file  What a composition says with each of its links off.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "calm/compose/link_place.hpp"
#include "calm/nn/transformer.hpp"
#include "calm/tensor/dtype.hpp"
#include "calm/tensor/var.hpp"

namespace calm {

/// Losses of one composition on one batch: mean cross-entropies, in nats per target.
struct Ablation {
  struct Without {
    LinkPlace place;
    double loss;
  };
  double all_on = 0;             ///< as the model is set
  std::vector<Without> without;  ///< each link off, alone
  double all_off = 0;            ///< the anchor
};

/// The loss on a batch with everything as it is, with each link off alone, and with all of them off. A link that is off
/// already changes nothing. Afterwards the model is set as before.
///
/// tokens, targets: [Batch, Time], a target of -1 where nothing is to be predicted.
template <class Model>
Ablation ablate(Model& model, const nn::Tokens<typename Model::device>& tokens,
                const nn::Layout<typename Model::device>& layout, const nn::Tokens<typename Model::device>& targets) {
  const auto loss = [&] {
    const auto mean = value(model.loss(tokens, layout, targets));
    return static_cast<double>(static_cast<Accumulator<typename decltype(mean)::value_type>>(on_host(mean)[0]));
  };
  Ablation a;
  a.all_on = loss();
  detail::for_each_place(model, [&](const LinkPlace& place, auto&, double& scale) {
    const LinkOff off(scale);
    a.without.push_back({place, loss()});
  });
  const auto off = without_links(model);
  a.all_off = loss();
  return a;
}

/// As a table for people: losses, and what each is above that with everything on.
inline std::string to_string(const Ablation& a) {
  std::size_t width = 24;
  for (const auto& w : a.without) width = std::max(width, to_string(w.place).size() + 10);
  std::string text;
  const auto line = [&](std::string name, double loss) {
    std::array<char, 64> numbers{};
    std::snprintf(numbers.data(), numbers.size(), "%10.4f  %+10.4f\n", loss, loss - a.all_on);
    name.resize(width, ' ');
    text += name + numbers.data();
  };
  line("everything on", a.all_on);
  for (const auto& w : a.without) line("without " + to_string(w.place), w.loss);
  line("everything off (anchor)", a.all_off);
  return text;
}

}  // namespace calm
