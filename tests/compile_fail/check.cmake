# cmake -D COMPILER=… -D FLAGS=file -D LIMIT=lines -D SOURCE=file.cpp -P check.cmake
#
# SOURCE must compile as it is. If it has lines `// error: REGEX`, it must not compile with CALM_MUST_NOT_COMPILE
# defined; then every REGEX must match what the compiler says, within LIMIT lines.

set(command ${COMPILER} @${FLAGS} -fsyntax-only)

execute_process(COMMAND ${command} ${SOURCE} RESULT_VARIABLE status ERROR_VARIABLE diagnostic)
if(status)
  message(NOTICE "${diagnostic}")
  message(FATAL_ERROR "The program itself must compile, and does not")
endif()

file(STRINGS ${SOURCE} expected REGEX "^// error: ")
if(NOT expected)
  return()
endif()

execute_process(COMMAND ${command} -DCALM_MUST_NOT_COMPILE ${SOURCE} RESULT_VARIABLE status ERROR_VARIABLE diagnostic)
if(NOT status)
  message(FATAL_ERROR "It compiles with CALM_MUST_NOT_COMPILE, and must not")
endif()
string(REGEX MATCHALL "\n" newlines "${diagnostic}")
list(LENGTH newlines lines)
message(NOTICE "${diagnostic}-- ${lines} lines")
foreach(line IN LISTS expected)
  string(REGEX REPLACE "^// error: " "" regex "${line}")
  if(NOT diagnostic MATCHES "${regex}")
    message(FATAL_ERROR "The diagnostic does not match “${regex}”")
  endif()
endforeach()
if(lines GREATER LIMIT)
  message(FATAL_ERROR "The diagnostic is ${lines} lines long; ${LIMIT} are allowed")
endif()
