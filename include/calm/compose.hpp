/// \file  Composition: layer maps, bridges, Compose, and its file.
#pragma once

#include "calm/compose/bridge_file.hpp"
#include "calm/compose/compose.hpp"
#include "calm/compose/cost.hpp"
#include "calm/compose/layer_map.hpp"
