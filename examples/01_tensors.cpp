/// \file  Lesson 1, tensors: every axis is a type, so the compiler knows what each number stands for.
#include <iostream>

#include <calm/tensor/ops/arithmetic.hpp>
#include <calm/tensor/ops/linear.hpp>
#include <calm/tensor/ops/reduce.hpp>

namespace {

// An axis says its extent: a number, or `dynamic` where only the run can know it.
struct Day { static constexpr std::size_t extent = calm::dynamic; };
struct City { static constexpr std::size_t extent = 3; };
struct Region { static constexpr std::size_t extent = 2; };
struct Planet { static constexpr std::size_t extent = 3; };  // as many as cities, and something else

template <class... Axes>
using Table = calm::Tensor<float, calm::Cpu, Axes...>;

template <class T>
void print(const char* name, const T& table) {
  const std::size_t columns = T::rank == 1 ? table.size() : table.extent(T::rank - 1);
  std::cout << name << '\n';
  for (std::size_t i = 0; i < table.size(); ++i) std::cout << table[i] << ((i + 1) % columns == 0 ? '\n' : '\t');
}

}  // namespace

int main() {
  // Only the dynamic extents are said. The last axis is the densest: one day's cities lie side by side.
  const auto temperature = Table<Day, City>::from(calm::Shape<Day, City>(4), {11, 16, 30,  //
                                                                              13, 18, 31,  //
                                                                              10, 14, 32,  //
                                                                              14, 20, 27});
  print("temperature [Day, City]", temperature);

  // A reduction names the axis that it removes; what is left is in the type of the result.
  const Table<City> of_city = calm::mean<Day>(temperature);
  const Table<Day> of_day = calm::mean<City>(temperature);
  print("mean<Day> [City]", of_city);
  print("mean<City> [Day]", of_day);

  // A table of the last axis alone is added to every row.
  const Table<Day, City> deviation = temperature + calm::scale(of_city, -1);
  print("deviation [Day, City]", deviation);

  // A matrix product finds the axis that both have, and puts the other one in its place.
  const auto share = Table<Region, City>::from({}, {0.5f, 0.5f, 0,  //
                                                    0, 0, 1});
  const Table<Day, Region> regional = calm::linear(temperature, share);
  print("linear [Day, Region]", regional);

  // What does not fit does not compile, whatever the extents; concepts ask without an error.
  static_assert(calm::Multipliable<Table<Day, City>, Table<Region, City>>);
  static_assert(!calm::Multipliable<Table<Day, Planet>, Table<Region, City>>);
  static_assert(!calm::Broadcastable<Table<Day, City>, Table<Planet>>);
  static_assert(sizeof(Table<Region, City>) == 2 * sizeof(void*), "extents in the type take no memory");

  // What only the run can know is checked in the run.
  try {
    temperature + Table<Day, City>::zeros(calm::Shape<Day, City>(5));
  } catch (const calm::Error& error) {
    std::cout << error.what() << '\n';
  }

  // A copy shares the memory, and nobody writes to what is shared; a clone is on its own.
  Table<Day, City> copy = temperature, clone = temperature.clone();
  clone.mutable_data()[0] = 99;
  std::cout << "first of temperature: " << temperature[0] << ", of its clone: " << clone[0] << '\n';
  try {
    copy.mutable_data();
  } catch (const calm::Error& error) {
    std::cout << error.what() << '\n';
  }
}
// prints: mean<Day> .City.\n12\t17\t30\n
// prints: deviation .Day, City.\n-1\t-1\t0\n1\t1\t1\n
// prints: linear .Day, Region.\n13.5\t30\n
// prints: dynamic extents differ: 12 and 15 elements
// prints: of temperature: 11, of its clone: 99
// prints: the memory is shared with another handle
