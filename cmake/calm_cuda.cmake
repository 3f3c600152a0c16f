# calm::cuda, which programs that name calm::Cuda link beside calm::calm, where the CUDA toolkit is found:
#
#   find_package(calm REQUIRED COMPONENTS cuda)
#   target_link_libraries(my_program PRIVATE calm::calm calm::cuda)
#
# Their sources stay C++, and nvcc compiles one file of calm's, once per build, for the GPUs of CALM_CUDA_ARCHITECTURES
# (an architecture as nvcc names it, without "sm_"). Without the toolkit there is no such target.

set(CALM_CUDA_ARCHITECTURES 80 90a CACHE STRING "GPUs that calm's kernels are compiled for")

# calm_define_cuda(<include folder of calm> [options of nvcc...])
function(calm_define_cuda include_dir)
  find_package(CUDAToolkit 12.1 QUIET)  # launches carry more than 4 KiB
  if(NOT CUDAToolkit_FOUND OR NOT CUDAToolkit_NVCC_EXECUTABLE OR TARGET calm_cuda)
    return()
  endif()
  set(source ${include_dir}/calm/tensor/cuda/calm_cuda.cu)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/calm_cuda.o)
  set(architectures)
  foreach(architecture IN LISTS CALM_CUDA_ARCHITECTURES)
    list(APPEND architectures -gencode arch=compute_${architecture},code=sm_${architecture})
  endforeach()
  set(compiler)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    set(compiler -ccbin ${CMAKE_CXX_COMPILER})
  endif()
  add_custom_command(OUTPUT ${object} DEPENDS ${source} DEPFILE ${object}.d VERBATIM
    COMMAND ${CUDAToolkit_NVCC_EXECUTABLE} -std=c++20 -O3 --expt-relaxed-constexpr --threads 2 -DCALM_CUDA
      ${architectures} ${compiler} ${ARGN} -I${include_dir} -MD -MF ${object}.d -c ${source} -o ${object}
    COMMENT "Compiling calm's kernels for the GPUs ${CALM_CUDA_ARCHITECTURES}")
  add_custom_target(calm_cuda_object DEPENDS ${object})
  add_library(calm_cuda INTERFACE)
  add_library(calm::cuda ALIAS calm_cuda)
  add_dependencies(calm_cuda calm_cuda_object)
  target_compile_definitions(calm_cuda INTERFACE CALM_CUDA)
  target_link_libraries(calm_cuda INTERFACE ${object} CUDA::cublasLt CUDA::cudart_static)
endfunction()
