// A safetensors file: its header, every tensor that it hands out, and its digest.
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "calm/io/safetensors.hpp"
#include "fuzz/target.hpp"

namespace {

/// The header in memory that ends where it ends, so that a read beyond it is seen.
void read_header(const std::string& bytes) {
  std::vector<std::byte> exact(bytes.size());
  if (!bytes.empty()) std::memcpy(exact.data(), bytes.data(), bytes.size());
  calm::io::parse_safetensors_header("memory", exact.data(), exact.size());
}

}  // namespace

void calm::fuzz::read(std::string_view contents) {
  const std::string bytes = safetensors(contents);
  accepts([&] { read_header(bytes); });
  const File on_disk(bytes);
  const auto file = io::SafetensorsFile::open(on_disk.path());
  std::size_t total = 0;
  for (const std::string& name : file.names()) {
    const io::SafetensorsEntry& entry = file.entry(name);
    total += entry.bytes;
    check(entry.offset + entry.bytes <= bytes.size(), "a tensor lies in its file");
    std::size_t count = 1;
    for (const std::size_t extent : entry.shape) count *= extent;
    accepts([&] { file.read<float>(name, 0, count); });
    accepts([&] { file.read<bf16>(name, 0, count); });
    accepts([&] { file.read<std::int32_t>(name, count / 2, count - count / 2); });
    accepts([&] { file.read<double>(name, 1, count); });
  }
  check(total <= bytes.size(), "tensors do not overlap");
  file.check_digest();
}
