/// \file  Models from Hugging Face directories.
#pragma once

#include "calm/io/hugging_face/config_fields.hpp"
#include "calm/io/hugging_face/model_config.hpp"
#include "calm/io/hugging_face/model_directory.hpp"
