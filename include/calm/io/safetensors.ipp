/// \file  Definitions of safetensors.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/io/file.hpp"
#include "calm/io/safetensors.hpp"
#include "calm/io/sha256.hpp"

namespace calm::io {

namespace detail {

CALM_INLINE std::string axes_mismatch(std::span<const AxisName> axes, const std::vector<std::size_t>& found) {
  if (found.size() != axes.size())
    return "expected " + std::to_string(axes.size()) + " axes, found shape " + shape_text(found);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (axes[i].extent != dynamic && axes[i].extent != found[i])
      return "axis " + std::to_string(i) + " (" + std::string(axes[i].name) + "): expected " +
             std::to_string(axes[i].extent) + ", found " + std::to_string(found[i]) + " in shape " + shape_text(found);
  }
  return {};
}

inline void update_count(Sha256& digest, std::size_t count) {
  const std::uint64_t value = count;
  digest.update(&value, sizeof value);
}

inline void update_text(Sha256& digest, std::string_view text) {
  update_count(digest, text.size());
  digest.update(text.data(), text.size());
}

inline void update_metadata(Sha256& digest, const SafetensorsMetadata& metadata) {
  for (const auto& [key, value] : metadata) {
    if (key == digest_key) continue;
    update_text(digest, key);
    update_text(digest, value);
  }
}

CALM_INLINE void update_tensor(Sha256& digest, std::string_view name, std::string_view dtype,
                               std::span<const std::size_t> extents, const void* data, std::size_t bytes) {
  update_text(digest, name);
  update_text(digest, dtype);
  update_count(digest, extents.size());
  for (const std::size_t extent : extents) update_count(digest, extent);
  digest.update(data, bytes);
}

}  // namespace detail

CALM_INLINE SafetensorsFile SafetensorsFile::open(const std::string& path) {
  MappedFile file = MappedFile::open(path);
  const std::size_t size = file.size();
  std::uint64_t length = 0;  // what the file claims; parse_safetensors_header refuses what is too long
  if (size >= 8) file.read(0, &length, 8);
  const bool fits = size >= 8 && length <= std::min(size - 8, max_header_bytes);
  std::vector<std::byte> front(fits ? 8 + length : std::min<std::size_t>(size, 8));
  file.read(0, front.data(), front.size());
  SafetensorsHeader header = parse_safetensors_header(path, front.data(), size);
  return SafetensorsFile(std::move(file), std::move(header));
}

CALM_INLINE std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> out;
  for (const auto& [name, entry] : header_.tensors) out.push_back(name);
  return out;
}

CALM_INLINE const SafetensorsEntry& SafetensorsFile::entry(std::string_view name) const {
  const auto place = header_.tensors.find(name);
  calm::detail::require(place != header_.tensors.end(), [&] {
    std::string some;
    for (auto it = header_.tensors.begin(); it != header_.tensors.end() && some.size() < 100; ++it)
      some += (some.empty() ? "" : ", ") + detail::in_quotes(it->first);
    return "calm::io: " + path() + ": expected a tensor " + detail::in_quotes(name) +
           ", found none of that name among " + std::to_string(size()) + (some.empty() ? "" : " (" + some + ", ...)");
  });
  return place->second;
}

CALM_INLINE void SafetensorsFile::check_digest() const {
  const auto place = metadata().find(detail::digest_key);
  if (place == metadata().end()) return;
  Sha256 digest;
  detail::update_metadata(digest, metadata());
  for (const auto& [name, e] : header_.tensors) {
    detail::update_tensor(digest, name, e.dtype, e.shape, begin_of(e), e.bytes);
  }
  const std::string found = digest.hex();
  calm::detail::require(found == place->second, [&] {
    return "calm::io: " + path() + ": altered after it was written: expected contents of SHA-256 " +
           place->second + ", found " + found + "; take an unaltered copy";
  });
}

CALM_INLINE void SafetensorsFile::check(std::string_view name, std::string_view dtype,
                                        std::span<const detail::AxisName> axes, Conversion conversion) const {
  const SafetensorsEntry& e = entry(name);
  const std::string mismatch = detail::axes_mismatch(axes, e.shape);
  if (!mismatch.empty()) fail(name, mismatch);
  if (e.dtype == dtype) return;
  const bool possible = detail::converts(e.dtype, dtype);
  if (conversion == Conversion::refuse || !possible) fail_dtype(name, dtype, e.dtype, possible);
}

CALM_INLINE void SafetensorsFile::fail_dtype(std::string_view name, std::string_view wanted, std::string_view found,
                                             bool possible) const {
  std::string what = "expected dtype ";
  what += wanted;
  what += ", found ";
  what += found;
  fail(name, what + (possible ? ", and conversion was refused" : ", which does not convert to it"));
}

CALM_INLINE void SafetensorsFile::fail(std::string_view name, const std::string& what) const {
  throw Error("calm::io: " + path() + ": tensor " + detail::in_quotes(name) + ": " + what);
}

CALM_INLINE void SafetensorsWriter::add(std::string name, SafetensorsEntry entry, Storage<Cpu> storage,
                                        const void* data) {
  calm::detail::require(data != nullptr, [&] {
    return "calm::io::SafetensorsWriter: tensor " + detail::in_quotes(name) + " has no memory; assign it first";
  });
  calm::detail::require(name != "__metadata__" && !items_.contains(name), [&] {
    return "calm::io::SafetensorsWriter: the name " + detail::in_quotes(name) + " is taken";
  });
  items_.emplace(std::move(name), Item{std::move(entry), std::move(storage), data});
}

CALM_INLINE void SafetensorsWriter::set_metadata(std::string key, std::string value) {
  const auto [place, is_new] = metadata_.try_emplace(std::move(key), std::move(value));
  calm::detail::require(is_new, [&] {
    return "calm::io::SafetensorsWriter: the metadata key " + detail::in_quotes(place->first) + " is taken";
  });
}

CALM_INLINE void SafetensorsWriter::add_digest() {
  Sha256 digest;
  detail::update_metadata(digest, metadata_);
  for (const auto& [name, item] : items_) {
    detail::update_tensor(digest, name, item.entry.dtype, item.entry.shape, item.data, item.entry.bytes);
  }
  set_metadata(detail::digest_key, digest.hex());
}

CALM_INLINE void SafetensorsWriter::save(const std::string& path) const {
  std::vector<std::pair<std::string_view, const Item*>> order;
  for (const auto& [name, item] : items_) order.emplace_back(name, &item);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    const std::size_t first = detail::stored_type_index(a.second->entry.dtype);
    const std::size_t second = detail::stored_type_index(b.second->entry.dtype);
    return first != second ? first > second : a.first < b.first;
  });
  std::size_t offset = 0;
  std::vector<SafetensorsEntry> entries;
  entries.reserve(order.size());
  std::vector<std::pair<std::string_view, const SafetensorsEntry*>> listed;
  for (const auto& [name, item] : order) {
    entries.push_back(item->entry);
    entries.back().offset = offset;
    offset += item->entry.bytes;
    listed.emplace_back(name, &entries.back());
  }
  AtomicFile file(path);
  file.write(format_safetensors_header(path, metadata_, listed));
  for (const auto& [name, item] : order) file.write(item->data, item->entry.bytes);
  file.commit();
}

}  // namespace calm::io
