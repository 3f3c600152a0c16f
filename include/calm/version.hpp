/// \file  The version of the library; the build reads it from here.
#pragma once

#define CALM_VERSION_MAJOR 0
#define CALM_VERSION_MINOR 1
#define CALM_VERSION_PATCH 0

namespace calm {

inline constexpr const char* version = "0.1.0";

}  // namespace calm
