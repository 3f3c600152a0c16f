#include "calm/io/file.hpp"

#include <sys/stat.h>

#include <string>

#include <catch2/catch.hpp>

#include "io/full_disk.hpp"
#include "io/temporary_folder.hpp"

using namespace calm;
using namespace calm::test;
using Catch::Contains;

TEST_CASE("a file is written and mapped") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  io::write_file_atomically(path, "hello");
  const auto file = io::MappedFile::open(path);
  REQUIRE(file.size() == 5);
  CHECK(std::string(reinterpret_cast<const char*>(file.data()), 5) == "hello");
  CHECK(file.path() == path);
  CHECK(folder.files() == 1);
}

TEST_CASE("a mapping outlives its handle, its file's replacement and its file's removal") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  io::write_file_atomically(path, "before");
  Storage<Cpu> storage;
  {
    const auto file = io::MappedFile::open(path);
    const auto copy = file;
    storage = copy.storage();
  }
  io::write_file_atomically(path, "after!!");
  std::filesystem::remove(path);
  CHECK(std::string(static_cast<const char*>(storage.data()), 6) == "before");
}

TEST_CASE("an empty file maps to nothing") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  io::write_file_atomically(path, "");
  const auto file = io::MappedFile::open(path);
  CHECK(file.size() == 0);
  CHECK(file.data() == nullptr);
}

TEST_CASE("what cannot be mapped is named") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(io::MappedFile::open(folder / "none"), Contains("none: cannot open: No such file"));
  CHECK_THROWS_WITH(io::MappedFile::open(folder / ""), Contains("expected a regular file, found a directory"));
  CHECK_THROWS_WITH(io::MappedFile::open("/dev/null"), Contains("found a device"));
}

TEST_CASE("a write that is given up leaves the old file and no other") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  io::write_file_atomically(path, "old");
  {
    io::AtomicFile file(path);
    file.write("half of the n");
    CHECK(folder.files() == 2);
  }
  CHECK(contents_of(path) == "old");
  CHECK(folder.files() == 1);
}

TEST_CASE("a full disk leaves the old file and no other") {
  const TemporaryFolder folder;
  const std::string path = folder / "file", big(100'000, 'x');
  io::write_file_atomically(path, "old");
  {
    const FileSizeLimit limit(30'000);
    CHECK_THROWS_WITH(io::write_file_atomically(path, big),
                      Contains(path + ": cannot write (after 30000 bytes)") && Contains("as it was"));
  }
  CHECK(contents_of(path) == "old");
  CHECK(folder.files() == 1);
  io::write_file_atomically(path, big);
  CHECK(contents_of(path) == big);
}

TEST_CASE("a file that cannot be created or replaced is named") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(io::write_file_atomically(folder / "no/file", "x"),
                    Contains("no/file: cannot create a temporary file beside it: No such file"));
  std::filesystem::create_directories(folder / "folder/inner");
  CHECK_THROWS_WITH(io::write_file_atomically(folder / "folder", "x"), Contains("cannot rename"));
  CHECK(folder.files() == 1);
}

TEST_CASE("a replaced file keeps its permissions; a path without a folder is relative") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  io::write_file_atomically(path, "a");
  ::chmod(path.c_str(), 0640);
  io::write_file_atomically(path, "b");
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0640);

  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder / "");
  io::write_file_atomically("file", "c");
  std::filesystem::current_path(before);
  CHECK(contents_of(path) == "c");
}
