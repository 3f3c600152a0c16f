/// \file  Where the GPU's time goes, by kernel.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace calm::cuda {

/// What one kernel took, all its launches together.
struct ProfileLine {
  std::string kernel;  ///< a product by its extents
  std::size_t launches = 0;
  double milliseconds = 0;
};

/// From now on the time between one launch and the next is kept; launches that are recorded or beside are not.
void start_profile();
/// What was kept, the longest first. The time in which the device waits for the host counts for the kernel behind it.
std::vector<ProfileLine> end_profile();

}  // namespace calm::cuda
