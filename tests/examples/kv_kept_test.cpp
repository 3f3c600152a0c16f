#include "examples/kv_arithmetic/kept.hpp"

#include <fstream>
#include <string>

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"

namespace {

using namespace kv;

TEST_CASE("a --retrain that is repeated after an interruption makes only what it had not made, and then begins anew") {
  const calm::test::TemporaryFolder folder;
  Settings settings;
  settings.bases = settings.out = folder / "";
  const std::string first = folder / "first.safetensors", second = folder / "second.safetensors";
  CHECK_FALSE(is_kept(settings, first));
  for (const std::string& file : {first, second}) std::ofstream(file) << "of before";
  CHECK(is_kept(settings, first));

  settings.retrain = true;
  CHECK_FALSE(is_kept(settings, first));
  keep(settings, first);  // then the interruption
  CHECK(is_kept(settings, first));
  CHECK_FALSE(is_kept(settings, second));
  keep(settings, second);
  forget_marks(settings);
  CHECK_FALSE(is_kept(settings, first));
  CHECK_FALSE(is_kept(settings, second));

  settings.retrain = false;
  keep(settings, first);  // leaves no mark
  settings.retrain = true;
  CHECK_FALSE(is_kept(settings, first));
}

}  // namespace
