#include "calm/train/progress.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include <catch2/catch.hpp>

using calm::train::Progress;

namespace {

/// A terminal of the test's own: what is written to `slave` is read from `master`.
struct Terminal {
  int master = ::posix_openpt(O_RDWR | O_NOCTTY);
  int slave = -1;

  Terminal() {
    if (master >= 0 && ::grantpt(master) == 0 && ::unlockpt(master) == 0)
      slave = ::open(::ptsname(master), O_RDWR | O_NOCTTY);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() {
    if (slave >= 0) ::close(slave);
    if (master >= 0) ::close(master);
  }

  std::string read() const {
    std::array<char, 4096> buffer{};
    ::fcntl(master, F_SETFL, O_NONBLOCK);
    const ssize_t n = ::read(master, buffer.data(), buffer.size());
    return {buffer.data(), static_cast<std::size_t>(n > 0 ? n : 0)};
  }
};

}  // namespace

TEST_CASE("the progress line shows steps, loss, rate and time left") {
  const Terminal terminal;
  REQUIRE(terminal.slave >= 0);
  Progress progress("anchor", 5000, true, terminal.slave);
  progress.update(1200, 1.23456, 45'310);
  progress.update(1201, 9.0, 1.0);  // too soon after the first
  progress.update(1202, 9.0, 1.0);
  CHECK(terminal.read() == "\ranchor  1200/5000 (24%)  loss 1.2346  45.3k tokens/s  left -\033[K");
  progress.update(5000, 0.5, 2e6);  // the last step is always shown
  progress.finish();
  progress.finish();
  CHECK(terminal.read() == "\ranchor  5000/5000 (100%)  loss 0.5000  2.0M tokens/s  left 0:00\033[K\r\n");
}

TEST_CASE("nothing is written where there is no terminal, or none is wanted") {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  {
    Progress progress("anchor", 10, true, ends[1]);
    progress.update(10, 1, 1);
  }
  ::close(ends[1]);
  char c = 0;
  CHECK(::read(ends[0], &c, 1) == 0);  // the end of the pipe, and nothing before it
  ::close(ends[0]);

  const Terminal terminal;
  Progress silent("anchor", 10, false, terminal.slave);
  silent.update(10, 1, 1);
  CHECK(terminal.read().empty());
}

TEST_CASE("times are written as people write them") {
  CHECK(std::string(calm::train::detail::clock_text(0).data()) == "0:00");
  CHECK(std::string(calm::train::detail::clock_text(123.4).data()) == "2:03");
  CHECK(std::string(calm::train::detail::clock_text(3723).data()) == "1:02:03");
  CHECK(std::string(calm::train::detail::clock_text(-1).data()) == "-");
  CHECK(std::string(calm::train::detail::clock_text(1e300).data()) == "-");
}
