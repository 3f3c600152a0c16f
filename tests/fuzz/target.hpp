/// \file  What every fuzz target shares: the entry that libFuzzer and the driver call, and files that are only memory.
///
/// A target is one .cpp that defines `calm::fuzz::read`. Whatever a file holds, reading it must end in a value or in a
/// calm::Error. Anything else is a finding: a crash, a sanitizer's report, another exception, a time-out, or a request
/// for more memory than scripts/fuzz allows.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "calm/tensor/error.hpp"
#include "calm/text/utf8.hpp"

namespace calm::fuzz {

/// Reads `contents` as a file of the target's format.
void read(std::string_view contents);

/// Ends the program unless `holds`: what a reader promises of the values that it returns.
inline void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "calm::fuzz: broken: %s\n", what);
  std::abort();
}

/// A file in memory with a path, so that readers open it as any other.
class File {
 public:
  explicit File(std::string_view contents) : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    check(fd_ >= 0 && ::write(fd_, contents.data(), contents.size()) == static_cast<ssize_t>(contents.size()),
          "a file in memory");
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { ::close(fd_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

/// Calls f(), which may throw calm::Error, whose message must be text that a terminal shows. Whether it did not.
template <class F>
bool accepts(F&& f) {
  try {
    f();
    return true;
  } catch (const Error& e) {
    check(text::find_invalid_utf8(e.what()) == std::string_view::npos, "a message is UTF-8");
    check(std::strlen(e.what()) < 20'000, "a message does not flood");
    return false;
  }
}

/// A safetensors file: `contents` as it is; or, where it begins with '{', its first line as the header, with the length
/// in front that fuzzers rarely guess, and the other lines as the data.
inline std::string safetensors(std::string_view contents) {
  if (!contents.starts_with('{')) return std::string(contents);
  const std::size_t end = std::min(contents.find('\n'), contents.size());
  const std::uint64_t length = end;
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out.append(contents.substr(0, end)).append(contents.substr(std::min(end + 1, contents.size())));
}

}  // namespace calm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  calm::fuzz::accepts([&] { calm::fuzz::read({reinterpret_cast<const char*>(data), size}); });
  return 0;
}
