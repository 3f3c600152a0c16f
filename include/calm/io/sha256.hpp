/// \file  SHA-256 (FIPS 180-4), by libcrypto.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string>

#include "calm/tensor/error.hpp"

namespace calm::io {

/// The 256 bits of a digest.
using Digest = std::array<unsigned char, 32>;

/// A digest in progress.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    check(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  }

  /// Takes `bytes` more bytes in.
  void update(const void* data, std::size_t bytes) {
    check(!finished_ && EVP_DigestUpdate(context_.get(), data, bytes) == 1);
  }

  /// Ends the digest. Call once; nothing can be added afterwards.
  Digest finish() {
    Digest digest{};
    check(!finished_ && EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
    finished_ = true;
    return digest;
  }
  /// The same in 64 hexadecimal digits.
  std::string hex() {
    std::string text;
    for (const unsigned char byte : finish()) {
      text += "0123456789abcdef"[byte >> 4];
      text += "0123456789abcdef"[byte & 15];
    }
    return text;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };

  void check(bool ok) const {
    calm::detail::require(ok, [&] {
      return std::string("calm::io::Sha256: ") +
             (finished_ ? "the digest is finished; make another" : "libcrypto refuses SHA-256; check its installation");
    });
  }

  std::unique_ptr<EVP_MD_CTX, Free> context_;
  bool finished_ = false;
};

/// The digest of `bytes` bytes.
inline Digest sha256(const void* data, std::size_t bytes) {
  Sha256 digest;
  digest.update(data, bytes);
  return digest.finish();
}

}  // namespace calm::io
