/// \file  Training: examples, optimizers, schedules, the loop.
#pragma once

#include "calm/train/adafactor.hpp"
#include "calm/train/adamw.hpp"
#include "calm/train/batch.hpp"
#include "calm/train/evaluation.hpp"
#include "calm/train/fit.hpp"
#include "calm/train/schedule.hpp"
#include "calm/train/stop_on_signal.hpp"
