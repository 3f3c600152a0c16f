#include "calm/io/record_file.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "calm/tensor/philox.hpp"
#include "io/full_disk.hpp"
#include "io/temporary_folder.hpp"

using namespace calm;
using namespace calm::test;
using Catch::Contains;
using io::RecordFile;

namespace {

const RecordFile::Identity identity{{"base", "one"}, {"kind", "text"}};

io::Digest key_of(std::size_t i) { return io::sha256(&i, sizeof i); }
/// Record i: between 0 and 4999 bytes that i tells.
std::string record(std::size_t i) {
  std::string text(random_below({7, 0}, i, 5000), '\0');
  for (std::size_t j = 0; j < text.size(); ++j) text[j] = static_cast<char>(random_bits({7, 1 + i}, j));
  return text;
}
void append(RecordFile& file, std::size_t i) {
  const std::string text = record(i);
  file.append(key_of(i), text.data(), text.size());
}
bool has(RecordFile& file, std::size_t i) {
  std::string text(record(i).size(), '?');
  if (!file.read(key_of(i), text.data(), text.size())) return false;
  REQUIRE(text == record(i));  // whole, or not there at all
  return true;
}

}  // namespace

TEST_CASE("records are found by key, now and when the file is opened again") {
  const TemporaryFolder folder;
  for (int round = 0; round < 3; ++round) {
    RecordFile file(folder / "records", identity);
    CHECK(file.size() == static_cast<std::size_t>(10 * round));
    for (std::size_t i = 0; i < 10; ++i) append(file, 10 * static_cast<std::size_t>(round) + i);
    for (std::size_t i = 0; i < file.size(); ++i) CHECK(has(file, i));
    CHECK(!has(file, file.size()));
    CHECK(file.bytes() == contents_of(file.path()).size());
  }
}

TEST_CASE("a record of another size is not the one that was asked for, and a later one replaces it") {
  const TemporaryFolder folder;
  for (int round = 0; round < 2; ++round) {
    RecordFile file(folder / "records", identity);
    char got[3] = {};
    if (round == 0) {
      file.append(key_of(1), "abcd", 4);
      CHECK(!file.read(key_of(1), got, 3));
      file.append(key_of(1), "xyz", 3);
    }
    CHECK(file.size() == 1);
    CHECK(file.read(key_of(1), got, 3));
    CHECK(std::string(got, 3) == "xyz");
  }
}

TEST_CASE("a file that was cut anywhere keeps the records before the cut, and goes on") {
  const TemporaryFolder folder;
  const std::string path = folder / "records";
  std::vector<std::size_t> ends;
  {
    RecordFile file(path, identity);
    ends.push_back(file.bytes());
    for (std::size_t i = 0; i < 6; ++i) {
      append(file, i);
      ends.push_back(file.bytes());
    }
  }
  const std::string whole = contents_of(path);
  for (std::size_t cut = 0; cut < whole.size(); cut += 1 + random_below({3, 3}, cut, 90)) {
    put_contents(path, whole.substr(0, cut));
    RecordFile file(path, identity);
    std::size_t left = 0;
    while (left < 6 && ends[left + 1] <= cut) ++left;
    CAPTURE(cut);
    REQUIRE(file.size() == left);
    for (std::size_t i = 0; i < left; ++i) REQUIRE(has(file, i));
    for (std::size_t i = left; i < 6; ++i) append(file, i);
    REQUIRE(contents_of(path) == whole);
  }
}

TEST_CASE("a record that was altered counts as absent and can be appended anew") {
  const TemporaryFolder folder;
  const std::string path = folder / "records";
  std::uint64_t begin = 0, end = 0;
  {
    RecordFile file(path, identity);
    append(file, 0);
    begin = file.bytes();
    append(file, 2);
    end = file.bytes();
    append(file, 3);
  }
  std::string altered = contents_of(path);
  REQUIRE(end - begin > 100);
  altered[begin + (end - begin) / 2] ^= 1;
  put_contents(path, altered);
  RecordFile file(path, identity);
  CHECK(file.size() == 3);
  CHECK(!has(file, 2));
  CHECK(file.size() == 2);
  CHECK(has(file, 3));
  append(file, 2);
  CHECK(has(file, 2));
}

TEST_CASE("a file of something else is refused, with what differs, and is left alone") {
  const TemporaryFolder folder;
  const std::string path = folder / "records";
  { RecordFile(path, identity); }
  const std::string before = contents_of(path);
  CHECK_THROWS_WITH(RecordFile(path, {{"base", "two"}, {"kind", "text"}}),
                    "calm::io: " + path + ": it belongs to something else: base: expected two, found one; name "
                    "another file, or delete this one");
  CHECK_THROWS_WITH(RecordFile(path, {{"base", "one"}, {"kind", "text"}, {"links", "3"}}),
                    Contains("links: expected 3, found nothing"));
  CHECK_THROWS_WITH(RecordFile(path, {{"base", "one"}}), Contains("has more to its identity"));
  CHECK(contents_of(path) == before);
  for (const std::string other : {"something else altogether, and long enough", "calm records 1\nabc", "x"}) {
    put_contents(path, other);
    CHECK_THROWS_WITH(RecordFile(path, identity), Contains(path + ": expected a file of records that calm wrote"));
    CHECK(contents_of(path) == other);
  }
  CHECK_THROWS_WITH(RecordFile(folder / "no/such/folder", identity), Contains("cannot open for reading and writing"));
}

TEST_CASE("a file has one user at a time") {
  const TemporaryFolder folder;
  auto first = std::make_unique<RecordFile>(folder / "records", identity);
  CHECK_THROWS_WITH(RecordFile(folder / "records", identity), Contains("another run has it open"));
  first.reset();
  CHECK_NOTHROW(RecordFile(folder / "records", identity));
}

TEST_CASE("a disk that is full is an Error, and the file stays as it was") {
  const TemporaryFolder folder;
  RecordFile file(folder / "records", identity);
  append(file, 0);
  const std::string before = contents_of(file.path());
  const std::string large(20'000, 'x');
  {
    const FileSizeLimit limit(10'000);
    CHECK_THROWS_WITH(file.append(key_of(9), large.data(), large.size()),
                      Contains(file.path() + ": cannot write at byte 10000: File too large"));
  }
  CHECK(contents_of(file.path()) == before);
  CHECK(has(file, 0));
  file.append(key_of(9), large.data(), large.size());
  CHECK(file.size() == 2);
}

TEST_CASE("a writer that is killed at any moment leaves whole records only") {
  const TemporaryFolder folder;
  const std::string path = folder / "records";
  std::size_t written = 0;
  for (std::uint32_t round = 0; round < 20 || written <= 20; ++round) {
    REQUIRE(round < 1000);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      RecordFile file(path, identity);
      for (std::size_t i = file.size();; ++i) append(file, i);
    }
    ::usleep(random_below({5, 5}, round, 8000));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    RecordFile file(path, identity);
    for (std::size_t i = 0; i < file.size(); ++i) REQUIRE(has(file, i));
    REQUIRE(file.size() >= written);
    written = file.size();
  }
}
