/// \file  Which instructions this processor has beyond those that the program is compiled for.
///
/// Kernels that gain from them stand in files that `each_set.hpp` includes once for each set; `with_instructions`
/// chooses when they run.
#pragma once

#include <type_traits>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace calm::kernel {

/// The sets, each with all before it: the program's own; AVX2 and FMA; AVX-512; products of bf16 (AVX512_BF16,
/// FEAT_BF16).
enum class Instructions { native, avx2, avx512, bf16 };

namespace detail {

inline Instructions find_instructions() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    return __builtin_cpu_supports("avx512bf16") ? Instructions::bf16 : Instructions::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Instructions::avx2;
#elif defined(__aarch64__) && defined(__linux__)
  if (getauxval(AT_HWCAP2) & HWCAP2_BF16) return Instructions::bf16;
#endif
  return Instructions::native;
}

}  // namespace detail

/// The widest set of this processor. Tests make it less; that of the program is used at least.
inline Instructions& instructions() {
  static Instructions found = detail::find_instructions();
  return found;
}

// The sets of kernels by name. `native` is what the program is compiled for: the widest that it has anyway.
#if defined(__AVX512F__)
namespace avx512 {}
namespace avx2 = avx512;
namespace native = avx512;
#elif defined(__AVX2__) && defined(__FMA__)
namespace avx2 {}
namespace native = avx2;
#else
namespace native {}
#if !defined(__x86_64__)
namespace avx512 = native;
namespace avx2 = native;
#endif
#endif

/// f(set), the set being of the widest of the three types whose instructions there are.
template <class Native, class Avx2, class Avx512, class F>
decltype(auto) with_instructions(const F& f) {
  if constexpr (!std::is_same_v<Avx512, Native>) {
    if (instructions() >= Instructions::avx512) return f(Avx512{});
  }
  if constexpr (!std::is_same_v<Avx2, Native> && !std::is_same_v<Avx2, Avx512>) {
    if (instructions() >= Instructions::avx2) return f(Avx2{});
  }
  return f(Native{});
}

}  // namespace calm::kernel
