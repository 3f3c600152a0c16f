#include "calm/train/run.ipp"
