# What calm's own programs (tests, examples, benchmarks) share, and no consumer gets.

set(calm_warnings -Wall -Wextra -Wconversion -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 takes the undefined operands of its own AVX-512 intrinsics for mistakes (GCC bug 105593).
  list(APPEND calm_warnings -Wno-uninitialized -Wno-maybe-uninitialized)
endif()

if(PROJECT_IS_TOP_LEVEL)
  # g++ collects garbage less often: a tenth less time for up to half more memory, at most 1 GB a compiler.
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-heapsize=1000000>)
  find_program(CALM_CCACHE ccache)
  if(CALM_CCACHE)
    # Precompiled headers are compared by content, not by time.
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CALM_CCACHE})
  endif()
endif()

# calm_own(<target>): links calm and sets our warnings and, with CALM_NATIVE, this processor's instructions.
function(calm_own target)
  target_link_libraries(${target} PRIVATE calm::calm)
  target_compile_options(${target} PRIVATE ${calm_warnings} $<$<BOOL:${CALM_NATIVE}>:-march=native>)
  if(CMAKE_CXX_COMPILER_ID MATCHES Clang AND CALM_CCACHE)
    target_compile_options(${target} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
  endif()
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
endfunction()
