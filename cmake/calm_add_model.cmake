# calm_add_model(<Name> DIRECTORY <folder> [HEADER <file.hpp>])
#
# Makes the target <Name>, which brings the header with `struct <Name>`, the specification of the model in the Hugging
# Face directory <folder>. The header is written by calm-spec, and again whenever the folder's config.json changes:
#
#   calm_add_model(Gemma2B DIRECTORY models/gemma-2b)
#   target_link_libraries(my_program PRIVATE calm::calm Gemma2B)     # #include "gemma_2b.hpp"
#
# HEADER is the folder's name in lower case, with '_' for what a name may not hold, if it is not given.
function(calm_add_model name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "DIRECTORY;HEADER" "")
  if(NOT arg_DIRECTORY OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "calm_add_model: expected calm_add_model(<Name> DIRECTORY <folder> [HEADER <file.hpp>])")
  endif()
  if(NOT TARGET calm::calm-spec)
    message(FATAL_ERROR "calm_add_model: calm was configured without calm-spec; install CLI11 and configure calm again")
  endif()
  cmake_path(ABSOLUTE_PATH arg_DIRECTORY NORMALIZE)
  set(config ${arg_DIRECTORY}/config.json)
  cmake_path(GET config PARENT_PATH folder)  # without a slash at its end
  if(NOT EXISTS ${config})
    message(FATAL_ERROR "calm_add_model: ${config} is not there; expected a folder as save_pretrained writes it")
  endif()
  if(NOT arg_HEADER)
    cmake_path(GET folder FILENAME arg_HEADER)
    string(TOLOWER ${arg_HEADER} arg_HEADER)
    string(REGEX REPLACE "[^a-z0-9]+" "_" arg_HEADER ${arg_HEADER})
    string(APPEND arg_HEADER .hpp)
  endif()

  set(include_dir ${CMAKE_CURRENT_BINARY_DIR}/calm_models/${name})
  set(header ${include_dir}/${arg_HEADER})
  file(MAKE_DIRECTORY ${include_dir})
  add_custom_command(OUTPUT ${header} VERBATIM
    COMMAND calm::calm-spec ${folder} --name ${name} --output ${header}
    DEPENDS ${config} calm::calm-spec
    COMMENT "Writing ${arg_HEADER} from ${config}")
  add_custom_target(${name}_header DEPENDS ${header})
  add_library(${name} INTERFACE)
  add_dependencies(${name} ${name}_header)
  target_include_directories(${name} INTERFACE ${include_dir})
  target_link_libraries(${name} INTERFACE calm::calm)
endfunction()
