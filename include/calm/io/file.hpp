/// \file  Files: read by mapping them, written whole or not at all.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "calm/tensor/device.hpp"
#include "calm/tensor/error.hpp"
#include "calm/tensor/storage.hpp"

namespace calm::io {

namespace detail {

/// Throws "calm::io: <path>: <what>: <the system's reason>; <remedy>".
[[noreturn]] inline void throw_system(const std::string& path, std::string_view what, int code,
                                      std::string_view remedy) {
  throw Error("calm::io: " + path + ": " + std::string(what) + ": " + std::generic_category().message(code) + "; " +
              std::string(remedy));
}

/// A file descriptor that is closed with its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  /// Closes now; the errno of a failure, else 0 (some file systems report a failed write only here).
  int close() { return ::close(std::exchange(fd_, -1)) == 0 || errno == EINTR ? 0 : errno; }

 private:
  int fd_;
};

/// open(2), again if a signal interrupts it; -1 and errno on failure.
inline int open_descriptor(const std::string& path, int flags, mode_t mode = 0) {
  int fd;
  do fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  return fd;
}

/// fsync(2), again if a signal interrupts it; the errno of a failure, else 0.
inline int synchronise(int fd) {
  int result;
  do result = ::fsync(fd);
  while (result < 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

/// A regular file that is open for reading.
class InputFile {
 public:
  /// Throws `Error` if `path` cannot be read or is not a regular file.
  explicit InputFile(const std::string& path) : path_(path), file_(open_descriptor(path, O_RDONLY)) {
    if (file_.get() < 0) throw_system(path, "cannot open", errno, "check the path and its permissions");
    const struct stat status = status_now();
    calm::detail::require(S_ISREG(status.st_mode), [&] {
      return "calm::io: " + path + ": expected a regular file, found " +
             (S_ISDIR(status.st_mode) ? "a directory; name a file in it" : "a device, pipe or socket");
    });
    size_ = static_cast<std::size_t>(status.st_size);
  }

  const std::string& path() const { return path_; }
  int descriptor() const { return file_.get(); }
  /// Bytes in it when it was opened.
  std::size_t size() const { return size_; }

  struct stat status_now() const {
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0) throw_system(path_, "cannot read its size", errno, "check the disk");
    return status;
  }

  /// Throws `Error` if the file has become shorter.
  void require_whole() const {
    const auto now = static_cast<std::size_t>(status_now().st_size);
    calm::detail::require(now >= size_, [&] {
      return "calm::io: " + path_ + ": expected " + std::to_string(size_) + " bytes as when it was opened, found " +
             std::to_string(now) + ": it was cut off since; copy it again, and replace files by renaming others";
    });
  }

  /// Fills `to` with the `bytes` bytes from `offset` on. Throws `Error` if they are no longer there.
  void read(std::size_t offset, void* to, std::size_t bytes) const {
    for (std::size_t done = 0; done < bytes;) {
      const ssize_t n = ::pread(file_.get(), static_cast<char*>(to) + done, bytes - done,
                                static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw_system(path_, "cannot read", errno, "check the disk");
      if (n == 0) require_whole();
      calm::detail::require(n > 0, [&] { return "calm::io: " + path_ + ": ends before its size says"; });
      done += static_cast<std::size_t>(n);
    }
  }

 private:
  std::string path_;
  Descriptor file_;
  std::size_t size_ = 0;
};

struct Mapping {
  void* data;
  std::size_t bytes;
  static void unmap(void* context) {
    const std::unique_ptr<Mapping> mapping(static_cast<Mapping*>(context));
    ::munmap(mapping->data, mapping->bytes);
  }
};

}  // namespace detail

/// The contents of `path`, of at most `longest` bytes. Throws `Error`. Nothing is mapped: whatever becomes of the file
/// while it is read, nothing worse than an `Error` comes of it.
inline std::string read_file(const std::string& path, std::size_t longest = std::numeric_limits<std::size_t>::max()) {
  const detail::InputFile file(path);
  calm::detail::require(file.size() <= longest, [&] {
    return "calm::io: " + path + ": expected at most " + std::to_string(longest) + " bytes, found " +
           std::to_string(file.size());
  });
  std::string contents(file.size(), '\0');
  file.read(0, contents.data(), contents.size());
  return contents;
}

/// A file mapped read-only. Copies share the mapping, as do tensors made on `storage()`; it ends with the last of them.
///
/// The file must not shrink while it is mapped: the system answers a read behind its new end with SIGBUS. Whoever hands
/// out parts of it calls `require_whole` first, so that only what is cut off later, under tensors in use, is not an
/// `Error`. Writers that replace the file by renaming, as `AtomicFile` does, leave the mapping whole.
class MappedFile {
 public:
  /// Maps the whole of `path`. Throws `Error` if it cannot be read or is not a regular file.
  static MappedFile open(const std::string& path) {
    MappedFile mapped(path);
    const std::size_t bytes = mapped.size();
    if (bytes == 0) return mapped;  // the system maps no empty range
    void* data = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, mapped.file_->descriptor(), 0);
    if (data == MAP_FAILED) detail::throw_system(path, "cannot map", errno, "check the limit on address space");
    auto context = std::make_unique<detail::Mapping>(detail::Mapping{data, bytes});
    mapped.storage_ = Storage<Cpu>::external<&detail::Mapping::unmap>(data, context.get());
    context.release();
    return mapped;
  }

  /// The first byte; null if the file is empty.
  const std::byte* data() const { return static_cast<const std::byte*>(storage_.data()); }
  /// Bytes in the file when it was mapped.
  std::size_t size() const { return file_->size(); }
  const std::string& path() const { return file_->path(); }
  /// The mapping as a tensor's memory. Its pages are read-only: clone what is to be written.
  const Storage<Cpu>& storage() const { return storage_; }

  /// Throws `Error` if the file has become shorter since it was mapped.
  void require_whole() const { file_->require_whole(); }
  /// Fills `to` with the `bytes` bytes from `offset` on, which must be there, not through the mapping. Throws `Error`.
  void read(std::size_t offset, void* to, std::size_t bytes) const { file_->read(offset, to, bytes); }

 private:
  explicit MappedFile(const std::string& path) : file_(std::make_shared<detail::InputFile>(path)) {}

  std::shared_ptr<const detail::InputFile> file_;
  Storage<Cpu> storage_;
};

/// Writes a file so that `path` holds the old contents or all of the new, whatever happens: into a temporary file
/// beside it, then fsync, rename, and fsync of the directory. Every failure throws `Error` and removes the temporary;
/// only a killed process leaves one behind (`<path>.tmp.<process>.<number>`), which may be deleted.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path) : path_(std::move(path)), file_(create()) {}
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (!committed_) ::unlink(temporary_.c_str());
  }

  /// Appends `bytes` bytes.
  void write(const void* data, std::size_t bytes) {
    const char* next = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t n = ::write(file_.get(), next, std::min<std::size_t>(bytes, std::size_t{1} << 30));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("cannot write", errno);
      if (n == 0) fail("cannot write", ENOSPC);
      next += n;
      bytes -= static_cast<std::size_t>(n);
      written_ += static_cast<std::size_t>(n);
    }
  }
  void write(std::string_view text) { write(text.data(), text.size()); }

  /// Puts the file in place; call once, after the last write.
  void commit() {
    if (const int code = detail::synchronise(file_.get())) fail("cannot flush to the disk", code);
    if (const int code = file_.close()) fail("cannot close", code);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot rename the temporary file to it", errno);
    committed_ = true;
    const std::size_t slash = path_.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
    const detail::Descriptor directory(detail::open_descriptor(folder, O_RDONLY | O_DIRECTORY));
    if (directory.get() < 0) return;  // a directory that may be written but not read: the rename stands
    const int code = detail::synchronise(directory.get());
    if (code != 0 && code != EINVAL && code != ENOTSUP)
      detail::throw_system(path_, "written, but its directory could not be flushed to the disk", code,
                           "it may be lost if the power fails; check the disk");
  }

 private:
  int create() {
    struct stat old {};
    const bool exists = ::stat(path_.c_str(), &old) == 0;
    for (int number = 0;; ++number) {
      temporary_ = path_ + ".tmp." + std::to_string(::getpid()) + "." + std::to_string(number);
      const int fd = detail::open_descriptor(temporary_, O_WRONLY | O_CREAT | O_EXCL, 0666);
      if (fd < 0 && errno == EEXIST && number < 1000) continue;
      if (fd < 0) detail::throw_system(path_, "cannot create a temporary file beside it", errno,
                                       "check that the directory exists and may be written");
      if (exists && ::fchmod(fd, old.st_mode & 07777) != 0) errno = 0;  // the mode is a courtesy
      return fd;
    }
  }

  [[noreturn]] void fail(std::string_view what, int code) const {
    detail::throw_system(path_, std::string(what) + " (after " + std::to_string(written_) + " bytes)", code,
                         "the file of before is as it was; free some space or choose another directory");
  }

  std::string path_, temporary_;
  detail::Descriptor file_;
  std::size_t written_ = 0;
  bool committed_ = false;
};

/// Puts `contents` at `path`, whole or not at all.
inline void write_file_atomically(const std::string& path, std::string_view contents) {
  AtomicFile file(path);
  file.write(contents);
  file.commit();
}

}  // namespace calm::io
