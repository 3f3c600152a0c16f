# cmake -D NM=… -D PROGRAM=… -D SOURCE=file.cpp -P check.cmake
#
# PROGRAM, compiled from SOURCE without optimisation, must run; none of its symbols may match a line `// absent: REGEX`
# of SOURCE, and some must match every line `// present: REGEX`. A `trainable_` program holds as present what its frozen
# counterparts hold as absent, so that no rule is empty words. [^\n] keeps a REGEX within one symbol.

execute_process(COMMAND ${PROGRAM} RESULT_VARIABLE status)
if(NOT status STREQUAL 0)
  message(FATAL_ERROR "The program fails: ${status}")
endif()

execute_process(COMMAND ${NM} -C ${PROGRAM} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE ";" "," symbols "${symbols}")
file(STRINGS ${SOURCE} rules REGEX "^// (absent|present): ")
foreach(rule IN LISTS rules)
  string(REGEX REPLACE "^// (absent|present): (.*)$" "\\2" regex "${rule}")
  string(REPLACE "\\n" "\n" regex "${regex}")
  if(rule MATCHES "^// absent" AND symbols MATCHES "(\n[^\n]*${regex}[^\n]*)")
    message(FATAL_ERROR "“${regex}” must not be in the program, and is:${CMAKE_MATCH_1}")
  elseif(rule MATCHES "^// present" AND NOT symbols MATCHES "${regex}")
    message(FATAL_ERROR "“${regex}” must be in the program, and is not")
  endif()
endforeach()
