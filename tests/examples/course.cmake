# cmake -D PROGRAM=program -D SOURCE=file.cpp -D DATA=folder -P course.cmake
#
# PROGRAM must succeed, and every REGEX of the lines `// prints: REGEX` of SOURCE must match what it prints. DATA is the
# folder of real data, unless CALM_TEST_DATA names one.

file(STRINGS ${SOURCE} expected REGEX "^// prints: ")
if(NOT expected)
  message(FATAL_ERROR "${SOURCE} does not say what it prints; it needs a line “// prints: REGEX”")
endif()

if(NOT DEFINED ENV{CALM_TEST_DATA})
  set(ENV{CALM_TEST_DATA} ${DATA})
endif()
execute_process(COMMAND ${PROGRAM} RESULT_VARIABLE status OUTPUT_VARIABLE printed ERROR_VARIABLE printed)
message(NOTICE "${printed}")
if(status)
  message(FATAL_ERROR "It ends with ${status}")
endif()
if(printed MATCHES "^skipped: ")
  return()
endif()
foreach(line IN LISTS expected)
  string(REGEX REPLACE "^// prints: " "" regex "${line}")
  string(REPLACE [[\n]] "\n" regex "${regex}")
  string(REPLACE [[\t]] "\t" regex "${regex}")
  if(NOT printed MATCHES "${regex}")
    message(FATAL_ERROR "What it prints does not match “${regex}”")
  endif()
endforeach()
