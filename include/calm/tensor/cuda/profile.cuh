/// \file  Where the GPU's time goes: an event behind each launch.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "calm/tensor/cuda/device.cuh"
#include "calm/tensor/cuda/profile.hpp"

namespace calm::cuda {

inline cudaEvent_t event_now() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "cudaEventCreate");
  check(cudaEventRecord(event, Context::get().main), "cudaEventRecord");
  return event;
}

void start_profile() {
  Context& context = Context::get();
  synchronize();
  context.profile = std::make_unique<Context::Profile>();
  context.profile->emplace_back("", event_now());
}

void Context::mark(const std::string& kernel) {
  if (profile && !records && !on_side) profile->emplace_back(kernel, event_now());
}

std::vector<ProfileLine> end_profile() {
  const auto profile = std::exchange(Context::get().profile, nullptr);
  if (!profile) return {};
  synchronize();
  std::map<std::string, ProfileLine> by_kernel;
  for (std::size_t i = 1; i < profile->size(); ++i) {
    const auto& [kernel, event] = (*profile)[i];
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, (*profile)[i - 1].second, event), "cudaEventElapsedTime");
    ProfileLine& line = by_kernel[kernel];
    line.kernel = kernel;
    ++line.launches;
    line.milliseconds += static_cast<double>(milliseconds);
  }
  for (const auto& mark : *profile) cudaEventDestroy(mark.second);
  std::vector<ProfileLine> lines;
  for (const auto& entry : by_kernel) lines.push_back(entry.second);
  std::sort(lines.begin(), lines.end(),
            [](const ProfileLine& a, const ProfileLine& b) { return a.milliseconds > b.milliseconds; });
  return lines;
}

}  // namespace calm::cuda
