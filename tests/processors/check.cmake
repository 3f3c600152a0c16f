# cmake -D NAME=aarch64|x86-64-v2 -D COMPILER=… -D EMULATOR=… -D PROCESSORS=… -D FLAGS=… -D INCLUDES=… -D TESTS=dir
#       -D PROGRAM=file -P check.cmake
#
# Compiles the tests of some kernels for a processor and runs them on PROCESSORS; `this` is the machine's own.

if(NOT COMPILER OR NOT EMULATOR)
  message("skipped: no compiler or no QEMU for ${NAME} (Debian: g++-aarch64-linux-gnu, qemu-user)")
  return()
endif()
if(NAME STREQUAL x86-64-v2)
  list(APPEND FLAGS -march=x86-64-v2)
endif()
list(TRANSFORM INCLUDES PREPEND -idirafter)  # behind the headers of the compiler's own system
set(sources ${TESTS}/main.cpp)
foreach(test few_rows packed attention_one math instructions)
  list(APPEND sources ${TESTS}/tensor/cpu/${test}_test.cpp)
endforeach()
set(objects)
foreach(source IN LISTS sources)
  cmake_path(GET source STEM name)
  execute_process(COMMAND ${COMPILER} -std=c++20 -O1 ${FLAGS} -I${TESTS} -I${TESTS}/../include ${INCLUDES}
    -c ${source} -o ${PROGRAM}_${name}.o COMMAND_ERROR_IS_FATAL ANY)
  list(APPEND objects ${PROGRAM}_${name}.o)
endforeach()
execute_process(COMMAND ${COMPILER} -static ${objects} -o ${PROGRAM} COMMAND_ERROR_IS_FATAL ANY)
set(tests)
foreach(processor IN LISTS PROCESSORS)
  message("on ${processor}")
  if(processor STREQUAL this)
    execute_process(COMMAND ${PROGRAM} ${tests} COMMAND_ERROR_IS_FATAL ANY)
  else()
    execute_process(COMMAND ${EMULATOR} -cpu ${processor} ${PROGRAM} ${tests} COMMAND_ERROR_IS_FATAL ANY)
  endif()
  set(tests [packed],[instructions])
endforeach()
