// Stands in libFuzzer's place where there is none: runs a target once on every file of the folders that it is given,
// with 1 GiB of addresses to its name, so that a file that has a reader ask for more is a failure.
#include <sys/resource.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#if defined(__SANITIZE_ADDRESS__)
#define CALM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CALM_ASAN 1  // it takes terabytes of addresses for itself
#endif
#endif

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
#ifndef CALM_ASAN
  const rlimit limit{1 << 30, 1 << 30};
  if (::setrlimit(RLIMIT_AS, &limit) != 0) return 1;
#endif
  int files = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream in(entry.path(), std::ios::binary);
      const std::string contents{std::istreambuf_iterator<char>(in), {}};
      std::printf("%s\n", entry.path().c_str());
      std::fflush(stdout);  // the last one that is named is the one that failed
      LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(contents.data()), contents.size());
      ++files;
    }
  }
  std::printf("read %d files\n", files);
  return files > 0 ? 0 : 1;
}
