/// \file  Training: examples, AdamW, schedules, the loop.
#pragma once

#include "calm/train/adamw.hpp"
#include "calm/train/batch.hpp"
#include "calm/train/fit.hpp"
#include "calm/train/schedule.hpp"
