# cmake -D PROGRAM=… -D AREA=… -D OUTPUT=file.cmake -P discover.cmake
#
# Writes the CTest entries of a Catch2 program, one per test case. (Catch's own script splits names at semicolons.)

execute_process(COMMAND ${PROGRAM} --list-test-names-only OUTPUT_VARIABLE names RESULT_VARIABLE count)
if(NOT count MATCHES "^[0-9]+$")
  message(FATAL_ERROR "${PROGRAM} cannot list its tests: ${count}")
endif()

set(script "")
while(names MATCHES "^([^\n]+)\n(.*)$")
  set(name "${CMAKE_MATCH_1}")
  set(names "${CMAKE_MATCH_2}")
  string(REGEX REPLACE "([][,\"\\])" "\\\\\\1" spec "${name}")
  # A name that Catch cannot find again would pass without running anything: -w NoTests makes it fail.
  string(APPEND script "add_test([==[${AREA}:${name}]==] [==[${PROGRAM}]==] [==[${spec}]==] -w NoTests)\n"
    "set_tests_properties([==[${AREA}:${name}]==] PROPERTIES LABELS ${AREA} TIMEOUT 300)\n")
endwhile()
file(WRITE ${OUTPUT} "${script}")
