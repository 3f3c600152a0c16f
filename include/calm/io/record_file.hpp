/// \file  A file of records found by key, which grows record by record and survives being killed at any moment.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "calm/io/file.hpp"
#include "calm/io/sha256.hpp"

namespace calm::io {

/// Records of bytes under keys, for what can be computed again. A record is there only if it is whole: each carries a
/// SHA-256 of its contents, and one that was torn by a kill, a full disk or a power cut counts as absent. So nothing
/// waits for the disk, and there is no index to keep in step: it is read off the records when the file is opened.
///
/// The file begins with what it belongs to (`identity`); another identity is refused. One object at a time has it open.
class RecordFile {
 public:
  using Identity = std::map<std::string, std::string>;

  /// Opens `path`, or makes it. Throws `Error` if it cannot be read and written, is in use, is no record file, or
  /// belongs to something else: the message names what differs.
  RecordFile(std::string path, const Identity& identity)
      : path_(std::move(path)), file_(detail::open_descriptor(path_, O_RDWR | O_CREAT, 0666)) {
    if (file_.get() < 0)
      detail::throw_system(path_, "cannot open for reading and writing", errno,
                           "check that the directory exists and may be written");
    lock();
    read_identity(identity);
    index();
  }

  /// Puts the record of `key` into `data`, which takes `bytes` bytes. False if it is not there, has another size, or is
  /// damaged; a damaged one is forgotten, so that it can be appended anew.
  bool read(const Digest& key, void* data, std::size_t bytes) {
    const auto place = places_.find(key);
    if (place == places_.end() || place->second.bytes != bytes) return false;
    const bool whole = read_at(data, bytes, place->second.at) && sha256(data, bytes) == place->second.digest;
    if (!whole) places_.erase(place);
    return whole;
  }

  /// Whether there is a record of `key`, be it damaged.
  bool has(const Digest& key) const { return places_.contains(key); }

  /// Adds a record; a later one of the same key replaces it. Throws `Error` if the disk is full or fails; the file is
  /// then as it was.
  void append(const Digest& key, const void* data, std::size_t bytes) {
    const Header header(key, bytes, sha256(data, bytes));
    write_at(&header, sizeof header, end_);
    write_at(data, bytes, end_ + sizeof header);
    places_.insert_or_assign(key, Place{end_ + sizeof header, bytes, header.digest});
    end_ += sizeof header + bytes;
  }

  /// Records that can be read.
  std::size_t size() const { return places_.size(); }
  /// Bytes of the file.
  std::uint64_t bytes() const { return end_; }
  const std::string& path() const { return path_; }

 private:
  static constexpr std::string_view magic = "calm records 1\n";
  static_assert(std::endian::native == std::endian::little, "calm::io: record files are little endian, as is calm");

  /// Stands in front of every record; `check` tells it from chance.
  struct Header {
    std::uint64_t bytes = 0;
    Digest key{}, digest{};
    std::uint64_t check = 0;

    Header() = default;
    Header(const Digest& k, std::uint64_t n, const Digest& d) : bytes(n), key(k), digest(d), check(checked()) {}
    std::uint64_t checked() const {
      const Digest whole = sha256(this, offsetof(Header, check));
      return std::bit_cast<std::array<std::uint64_t, 4>>(whole)[0];
    }
  };
  static_assert(sizeof(Header) == 80);

  struct Place {
    std::uint64_t at, bytes;
    Digest digest;
  };
  struct FirstBytes {
    std::size_t operator()(const Digest& key) const { return std::bit_cast<std::array<std::size_t, 4>>(key)[0]; }
  };

  void lock() {
    int result;
    do result = ::flock(file_.get(), LOCK_EX | LOCK_NB);
    while (result < 0 && errno == EINTR);
    if (result < 0)
      detail::throw_system(path_, "cannot lock", errno, "another run has it open; wait for that, or name another file");
  }

  static std::string text_of(const Identity& identity) {
    std::string text;
    for (const auto& [key, value] : identity) text += key + '\t' + value + '\n';
    return text;
  }

  /// Writes who the file belongs to, or compares it: magic, its length, the lines. A file killed while this was written
  /// for the first time is begun again.
  void read_identity(const Identity& identity) {
    const std::string lines = text_of(identity);
    std::string expected(magic);
    const std::uint64_t length = lines.size();
    expected.append(reinterpret_cast<const char*>(&length), sizeof length).append(lines);

    struct stat status {};
    if (::fstat(file_.get(), &status) != 0)
      detail::throw_system(path_, "cannot read its size", errno, "check the disk");
    file_bytes_ = static_cast<std::uint64_t>(status.st_size);
    std::string found(std::min<std::uint64_t>(file_bytes_, expected.size()), '\0');
    if (!read_at(found.data(), found.size(), 0)) fail_to_read();
    end_ = expected.size();
    if (found == expected) return;
    if (found.size() < expected.size() && expected.starts_with(found)) {
      write_at(expected.data(), expected.size(), 0);
      file_bytes_ = end_;
      return;
    }
    refuse(identity, std::move(found));
  }

  /// Says what differs, of the lines that the file has.
  [[noreturn]] void refuse(const Identity& identity, std::string found) const {
    const std::size_t begin = magic.size() + sizeof(std::uint64_t);
    std::uint64_t length = 0;
    if (found.starts_with(magic) && found.size() >= begin) std::memcpy(&length, found.data() + magic.size(), 8);
    if (length == 0 || length > file_bytes_ - begin || length > (std::uint64_t{1} << 20))
      throw Error("calm::io: " + path_ + ": expected a file of records that calm wrote, found something else; " +
                  "name another file, or delete this one");
    found.assign(length, '\0');
    if (!read_at(found.data(), length, begin)) fail_to_read();
    for (const auto& [key, value] : identity) {
      const std::size_t at = found.starts_with(key + '\t') ? 0 : found.find('\n' + key + '\t');
      std::string other = "nothing";
      if (at != std::string::npos) {
        const std::size_t from = found.find('\t', at) + 1;
        other = found.substr(from, found.find('\n', from) - from);
      }
      calm::detail::require(other == value, [&, &key = key, &value = value] {
        return "calm::io: " + path_ + ": it belongs to something else: " + key + ": expected " + value + ", found " +
               other + "; name another file, or delete this one";
      });
    }
    throw Error("calm::io: " + path_ + ": it belongs to something else, which has more to its identity: " + found);
  }

  /// Finds the records. Behind the first whose header is not whole, or which reaches beyond the file, there is nothing.
  void index() {
    Header header;
    while (end_ + sizeof header <= file_bytes_ && read_at(&header, sizeof header, end_)) {
      const std::uint64_t at = end_ + sizeof header;
      if (header.check != header.checked() || header.bytes > file_bytes_ - at) break;
      places_.insert_or_assign(header.key, Place{at, header.bytes, header.digest});
      end_ = at + header.bytes;
    }
    cut();
  }
  void cut() const { static_cast<void>(!::ftruncate(file_.get(), static_cast<off_t>(end_))); }  // as good if it fails

  /// False if the file ends before, or the disk fails.
  bool read_at(void* data, std::size_t bytes, std::uint64_t at) const {
    char* next = static_cast<char*>(data);
    while (bytes > 0) {
      const ssize_t n = ::pread(file_.get(), next, std::min(bytes, most_at_once), static_cast<off_t>(at));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      next += n;
      at += static_cast<std::uint64_t>(n);
      bytes -= static_cast<std::size_t>(n);
    }
    return true;
  }

  void write_at(const void* data, std::size_t bytes, std::uint64_t at) {
    const char* next = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t n = ::pwrite(file_.get(), next, std::min(bytes, most_at_once), static_cast<off_t>(at));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        const int code = n < 0 ? errno : ENOSPC;
        cut();
        detail::throw_system(path_, "cannot write at byte " + std::to_string(at), code,
                             "its records of before are as they were; free some space or name another file");
      }
      next += n;
      at += static_cast<std::uint64_t>(n);
      bytes -= static_cast<std::size_t>(n);
    }
  }

  [[noreturn]] void fail_to_read() const { throw Error("calm::io: " + path_ + ": cannot read; check the disk"); }

  static constexpr std::size_t most_at_once = std::size_t{1} << 30;

  std::string path_;
  detail::Descriptor file_;
  std::uint64_t file_bytes_ = 0;  // when it was opened
  std::uint64_t end_ = 0;         // of the last whole record
  std::unordered_map<Digest, Place, FirstBytes> places_;
};

}  // namespace calm::io
