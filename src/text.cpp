#include "calm/text/tokenizer/load.ipp"
