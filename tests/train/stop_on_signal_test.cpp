#include "calm/train/stop_on_signal.hpp"

#include <csignal>
#include <string>

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"
#include "train/small_runs.hpp"

using namespace calm;
using namespace calm::test;
using train::StopOnSignal;

namespace {

volatile std::sig_atomic_t heard = 0;

}  // namespace

TEST_CASE("a signal asks for a stop, and the handlers of before are back at the end") {
  const auto before = std::signal(SIGTERM, [](int) { heard = heard + 1; });
  {
    const StopOnSignal stop;
    const std::function<bool()> interrupted = stop;
    CHECK(!stop.asked());
    CHECK(!interrupted());
    std::raise(SIGTERM);
    CHECK(stop.asked());
    CHECK(interrupted());
    struct sigaction now {};
    ::sigaction(SIGTERM, nullptr, &now);
    CHECK(now.sa_handler == SIG_DFL);  // a second one ends the process
    {
      const StopOnSignal inner;  // of a library within, say
      CHECK(inner.asked());
      std::raise(SIGINT);
    }
    CHECK(stop.asked());
  }
  CHECK(heard == 0);
  std::raise(SIGTERM);
  CHECK(heard == 1);
  std::signal(SIGTERM, before);
  CHECK(!StopOnSignal().asked());  // a new one begins anew
  CHECK_THROWS_WITH(StopOnSignal({SIGTERM, SIGKILL}), Catch::Contains("signal 9 cannot be caught"));
}

TEST_CASE("a run that a signal stops is saved, and goes on to the same bits") {
  const TemporaryFolder folder;
  const auto straight = fresh<Composed>();
  test::fit(*straight, counting, twelve_steps());
  train::FitOptions options = twelve_steps();
  options.checkpoint = folder / "run";
  options.after_step = [](std::size_t step, double) {
    if (step == 5) std::raise(SIGTERM);
  };
  {
    const StopOnSignal stop;
    options.interrupted = stop;
    const auto half = test::fit(*fresh<Composed>(), counting, options);
    CHECK(half.steps == 5);
    CHECK(!half.finished);
  }
  options.after_step = {};
  options.interrupted = {};
  const auto resumed = fresh<Composed>();
  CHECK(test::fit(*resumed, counting, options).finished);
  CHECK(same_bits(parameters_of(*resumed), parameters_of(*straight)));
}
