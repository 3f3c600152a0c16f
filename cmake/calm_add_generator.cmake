# calm_add_generator(<name> DIRECTORY <folder> [DTYPE fp32|bf16])
#
# Makes the program <name>, which continues prompts with the model in the Hugging Face directory <folder>. Its matrices
# are held in DTYPE (fp32 if it is not given), all else in fp32:
#
#   calm_add_generator(tell DIRECTORY models/stories)
#   ./tell "Once upon a time" --temperature 0.8                      # ./tell --help says the rest
#
# It needs CLI11, and by calm::text PCRE2 and utf8proc where the tokenizer does.
if(EXISTS ${CMAKE_CURRENT_LIST_DIR}/tools/generate)
  set(calm_programs ${CMAKE_CURRENT_LIST_DIR})  # installed
else()
  cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH calm_programs)
endif()
set_property(GLOBAL PROPERTY calm_programs ${calm_programs})

# calm_program(<target> <source>): what calm's programs that are made for a model share.
function(calm_program target source)
  find_package(CLI11 REQUIRED)
  get_property(programs GLOBAL PROPERTY calm_programs)
  add_executable(${target} ${programs}/tools/${source})
  target_include_directories(${target} PRIVATE ${programs})
  target_link_libraries(${target} PRIVATE calm::calm calm::text CLI11::CLI11)
endfunction()

function(calm_add_generator name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "DIRECTORY;DTYPE" "")
  set(dtypes fp32 float bf16 calm::bf16)
  if(NOT arg_DTYPE)
    set(arg_DTYPE fp32)
  endif()
  list(FIND dtypes ${arg_DTYPE} at)
  if(NOT arg_DIRECTORY OR arg_UNPARSED_ARGUMENTS OR at EQUAL -1)
    message(FATAL_ERROR "calm_add_generator: expected calm_add_generator(<name> DIRECTORY <folder> [DTYPE fp32|bf16])")
  endif()
  math(EXPR at "${at} + 1")
  list(GET dtypes ${at} type)
  cmake_path(ABSOLUTE_PATH arg_DIRECTORY NORMALIZE)
  string(REGEX REPLACE "[^A-Za-z0-9]+" "_" model model_of_${name})
  calm_add_model(${model} DIRECTORY ${arg_DIRECTORY} HEADER ${model}.hpp)
  calm_program(${name} generate/main.cpp)
  target_link_libraries(${name} PRIVATE ${model})
  target_compile_definitions(${name} PRIVATE CALM_MODEL=${model} CALM_MODEL_HEADER="${model}.hpp"
    CALM_MODEL_DIRECTORY="${arg_DIRECTORY}" CALM_DTYPE=${type})
endfunction()
