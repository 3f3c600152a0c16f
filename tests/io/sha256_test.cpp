#include "calm/io/sha256.hpp"

#include <string>

#include <catch2/catch.hpp>

using calm::io::Sha256;

namespace {

std::string digest_of(const std::string& text) {
  Sha256 digest;
  digest.update(text.data(), text.size());
  return digest.hex();
}

}  // namespace

// The examples of FIPS 180-4 and of NIST's SHA-256 validation vectors.
TEST_CASE("SHA-256 gives the known answers") {
  CHECK(digest_of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(digest_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(digest_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(digest_of("\xd3") == "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1");
  CHECK(digest_of(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 does not depend on how the bytes are cut") {
  Sha256 digest;
  for (int i = 0; i < 1'000; ++i) digest.update(std::string(1'000, 'a').data(), 1'000);
  CHECK(digest.hex() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  CHECK_THROWS_WITH(digest.update("a", 1), Catch::Contains("the digest is finished"));
  CHECK_THROWS_WITH(digest.hex(), Catch::Contains("the digest is finished"));
  CHECK(calm::io::sha256("abcd", 3)[0] == 0xba);
}
