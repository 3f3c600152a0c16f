/// \file  A JSONL file of texts on disk: an index of its lines in memory, the lines themselves read when asked for.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calm/io/file.hpp"
#include "calm/tensor/error.hpp"
#include "calm/text/jsonl_line.hpp"

namespace calm::text {

/// The longest line that is read, in bytes: what has none so far is no JSONL, and would fill the memory.
inline constexpr std::size_t max_jsonl_line_bytes = std::size_t{1} << 28;

/// When lines are read.
struct JsonlOptions {
  /// Reads every line when the file is opened, so that a bad one is known before hours of training. Without: when it
  /// is met.
  bool check = true;
};

/// A file of {"text": ...}, of {"prompt": ..., "completion": ...} or of {"messages": [...]}, one object per line; all
/// lines of one kind.
///
/// Holds 8 bytes per line. Copies share the file; reading is safe from several threads. What changes the file while it
/// is open (another size or time) is found at the next read.
class Jsonl {
 public:
  /// Opens `path` and goes through it once. Throws `Error` with path and line for whatever is not as it should be.
  static Jsonl open(const std::string& path, const JsonlOptions& options = {}) {
    Jsonl out(std::make_shared<State>(path));
    out.state_->index(options);
    return out;
  }

  std::size_t size() const { return state_->begins.size() - 1; }
  JsonlKind kind() const { return state_->kind; }
  const std::string& path() const { return state_->path(); }
  /// Where line `i`, counted from 0, stands, for messages.
  JsonlPlace place(std::size_t i) const { return {state_->path(), i + 1}; }

  /// Reads line `i`, counted from 0, into `out`, reusing its memory. Throws `Error` if there is no such line, it is not
  /// as it should be, or the file has changed.
  void read(std::size_t i, JsonlLine& out) const { state_->read(i, out); }
  JsonlLine operator[](std::size_t i) const {
    JsonlLine out;
    read(i, out);
    return out;
  }

 private:
  struct State {
    io::detail::InputFile file;
    struct stat status {};
    std::vector<std::uint64_t> begins;  ///< of each line, in bytes; and the end of the file
    JsonlKind kind = JsonlKind::text;   ///< the first line's

    explicit State(const std::string& p) : file(p), status(file.status_now()) {
      calm::detail::require(status.st_size > 0, [&] {
        return "calm::text: " + p + ": expected at least one line, " + std::string(detail::jsonl_shapes) +
               ", found an empty file";
      });
    }

    const std::string& path() const { return file.path(); }

    void require_unchanged() const {
      const struct stat now = file.status_now();
      calm::detail::require(now.st_size == status.st_size && now.st_mtim.tv_sec == status.st_mtim.tv_sec &&
                                now.st_mtim.tv_nsec == status.st_mtim.tv_nsec,
                            [&] {
                              return "calm::text: " + path() + ": expected " + std::to_string(status.st_size) +
                                     " bytes as when it was opened, found a file written to since (" +
                                     std::to_string(now.st_size) + " bytes); open it again";
                            });
    }

    void require_short(std::size_t bytes, std::size_t i) const {
      if (bytes > max_jsonl_line_bytes)
        detail::fail_line({path(), i + 1}, "expected a line of at most " + std::to_string(max_jsonl_line_bytes) +
                                               " bytes, found a longer one; write one object per line");
    }

    void parse(std::string_view bytes, std::size_t i, JsonlLine& out) const {
      const JsonlPlace place{path(), i + 1};
      parse_jsonl_line(bytes, place, out);
      if (i > 0 && out.kind != kind)
        detail::fail_line(place, std::string("found ") + shape(out.kind) + ", but line 1 is " + shape(kind) +
                                     "; put the two kinds into two files");
    }

    static const char* shape(JsonlKind k) {
      return k == JsonlKind::text   ? R"({"text": ...})"
             : k == JsonlKind::pair ? R"({"prompt": ..., "completion": ...})"
                                    : R"({"messages": [...]})";
    }

    /// One pass in pieces: finds the lines and, if told, reads them; the first one always.
    void index(const JsonlOptions& options) {
      const auto size = static_cast<std::uint64_t>(status.st_size);
      std::string piece(std::min<std::uint64_t>(size, std::uint64_t{1} << 20), '\0');
      std::string carried;  // the beginning of a line whose end is in a later piece
      JsonlLine line;
      begins.push_back(0);
      const auto finish_line = [&](std::string_view rest, std::uint64_t next) {
        const std::size_t i = begins.size() - 1;
        if (options.check || i == 0) {
          if (!carried.empty()) rest = carried.append(rest);
          parse(rest, i, line);
          if (i == 0) kind = line.kind;
          carried.clear();
        }
        begins.push_back(next);
      };
      for (std::uint64_t offset = 0; offset < size; offset += piece.size()) {
        piece.resize(std::min<std::uint64_t>(piece.size(), size - offset));
        file.read(offset, piece.data(), piece.size());
        std::string_view left = piece;
        for (std::size_t end; (end = left.find('\n')) != std::string_view::npos; left.remove_prefix(end + 1))
          finish_line(left.substr(0, end), offset + static_cast<std::size_t>(left.data() - piece.data()) + end + 1);
        if (options.check || begins.size() == 1) {
          require_short(carried.size() + left.size(), begins.size() - 1);
          carried.append(left);
        }
      }
      if (begins.back() < size) finish_line({}, size);  // no newline at the end of the file
      begins.shrink_to_fit();
      require_unchanged();
    }

    void read(std::size_t i, JsonlLine& out) const {
      calm::detail::require(i < begins.size() - 1, [&] {
        return "calm::text: " + path() + ": expected a line below " + std::to_string(begins.size() - 1) +
               ", counted from 0, found " + std::to_string(i);
      });
      require_unchanged();
      require_short(begins[i + 1] - begins[i], i);
      std::string bytes(begins[i + 1] - begins[i], '\0');
      file.read(begins[i], bytes.data(), bytes.size());
      if (bytes.back() == '\n') bytes.pop_back();
      parse(bytes, i, out);
    }
  };

  explicit Jsonl(std::shared_ptr<State> state) : state_(std::move(state)) {}

  std::shared_ptr<State> state_;
};

}  // namespace calm::text
