/// \file  Python's strftime, in English and UTC, as far as templates use it.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include "calm/text/chat_template/machine.hpp"

namespace calm::text::jinja {

/// A time by a format such as "%d %B %Y".
inline std::string format_time(Machine& machine, std::chrono::sys_seconds time, std::string_view format) {
  using namespace std::chrono;
  constexpr const char* months[] = {"January", "February", "March",     "April",   "May",      "June",
                                    "July",    "August",   "September", "October", "November", "December"};
  constexpr const char* days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
  const sys_days day = floor<std::chrono::days>(time);
  const year_month_day date(day);
  const hh_mm_ss clock(time - day);
  const std::string month = months[static_cast<unsigned>(date.month()) - 1];
  const std::string weekday = days[std::chrono::weekday(day).c_encoding()];
  const auto digits = [](long value, std::size_t width) {
    const std::string text = std::to_string(value);
    return std::string(width > text.size() ? width - text.size() : 0, '0') + text;
  };
  std::string out;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    switch (format[++i]) {
      case 'Y': out += digits(static_cast<int>(date.year()), 4); break;
      case 'y': out += digits(static_cast<int>(date.year()) % 100, 2); break;
      case 'm': out += digits(static_cast<unsigned>(date.month()), 2); break;
      case 'B': out += month; break;
      case 'b': out += month.substr(0, 3); break;
      case 'd': out += digits(static_cast<unsigned>(date.day()), 2); break;
      case 'A': out += weekday; break;
      case 'a': out += weekday.substr(0, 3); break;
      case 'H': out += digits(clock.hours().count(), 2); break;
      case 'M': out += digits(clock.minutes().count(), 2); break;
      case 'S': out += digits(clock.seconds().count(), 2); break;
      case '%': out += '%'; break;
      default: machine.unsupported("'strftime_now' with " + shown(format.substr(i - 1, 2)));
    }
  }
  return out;
}

}  // namespace calm::text::jinja
