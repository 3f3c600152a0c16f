/// \file  A copy of all trainable parameters: the best that a run has seen.
#pragma once

#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "calm/io/safetensors.hpp"
#include "calm/tensor/storage.hpp"
#include "calm/train/parameter_entry.hpp"

namespace calm::train {

/// Copies of the parameters that an optimizer lists, which must outlive it. Memory is taken with the first copy.
class KeptParameters {
 public:
  explicit KeptParameters(const std::vector<detail::ParameterEntry>& entries) : entries_(&entries) {}

  bool empty() const { return copies_.empty(); }
  void clear() { copies_.clear(); }

  /// Copies the parameters as they are now.
  void take() {
    if (copies_.empty()) copies_ = fresh();
    for (std::size_t i = 0; i < copies_.size(); ++i) {
      const detail::ParameterEntry& e = (*entries_)[i];
      if (e.bytes > 0) e.type->device->copy_to_host(e.bytes, e.data(), copies_[i].data());
    }
  }

  /// Puts them back; nothing happens if none were taken. Throws `Error` if somebody else holds a parameter's memory.
  void restore() const {
    for (std::size_t i = 0; i < copies_.size(); ++i) {
      const detail::ParameterEntry& e = (*entries_)[i];
      if (e.bytes > 0) e.type->device->copy_from_host(e.bytes, copies_[i].data(), e.mutable_data());
    }
  }

  /// Writes them to a file, whole or not at all. Throws `Error`.
  void save(const std::string& path) const {
    io::SafetensorsWriter writer;
    for (std::size_t i = 0; i < copies_.size(); ++i) (*entries_)[i].add(&copies_[i], writer);
    writer.add_digest();
    writer.save(path);
  }

  /// Reads what `save` wrote of the same module. Throws `Error`, and changes nothing, if the file is damaged.
  void load(const std::string& path) {
    const io::SafetensorsFile file = io::SafetensorsFile::open(path);
    for (const detail::ParameterEntry& e : *entries_) e.check(file);
    file.check_digest();
    std::vector<Storage<Cpu>> copies = fresh();
    for (std::size_t i = 0; i < copies.size(); ++i) {
      const detail::ParameterEntry& e = (*entries_)[i];
      if (e.bytes > 0) std::memcpy(copies[i].data(), file.data(e.name()), e.bytes);
    }
    copies_ = std::move(copies);
  }

 private:
  std::vector<Storage<Cpu>> fresh() const {
    std::vector<Storage<Cpu>> copies;
    for (const detail::ParameterEntry& e : *entries_) copies.emplace_back(e.bytes);
    return copies;
  }

  const std::vector<detail::ParameterEntry>* entries_;
  std::vector<Storage<Cpu>> copies_;
};

}  // namespace calm::train
