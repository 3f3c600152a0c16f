#include "commands.hpp"

namespace kv {

void run_default_scale(const std::string& command, const Settings& settings) {
  run_scale<Scale<1000, 3, 2, 3>>(command, settings);
}

}  // namespace kv
