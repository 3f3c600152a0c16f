/// \file  The wire format of protocol buffers, as far as SentencePiece's models need it: fields one by one, bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "calm/tensor/error.hpp"

namespace calm::text::detail {

/// The fields of one message from the first to the last. It recurses into nothing and copies nothing.
class ProtobufReader {
 public:
  /// `place` is the file, for messages; `begin` the byte of the file at which `bytes` begin.
  ProtobufReader(std::string_view bytes, const std::string& place, std::size_t begin = 0)
      : bytes_(bytes), place_(place), begin_(begin) {}

  /// Goes to the next field; false behind the last.
  bool next() {
    if (at_ == bytes_.size()) return false;
    const std::uint64_t tag = varint();
    field_ = tag >> 3;
    kind_ = static_cast<unsigned>(tag & 7);
    if (field_ == 0 || field_ > 0x1FFFFFFF)
      fail("expected a field from 1 to 536870911, found " + std::to_string(field_));
    switch (kind_) {
      case 0: number_ = varint(); break;
      case 1: data_ = take(8); break;
      case 2: data_ = take(varint()); break;
      case 5: data_ = take(4); break;
      default: fail("expected a field of wire type 0, 1, 2 or 5, found " + std::to_string(kind_));
    }
    return true;
  }

  std::uint64_t field() const { return field_; }
  std::uint64_t number() const { return expect(0), number_; }
  std::string_view data() const { return expect(2), data_; }
  float fixed_float() const {
    expect(5);
    float out;
    std::memcpy(&out, data_.data(), 4);
    return out;
  }
  /// The message that the field holds.
  ProtobufReader message() const {
    return ProtobufReader(data(), place_, begin_ + static_cast<std::size_t>(data_.data() - bytes_.data()));
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error("calm::text: " + place_ + ": at byte " + std::to_string(begin_ + at_) + ": " + what +
                "; the file is damaged or is no SentencePiece model");
  }

 private:
  void expect(unsigned kind) const {
    if (kind_ != kind)
      fail("field " + std::to_string(field_) + ": expected wire type " + std::to_string(kind) + ", found " +
           std::to_string(kind_));
  }
  std::uint64_t varint() {
    std::uint64_t out = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      if (at_ == bytes_.size()) fail("expected a number, found the end");
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      if (shift == 63 && byte > 1) break;
      out |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return out;
    }
    fail("expected a number below 2^64, found a larger one");
  }
  std::string_view take(std::uint64_t n) {
    if (n > bytes_.size() - at_)
      fail("expected " + std::to_string(n) + " bytes, found " + std::to_string(bytes_.size() - at_));
    at_ += static_cast<std::size_t>(n);
    return bytes_.substr(at_ - static_cast<std::size_t>(n), static_cast<std::size_t>(n));
  }

  std::string_view bytes_;
  std::string place_;
  std::size_t begin_ = 0, at_ = 0;
  std::uint64_t field_ = 0, number_ = 0;
  unsigned kind_ = 0;
  std::string_view data_;
};

}  // namespace calm::text::detail
