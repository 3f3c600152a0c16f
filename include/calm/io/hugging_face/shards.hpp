/// \file  The tensors of a model directory: one safetensors file, or several that an index names.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "calm/io/json_file.hpp"
#include "calm/io/safetensors.hpp"

namespace calm::io {

/// The tensors of `model.safetensors`, or of the files that `model.safetensors.index.json` names. A file is opened when
/// a tensor of it is asked for, so those that nobody needs are never touched.
class SafetensorsShards {
 public:
  /// Reads the index, if there is one. Throws `Error` if the directory holds no such files.
  static SafetensorsShards open(const std::string& directory) {
    const std::filesystem::path folder(directory);
    const std::string single = (folder / "model.safetensors").string();
    const std::string index = (folder / "model.safetensors.index.json").string();
    SafetensorsShards shards;
    if (std::filesystem::exists(single)) {
      const auto& file = shards.files_.emplace(single, SafetensorsFile::open(single)).first->second;
      for (std::string& name : file.names()) shards.file_of_.emplace(std::move(name), single);
    } else if (std::filesystem::exists(index)) {
      shards.read_index(folder, index);
    } else {
      fail_without(directory);
    }
    shards.source_ = std::filesystem::exists(single) ? single : index;
    return shards;
  }

  bool contains(std::string_view name) const { return file_of_.contains(name); }
  /// Calls f(name) for every tensor, in alphabetical order.
  void for_each_name(const std::function<void(const std::string&)>& f) const {
    for (const auto& [name, file] : file_of_) f(name);
  }

  /// The file that holds tensor `name`, opened now if it is not yet. Throws `Error` if there is none.
  const SafetensorsFile& file_of(std::string_view name) {
    const auto place = file_of_.find(name);
    calm::detail::require(place != file_of_.end(), [&] {
      return "calm::io: " + source_ + ": expected a tensor " + detail::in_quotes(name) +
             ", found none of that name among " + std::to_string(file_of_.size());
    });
    auto file = files_.find(place->second);
    if (file == files_.end()) file = files_.emplace(place->second, SafetensorsFile::open(place->second)).first;
    return file->second;
  }

  /// The file that says which tensors there are, for messages.
  const std::string& source() const { return source_; }

 private:
  /// What an index says is not believed: its files are plain names in the same folder, whatever it wants.
  void read_index(const std::filesystem::path& folder, const std::string& path) {
    const nlohmann::json json = read_json(path);
    const auto fail = [&](const std::string& what) { throw Error("calm::io: " + path + ": " + what); };
    if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
      fail("expected an object \"weight_map\" from tensors to files, found none");
    for (const auto& [name, file] : json["weight_map"].items()) {
      const std::string shard = file.is_string() ? file.get<std::string>() : std::string();
      if (shard.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos || shard.starts_with('.') ||
          !shard.ends_with(".safetensors")) {
        fail("tensor " + detail::in_quotes(name) +
             ": expected the plain name of a .safetensors file beside it, found " + detail::in_quotes(shard));
      }
      file_of_.emplace(name, (folder / shard).string());
    }
  }

  [[noreturn]] static void fail_without(const std::string& directory) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
      const std::string name = entry.path().filename().string(), kind = entry.path().extension().string();
      if (kind != ".bin" && kind != ".pt" && kind != ".pth" && kind != ".ckpt" && kind != ".pkl") continue;
      throw Error("calm::io: " + directory + ": expected model.safetensors, found " + detail::in_quotes(name) +
                  ", a pickle, which runs code when it is opened and is never read here; if you trust it, convert it: "
                  "python3 -c \"from transformers import AutoModelForCausalLM as M; "
                  "M.from_pretrained('" + directory + "').save_pretrained('" + directory + "')\"");
    }
    throw Error("calm::io: " + directory +
                ": expected model.safetensors or model.safetensors.index.json, found neither; check the path");
  }

  std::map<std::string, std::string, std::less<>> file_of_;  // by tensor
  std::map<std::string, SafetensorsFile> files_;             // by path
  std::string source_;
};

}  // namespace calm::io
