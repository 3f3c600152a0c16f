// config.json of a Hugging Face directory, of both generations.
#include <cmath>
#include <string>

#include "calm/io/hugging_face/config_fields.hpp"
#include "calm/io/hugging_face/model_config.hpp"
#include "fuzz/target.hpp"

void calm::fuzz::read(std::string_view contents) {
  const File file(contents);
  const io::ModelConfig model = io::read_model_config(file.path());
  const nn::TransformerConfig& c = model.config;
  check(c.layers > 0 && c.heads > 0 && c.key_heads() > 0 && c.width_of_head() > 0, "a config makes a model");
  check(io::differences(c, c).empty(), "a config equals itself");
  for (const double value : {c.norm_eps, c.rope_theta, c.rope_factor, c.query_scale, c.embedding_scale})
    check(std::isfinite(value), "a config holds numbers");
}
