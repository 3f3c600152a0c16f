/// \file  The algorithms that were chosen for a GPU's products, kept on disk so that the next run need not time them.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "calm/io/file.hpp"
#include "calm/io/json_file.hpp"
#include "calm/tensor/cuda/products.hpp"
#include "calm/tensor/error.hpp"

namespace calm::io {

/// Writes what this process has chosen (cuda::product_choices) to `path`, whole or not at all.
inline void save_product_choices(const std::string& path) {
  nlohmann::json products = nlohmann::json::object();
  for (const cuda::ProductChoice& choice : cuda::product_choices()) products[choice.product] = choice.algorithm;
  write_file_atomically(path, nlohmann::json{{"for", cuda::product_maker()}, {"products", products}}.dump(1) + "\n");
}

/// Takes the choices in `path`. False, and nothing is taken, if there is no such file, or if it is for another GPU,
/// driver or library. Throws `Error` if it is not a file of choices.
inline bool load_product_choices(const std::string& path) {
  if (!std::filesystem::exists(path)) return false;
  const nlohmann::json file = read_json(path);
  try {
    if (file.at("for").get<std::string>() != cuda::product_maker()) return false;
    std::vector<cuda::ProductChoice> choices;
    for (const auto& [product, algorithm] : file.at("products").items()) {
      choices.push_back({product, algorithm.get<decltype(cuda::ProductChoice::algorithm)>()});
    }
    cuda::choose_products(std::move(choices));
  } catch (const nlohmann::json::exception& e) {
    throw Error("calm::io: " + path + ": not a file of product choices: " + detail::in_quotes(e.what()) +
                "; remove it, and it is made anew");
  }
  return true;
}

}  // namespace calm::io
