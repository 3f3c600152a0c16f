/// \file  The header of a safetensors file: what it may say, read strictly and written canonically.
///
/// The format: 8 bytes with the header's length N (little endian), N bytes of JSON, then the data. The rules are those
/// of the format's README and of its reference implementation (github.com/huggingface/safetensors); what is stricter
/// here is said where it stands. Nothing that the header says is believed before it is checked.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/compiled.hpp"

namespace calm::io {

static_assert(std::endian::native == std::endian::little, "calm::io: safetensors data is little endian, as is calm");

/// The longest header that is read or written, in bytes (the format's own limit).
inline constexpr std::size_t max_header_bytes = 100'000'000;
/// The most tensors, and the most metadata entries, that one file may hold (calm's limit).
inline constexpr std::size_t max_header_entries = std::size_t{1} << 20;
/// The most axes of a stored tensor (calm's limit).
inline constexpr std::size_t max_header_rank = 64;

/// One tensor as the header describes it.
struct SafetensorsEntry {
  std::string_view dtype;          ///< one of the format's names ("F32"), with static lifetime
  std::vector<std::size_t> shape;  ///< row-major; empty for a scalar
  std::size_t bytes = 0;           ///< of its data
  std::size_t offset = 0;          ///< of its data, in bytes from the beginning of the data section
};

/// Keys and values of `__metadata__`.
using SafetensorsMetadata = std::map<std::string, std::string>;

/// What a safetensors file says of itself, in front of its data.
struct SafetensorsHeader {
  SafetensorsMetadata metadata;
  std::map<std::string, SafetensorsEntry, std::less<>> tensors;
  std::size_t data_begin = 0;  ///< bytes in front of the data section
};

namespace detail {

struct StoredType {
  std::string_view name;
  std::size_t bits;
};

/// The format's element types in the order in which the reference sorts them; writers put the last ones first.
inline constexpr std::array<StoredType, 21> stored_types{{
    {"BOOL", 8},       {"F4", 4},        {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},
    {"F8_E5M2", 8},    {"F8_E4M3", 8},   {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
    {"I16", 16},       {"U16", 16},      {"F16", 16},    {"BF16", 16},   {"I32", 32}, {"U32", 32},
    {"F32", 32},       {"F64", 64},      {"I64", 64},    {"U64", 64},
}};

/// The place of `name` in `stored_types`, or its size if it is none of them.
constexpr std::size_t stored_type_index(std::string_view name) {
  std::size_t i = 0;
  while (i < stored_types.size() && stored_types[i].name != name) ++i;
  return i;
}

/// a · b into `product`; false if that overflows.
inline bool checked_multiply(std::size_t a, std::size_t b, std::size_t& product) {
  return !__builtin_mul_overflow(a, b, &product);
}

/// Bytes of a tensor into `bytes`; false if that overflows or is not a whole number. The only such formula in io.
inline bool checked_bytes(const std::vector<std::size_t>& shape, std::size_t bits, std::size_t& bytes) {
  std::size_t total = 1;
  for (const std::size_t extent : shape) {
    if (!checked_multiply(total, extent, total)) return false;
  }
  if (!checked_multiply(total, bits, total) || total % 8 != 0) return false;
  bytes = total / 8;
  return true;
}

/// A name from a file as it may stand in a message: in quotes, shortened, UTF-8, without control characters.
CALM_INLINE std::string in_quotes(std::string_view name);

/// "[2, 3]"
template <class Extents>
std::string shape_text(const Extents& extents) {
  std::string out = "[";
  for (std::size_t i = 0; i < extents.size(); ++i) out += (i ? ", " : "") + std::to_string(extents[i]);
  return out + "]";
}

}  // namespace detail

/// Reads and checks the header of the file `path` of `size` bytes, which begin at `data`; of the tensors' data none
/// need be there. Throws `Error`.
CALM_INLINE SafetensorsHeader parse_safetensors_header(const std::string& path, const std::byte* data,
                                                       std::size_t size);

/// The first bytes of a file, length included: metadata, then the tensors as listed, padded with spaces to 8 bytes. The
/// offsets must be set. Throws `Error` if a name is not UTF-8 or the header would be too long.
CALM_INLINE std::string format_safetensors_header(
    const std::string& path, const SafetensorsMetadata& metadata,
    const std::vector<std::pair<std::string_view, const SafetensorsEntry*>>& tensors);

}  // namespace calm::io

#ifndef CALM_COMPILED
#include "calm/io/safetensors_header.ipp"
#endif
