#include "commands.hpp"

namespace kv {

void run_paper_scale(const std::string& command, const Settings& settings) {
  run_scale<Scale<25'000, 5, 3, 6>>(command, settings);
}

}  // namespace kv
