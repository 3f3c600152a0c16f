# cmake -D CASE=find_package|add_subdirectory -D PROJECT=calm's sources -D BUILD=calm's build -D COMPILER=… -D WORK=dir
#       -P check.cmake
#
# Builds and runs the project CASE beside this file, as somebody who uses calm would.

set(source ${CMAKE_CURRENT_LIST_DIR}/${CASE})
file(REMOVE_RECURSE ${WORK})
set(options -DMODEL=${PROJECT}/tests/fixtures/families/llama-b -DCMAKE_CXX_COMPILER=${COMPILER}
  -DCMAKE_BUILD_TYPE=Debug)
if(CASE STREQUAL find_package)
  execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix
    OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
  list(APPEND options -DCMAKE_PREFIX_PATH=${WORK}/prefix)
else()
  list(APPEND options -DCALM_SOURCE=${PROJECT})
endif()
execute_process(COMMAND ${CMAKE_COMMAND} -S ${source} -B ${WORK}/build -G Ninja ${options} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${WORK}/build COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${WORK}/build/consumer COMMAND_ERROR_IS_FATAL ANY)
