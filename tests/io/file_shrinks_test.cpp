// A file that is cut off while it is open is an Error where it is read, never a signal.
#include <unistd.h>

#include <string>

#include <catch2/catch.hpp>

#include "calm/io/file.hpp"
#include "calm/io/json_file.hpp"
#include "calm/io/safetensors.hpp"
#include "io/temporary_folder.hpp"

using namespace calm;
using namespace calm::test;
using Catch::Contains;

namespace {

struct Rows {
  static constexpr std::size_t extent = 65'536;
};

/// Two tensors of 256 KiB each.
std::string two_tensors(const TemporaryFolder& folder) {
  const std::string path = folder / "file.safetensors";
  const auto x = Tensor<float, Cpu, Rows>::full({}, 1);
  io::SafetensorsWriter writer;
  writer.add("a", x);
  writer.add("b", x);
  writer.add_digest();
  writer.save(path);
  return path;
}

void cut(const std::string& path, off_t bytes) { REQUIRE(::truncate(path.c_str(), bytes) == 0); }

}  // namespace

TEST_CASE("tensors of a file that was cut off after it was opened are refused, mapped or converted") {
  const TemporaryFolder folder;
  const std::string path = two_tensors(folder);
  const auto file = io::SafetensorsFile::open(path);
  CHECK(file.load<Tensor<float, Cpu, Rows>>("b").data()[0] == 1);
  cut(path, 4096);
  CHECK_THROWS_WITH((file.load<Tensor<float, Cpu, Rows>>("b")), Contains("as when it was opened, found 4096"));
  CHECK_THROWS_WITH((file.load<Tensor<double, Cpu, Rows>>("a")), Contains("it was cut off since"));
  CHECK_THROWS_WITH(file.data("a"), Contains("it was cut off since"));
  CHECK_THROWS_WITH(file.check_digest(), Contains("it was cut off since"));
  CHECK_THROWS_WITH(io::SafetensorsFile::open(path), Contains("the file holds only"));
}

TEST_CASE("a file that grows, or is replaced by renaming, goes on to be read") {
  const TemporaryFolder folder;
  const std::string path = two_tensors(folder);
  const auto file = io::SafetensorsFile::open(path);
  cut(path, 1'000'000);
  CHECK(file.load<Tensor<float, Cpu, Rows>>("a").data()[Rows::extent - 1] == 1);
  io::write_file_atomically(path, "short");
  CHECK(file.load<Tensor<float, Cpu, Rows>>("b").data()[Rows::extent - 1] == 1);
}

TEST_CASE("a file is read whole, or not at all") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  put_contents(path, std::string(100'000, ' ') + "{}");
  CHECK(io::read_file(path).size() == 100'002);
  CHECK(io::read_json(path).is_object());
  CHECK_THROWS_WITH(io::read_file(path, 100'001), Contains("expected at most 100001 bytes, found 100002"));
  const io::detail::InputFile open(path);
  cut(path, 50'000);
  std::string contents(100'002, '\0');
  CHECK_THROWS_WITH(open.read(0, contents.data(), contents.size()), Contains("found 50000"));
}
