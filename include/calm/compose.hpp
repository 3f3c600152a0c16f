/// \file  Composition: layer maps, bridges, Compose, its file, and what shows the inside of it.
#pragma once

#include "calm/compose/ablation.hpp"
#include "calm/compose/attention_weights.hpp"
#include "calm/compose/bridge_file.hpp"
#include "calm/compose/compose.hpp"
#include "calm/compose/cost.hpp"
#include "calm/compose/graft.hpp"
#include "calm/compose/heat_map.hpp"
#include "calm/compose/inspect.hpp"
#include "calm/compose/join_softmax.hpp"
#include "calm/compose/layer_map.hpp"
#include "calm/compose/link_place.hpp"
#include "calm/compose/two_way.hpp"
