/// \file  The protocol of bench/peers/run: one word a line comes in, one line goes out.
#pragma once

#include <chrono>
#include <ctime>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <string>

namespace bench {

/// The most MiB that this process ever held.
inline long peak_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stol(line.substr(6)) / 1024;
  }
  return 0;
}

/// Time since it was made.
class Stopwatch {
 public:
  struct Taken {
    double seconds, busy;  ///< busy: processor seconds of all threads
  };
  Taken read() const {
    const double busy = static_cast<double>(std::clock() - processor_) / CLOCKS_PER_SEC;
    return {std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(), busy};
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::clock_t processor_ = std::clock();
};

/// What a job returns: a number on which both halves must agree, and what it took, if it timed itself.
struct Answer {
  Answer(double result) : number(result) {}
  Answer(double result, Stopwatch::Taken time) : number(result), taken(time) {}
  double number;
  std::optional<Stopwatch::Taken> taken{};
};

/// Answers the name of a job by seconds, processor seconds of all threads, and the job's number; "peak" by `peak_mib`.
inline void serve(const std::map<std::string, std::function<Answer()>>& jobs) {
  std::cout << "ready" << std::endl;
  for (std::string word; std::cin >> word;) {
    if (word == "peak") {
      std::cout << peak_mib() << std::endl;
      continue;
    }
    const Stopwatch watch;
    const Answer answer = jobs.at(word)();
    const auto [seconds, busy] = answer.taken.value_or(watch.read());
    std::cout << seconds << ' ' << busy << ' ' << answer.number << std::endl;
  }
}

}  // namespace bench
