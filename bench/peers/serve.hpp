/// \file  The protocol of bench/peers/run: one word a line comes in, one line goes out.
#pragma once

#include <chrono>
#include <ctime>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
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

/// Answers the name of a job by seconds, processor seconds of all threads, and the number that the job returns, on
/// which both halves must agree; "peak" by `peak_mib`.
inline void serve(const std::map<std::string, std::function<double()>>& jobs) {
  std::cout << "ready" << std::endl;
  for (std::string word; std::cin >> word;) {
    if (word == "peak") {
      std::cout << peak_mib() << std::endl;
      continue;
    }
    const auto begin = std::chrono::steady_clock::now();
    const std::clock_t processor = std::clock();
    const double number = jobs.at(word)();
    const double busy = static_cast<double>(std::clock() - processor) / CLOCKS_PER_SEC;
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin;
    std::cout << wall.count() << ' ' << busy << ' ' << number << std::endl;
  }
}

}  // namespace bench
