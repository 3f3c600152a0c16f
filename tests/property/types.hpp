/// \file  What the generated sources and the properties know of each other.
#pragma once

#include <cstdint>
#include <memory>

#include "compose/subject.hpp"

namespace calm::test {

/// A fresh composition of one type, with bases of `seed`.
using MakeSubject = std::unique_ptr<Subject> (*)(std::uint64_t seed);

/// Puts one random composition through everything that compositions owe, with `runs_per_type` draws of bases, bridges,
/// texts, their arrangement and the links' factors.
void check_type(std::uint64_t type, MakeSubject make);

/// At least 520 configurations in all, whatever the number of types.
inline constexpr std::uint64_t runs_per_type = (520 + CALM_PROPERTY_TYPES - 1) / CALM_PROPERTY_TYPES;

}  // namespace calm::test
