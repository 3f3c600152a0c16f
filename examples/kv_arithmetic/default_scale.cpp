#include "commands.hpp"

namespace kv {

void run_default_scale(const std::string& command, const Settings& settings, std::size_t shown) {
  run_scale<Scale<1000, 3, 2, 2>>(command, settings, shown);
}

}  // namespace kv
