#include "bridges.hpp"

namespace kv {
namespace {

template <class... Link>
BridgeRow linked(const std::string& group, const std::string& name) {
  return bridge_row<calm::bridge::Local, calm::LayerMap<Link...>>(group, name);
}

}  // namespace

// Blocks 0 to 2 of the augment, 0 to 3 of the anchor; one link 2 > 0 is the default.
std::vector<BridgeRow> places() {
  using calm::Link;
  return {linked<Link<2, 1>>("place", "middle (2 > 1)"),
          linked<Link<2, 3>>("place", "last (2 > 3)"),
          linked<Link<2, 0>, Link<2, 1>>("links", "2 links"),
          linked<Link<2, 0>, Link<2, 1>, Link<2, 2>>("links", "3 links"),
          linked<Link<2, 0>, Link<2, 1>, Link<2, 2>, Link<2, 3>>("links", "4 links"),
          linked<Link<1, 0>, Link<2, 0>, Link<2, 1>, Link<2, 2>, Link<2, 3>>("links", "5 links"),
          linked<Link<1, 0>, Link<2, 0>, Link<1, 1>, Link<2, 1>, Link<2, 2>, Link<2, 3>>("links", "6 links")};
}

}  // namespace kv
