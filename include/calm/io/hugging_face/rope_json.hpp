/// \file  Rotary positions as config.json says them, in the words of transformers 4 and of transformers 5.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>

#include "calm/io/hugging_face/json_fields.hpp"
#include "calm/nn/config.hpp"

namespace calm::io::detail {

/// What a family means by rotary positions where its file says nothing.
struct RopeDefaults {
  bool local = false;           ///< local blocks have a theta of their own
  double theta = 10000;
  double original_context = 0;  ///< tokens that it was trained on before scaling (Phi-3); 0: no such field
};

/// The numbers of `key`, one above 0 for each pair of a head that turns.
inline void read_pair_factors(JsonFields& rope, const std::string& key, const nn::TransformerConfig& c,
                              std::array<double, max_rope_pairs>& factors) {
  const std::size_t pairs = (c.rotary_width ? c.rotary_width : c.width_of_head()) / 2;
  const nlohmann::json* list = rope.find(key);
  if (list == nullptr || !list->is_array() || list->size() != pairs || pairs > factors.size())
    rope.fail(key, "expected a list of " + std::to_string(pairs) + " numbers, one for each pair of a head that turns, "
                       "of which calm has at most " + std::to_string(factors.size()) + "; found another");
  for (std::size_t k = 0; k < pairs; ++k) {
    const nlohmann::json& factor = (*list)[k];
    if (!factor.is_number() || !(factor.get<double>() > 0) || !std::isfinite(factor.get<double>()))
      rope.fail(key, "expected numbers above 0, found others");
    factors[k] = factor.get<double>();
  }
}

/// YaRN. What turned elements are multiplied by is 0.1 ln(factor) + 1 unless the file says more (transformers'
/// `_compute_yarn_parameters`).
inline void read_yarn(JsonFields& rope, nn::TransformerConfig& c, double original) {
  c.rope_scaling = RopeScaling::yarn;
  c.rope_original_context = original;
  c.rope_factor = rope.positive_or_none("factor", -1);
  if (c.rope_factor < 0) rope.fail("factor", "expected a number, found nothing");
  if (c.rope_factor == 0) c.rope_factor = static_cast<double>(c.context) / original;
  c.rope_low_frequency = rope.positive("beta_slow", 1.0);
  c.rope_high_frequency = rope.positive("beta_fast", 32.0);
  rope.require_flag("truncate", true, true);
  const auto grown = [&](double scale) { return c.rope_factor <= 1 ? 1 : 0.1 * scale * std::log(c.rope_factor) + 1; };
  const bool scaled = rope.has("mscale") && rope.has("mscale_all_dim");
  const double usual = scaled ? grown(rope.positive("mscale")) / grown(rope.positive("mscale_all_dim")) : grown(1);
  c.rope_magnitude = rope.positive("attention_factor", usual);
}

/// LongRoPE has factors for texts within the original context and others for longer ones, which would turn all keys of
/// a text anew when it grows past that. So calm has the model with its original context, and refuses longer texts.
inline void read_longrope(JsonFields& rope, nn::TransformerConfig& c, double original) {
  std::array<double, max_rope_pairs> unused{};
  read_pair_factors(rope, "long_factor", c, unused);
  read_pair_factors(rope, "short_factor", c, c.rope_pair_factors);
  c.rope_scaling = RopeScaling::longrope;
  const double factor = rope.positive("factor", static_cast<double>(c.context) / original);
  const double usual = factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(original));
  c.rope_magnitude = rope.positive("attention_factor", usual);
  c.context = std::min(c.context, static_cast<std::size_t>(original));
}

/// The scaling that `rope` asks for, into `c`. Its type stands under "rope_type", in older files under "type". The
/// context before scaling is `outer`, that of the whole file, if it says one (above 0), as in transformers 5.
inline void read_rope_scaling(JsonFields& rope, nn::TransformerConfig& c, double outer, const RopeDefaults& defaults) {
  const std::string older = rope.text("type", "default");
  const std::string type = rope.text("rope_type", older);
  const auto original = [&] {
    const double inner = rope.positive("original_max_position_embeddings", static_cast<double>(c.context));
    return outer > 0 ? outer : inner;
  };
  if (type == "linear") {
    c.rope_scaling = RopeScaling::linear;
    c.rope_factor = rope.positive("factor");
  } else if (type == "llama3") {
    c.rope_scaling = RopeScaling::llama3;
    c.rope_factor = rope.positive("factor");
    c.rope_low_frequency = rope.positive("low_freq_factor");
    c.rope_high_frequency = rope.positive("high_freq_factor");
    c.rope_original_context = original();
    if (c.rope_low_frequency >= c.rope_high_frequency)
      rope.fail("low_freq_factor", "expected less than high_freq_factor, found as much or more");
  } else if (type == "longrope" || (defaults.original_context > 0 && (type == "su" || type == "yarn"))) {
    read_longrope(rope, c, original());  // the first files of Phi-3 have the older names
  } else if (type == "yarn") {
    read_yarn(rope, c, original());
  } else if (type != "default") {
    rope.fail(rope.has("rope_type") ? "rope_type" : "type",
              "expected default, linear, llama3, yarn or longrope, found " + in_quotes(type) +
                  "; calm has no such positions");
  }
}

/// The part of a head that turns, as a fraction, into `c`.
inline void read_rotary_part(JsonFields& fields, nn::TransformerConfig& c) {
  const double part = fields.positive("partial_rotary_factor", 1.0);
  if (part > 1) fields.fail("partial_rotary_factor", "expected at most 1, found more");
  const double width = static_cast<double>(c.width_of_head());
  c.rotary_width = part == 1 ? 0 : static_cast<std::size_t>(width * part);  // rounded down, as transformers does
}

/// transformers 5: one object for theta, scaling and part; with a theta of local blocks, one for each kind of layer.
inline void read_rope_parameters(JsonFields rope, nn::TransformerConfig& c, double outer, RopeDefaults defaults) {
  if (defaults.local && rope.has("full_attention")) {
    JsonFields near = rope.object("sliding_attention");
    c.local_rope_theta = near.positive("rope_theta", 10000.0);
    near.one_of("rope_type", {"default"});
    near.finish();
    defaults.local = false;
    read_rope_parameters(rope.object("full_attention"), c, outer, defaults);
  } else {
    c.rope_theta = rope.positive("rope_theta", defaults.theta);
    if (rope.has("partial_rotary_factor")) read_rotary_part(rope, c);
    read_rope_scaling(rope, c, outer, defaults);
  }
  rope.finish();
}

/// Either spelling into `c`, whose heads and context are known; the newer is preferred where both stand.
inline void read_rope(JsonFields& fields, nn::TransformerConfig& c, RopeDefaults defaults = {}) {
  const double outer = fields.positive("original_max_position_embeddings", defaults.original_context);
  c.rope_theta = defaults.theta = fields.positive("rope_theta", defaults.theta);
  if (defaults.local) c.local_rope_theta = fields.positive("rope_local_base_freq", 10000.0);
  read_rotary_part(fields, c);
  const bool scaled = fields.has("rope_scaling");
  if (fields.has("rope_parameters")) {
    read_rope_parameters(fields.object("rope_parameters"), c, outer, defaults);
  } else if (scaled) {
    JsonFields scaling = fields.object("rope_scaling");
    read_rope_scaling(scaling, c, outer, defaults);
    scaling.find("rope_theta");  // some files repeat it
    scaling.finish();
  }
}

}  // namespace calm::io::detail
