#include "commands.hpp"

namespace kv {

void run_default_scale(const std::string& command, const Settings& settings) {
  run_scale<DefaultScale>(command, settings);
}

}  // namespace kv
