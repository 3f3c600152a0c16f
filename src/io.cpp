#include "calm/io/safetensors.ipp"
#include "calm/io/safetensors_header.ipp"
