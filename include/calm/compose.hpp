/// \file  Composition: layer maps, bridges, Compose, and its file.
#pragma once

#include "calm/compose/bridge_file.hpp"
#include "calm/compose/compose.hpp"
#include "calm/compose/cost.hpp"
#include "calm/compose/graft.hpp"
#include "calm/compose/join_softmax.hpp"
#include "calm/compose/layer_map.hpp"
#include "calm/compose/two_way.hpp"
