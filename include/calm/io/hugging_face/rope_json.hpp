/// \file  Rotary positions as config.json says them, in the words of transformers 4 and of transformers 5.
#pragma once

#include <string>

#include "calm/io/hugging_face/json_fields.hpp"
#include "calm/nn/config.hpp"

namespace calm::io::detail {

/// The scaling that `rope` asks for, into `c`. Its type stands under "rope_type", in older files under "type".
inline void read_rope_scaling(JsonFields& rope, nn::TransformerConfig& c) {
  const std::string older = rope.text("type", "default");
  const std::string type = rope.text("rope_type", older);
  if (type == "linear") {
    c.rope_scaling = RopeScaling::linear;
    c.rope_factor = rope.positive("factor");
  } else if (type == "llama3") {
    c.rope_scaling = RopeScaling::llama3;
    c.rope_factor = rope.positive("factor");
    c.rope_low_frequency = rope.positive("low_freq_factor");
    c.rope_high_frequency = rope.positive("high_freq_factor");
    c.rope_original_context = rope.positive("original_max_position_embeddings");
    if (c.rope_low_frequency >= c.rope_high_frequency)
      rope.fail("low_freq_factor", "expected less than high_freq_factor, found as much or more");
  } else if (type != "default") {
    rope.fail(rope.has("rope_type") ? "rope_type" : "type",
              "expected default, linear or llama3, found " + in_quotes(type) + "; calm has no such positions");
  }
}

/// The part of a head that turns, as a fraction, into `c`.
inline void read_rotary_part(JsonFields& fields, nn::TransformerConfig& c) {
  const double part = fields.positive("partial_rotary_factor", 1.0);
  if (part > 1) fields.fail("partial_rotary_factor", "expected at most 1, found more");
  const double width = static_cast<double>(c.width_of_head());
  c.rotary_width = part == 1 ? 0 : static_cast<std::size_t>(width * part);  // rounded down, as transformers does
}

/// transformers 5: one object for theta, scaling and part; with `local`, one for each kind of layer.
inline void read_rope_parameters(JsonFields rope, nn::TransformerConfig& c, bool local, double theta) {
  if (local && rope.has("full_attention")) {
    JsonFields near = rope.object("sliding_attention");
    c.local_rope_theta = near.positive("rope_theta", 10000.0);
    near.one_of("rope_type", {"default"});
    near.finish();
    read_rope_parameters(rope.object("full_attention"), c, false, theta);
  } else {
    c.rope_theta = rope.positive("rope_theta", theta);
    read_rope_scaling(rope, c);
    read_rotary_part(rope, c);
  }
  rope.finish();
}

/// Either spelling into `c`, whose heads are known; the newer is preferred where both stand. `local`: the family has a
/// theta of its own in local blocks. `theta`: the family's, where the file says none.
inline void read_rope(JsonFields& fields, nn::TransformerConfig& c, bool local = false, double theta = 10000) {
  c.rope_theta = fields.positive("rope_theta", theta);
  if (local) c.local_rope_theta = fields.positive("rope_local_base_freq", 10000.0);
  read_rotary_part(fields, c);
  const bool scaled = fields.has("rope_scaling");
  if (fields.has("rope_parameters")) {
    read_rope_parameters(fields.object("rope_parameters"), c, local, c.rope_theta);
  } else if (scaled) {
    JsonFields scaling = fields.object("rope_scaling");
    read_rope_scaling(scaling, c);
    scaling.find("rope_theta");  // some files repeat it
    scaling.finish();
  }
}

}  // namespace calm::io::detail
