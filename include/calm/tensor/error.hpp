/// \file  The one exception of the library.
#pragma once

#include <stdexcept>
#include <string>

namespace calm {

/// Thrown for what only the run can know: files, data, memory. The text names the thing, what was expected, what was
/// found and, where there is a remedy, what to do.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace detail {

/// Throws `Error` unless `ok`; the message is built only on failure.
template <class Message>
void require(bool ok, Message&& message) {
  if (!ok) [[unlikely]]
    throw Error(message());
}

}  // namespace detail
}  // namespace calm
