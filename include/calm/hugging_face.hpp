/// \file  Directories of the Hugging Face ecosystem: models, generation_config.json, bridge folders, those
/// of google-deepmind/calm. Apart from calm.hpp, since reading JSON costs half a second of each program's compilation.
#pragma once

#include "calm/compose/bridge_directory.hpp"
#include "calm/compose/deepmind_import.hpp"
#include "calm/generate/generation_config.hpp"
#include "calm/io/hugging_face.hpp"
