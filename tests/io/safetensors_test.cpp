#include "calm/io/safetensors.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>

#include <catch2/catch.hpp>

#include "io/temporary_folder.hpp"
#include "support/axes.hpp"
#include "support/gradient_check.hpp"

using namespace calm;
using namespace calm::test;
using Catch::Contains;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// A file with one tensor of any dtype, its header `padding` bytes longer than it needs to be.
std::string write_raw(const TemporaryFolder& folder, const std::string& dtype, const std::string& shape,
                      const void* data, std::size_t bytes, std::size_t padding = 0) {
  const std::string header = R"({"x":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[0,)" +
                             std::to_string(bytes) + "]}}" + std::string(padding, ' ');
  const std::uint64_t n = header.size();
  std::string contents(8, '\0');
  std::memcpy(contents.data(), &n, 8);
  const std::string path = folder / "raw.safetensors";
  put_contents(path, contents + header + std::string(static_cast<const char*>(data), bytes));
  return path;
}

template <class X>
bool equal(const X& a, const X& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
}

}  // namespace

TEST_CASE("tensors of every type and rank come back bit for bit") {
  const TemporaryFolder folder;
  const std::string path = folder / "file.safetensors";
  const auto a = random_tensor<Floats<Two, Three>>({}, 1);
  const auto b = random_tensor<Doubles<Batch, Wide>>(Shape<Batch, Wide>(5), 2);
  const auto c = random_tensor<Tensor<bf16, Cpu, Vocabulary>>({}, 3);
  const auto d = random_tensor<Tensor<f16, Cpu, Narrow>>({}, 4);
  const auto e = Indices<Time>::from(Shape<Time>(3), {-1, 0, 2'147'483'647});
  const auto scalar = Floats<>::full({}, 7.0f);
  const auto empty = Floats<Batch, Two>(Shape<Batch, Two>(0));
  io::SafetensorsWriter writer;
  writer.add("a", a);
  writer.add("b", b);
  writer.add("c", c);
  writer.add("d", d);
  writer.add("e", e);
  writer.add("scalar", scalar);
  writer.add("empty", empty);
  writer.set_metadata("who", "a \"quoted\" name, \xc3\xbc and a line\nbreak");
  writer.save(path);

  const auto file = io::SafetensorsFile::open(path);
  CHECK(file.names() == std::vector<std::string>{"a", "b", "c", "d", "e", "empty", "scalar"});
  CHECK(file.metadata() == io::SafetensorsMetadata{{"format", "pt"},
                                                   {"who", "a \"quoted\" name, \xc3\xbc and a line\nbreak"}});
  CHECK(equal(file.load<Floats<Two, Three>>("a"), a));
  CHECK(equal(file.load<Doubles<Batch, Wide>>("b"), b));
  CHECK(equal(file.load<Tensor<bf16, Cpu, Vocabulary>>("c"), c));
  CHECK(equal(file.load<Tensor<f16, Cpu, Narrow>>("d"), d));
  CHECK(equal(file.load<Indices<Time>>("e"), e));
  CHECK(file.load<Floats<>>("scalar")[0] == 7.0f);
  CHECK(file.load<Floats<Batch, Two>>("empty").shape() == empty.shape());
  CHECK(file.contains("a"));
  CHECK(!file.contains("A"));
  CHECK(file.entry("b").dtype == "F64");
  CHECK(file.entry("b").shape == std::vector<std::size_t>{5, 6});
  CHECK(file.entry("b").bytes == 240);
  CHECK(file.entry("b").offset == 0);  // the widest type comes first
  CHECK(file.entry("scalar").shape.empty());
}

TEST_CASE("the file has the bytes that the reference writes") {
  const TemporaryFolder folder;
  const std::string path = folder / "file.safetensors";
  io::SafetensorsWriter writer;
  writer.add("z", Floats<Two>::from({}, {1, 2}));
  writer.add("a", Tensor<bf16, Cpu, Two>::zeros({}));
  writer.add("b", Floats<Two>::from({}, {3, 4}));
  writer.save(path);
  const std::string contents = contents_of(path);
  std::uint64_t n = 0;
  std::memcpy(&n, contents.data(), 8);
  CHECK(n % 8 == 0);
  const std::string header = contents.substr(8, n);
  CHECK(header.substr(0, header.find_last_not_of(' ') + 1) ==
        R"({"__metadata__":{"format":"pt"},)"
        R"("b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
        R"("z":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},)"
        R"("a":{"dtype":"BF16","shape":[2],"data_offsets":[16,20]}})");
  CHECK(contents.size() == 8 + n + 20);
}

TEST_CASE("a file of the Python package is read") {
  const auto file = io::SafetensorsFile::open(CALM_FIXTURES "/adamw.safetensors");
  CHECK(file.contains("gradients.weight"));
  CHECK(file.metadata().contains("torch"));
}

TEST_CASE("what is stored as wanted and aligned is mapped, and outlives the file's handle") {
  const TemporaryFolder folder;
  const float values[] = {1, 2, 3};
  for (std::size_t padding = 0; padding < 8; ++padding) {
    const std::string path = write_raw(folder, "F32", "[3]", values, sizeof values, padding);
    std::optional<io::SafetensorsFile> file(io::SafetensorsFile::open(path));
    const auto x = file->load<Floats<Three>>("x");
    const bool aligned = reinterpret_cast<std::uintptr_t>(file->data("x")) % alignof(float) == 0;
    CHECK((static_cast<const void*>(x.data()) == file->data("x")) == aligned);
    file.reset();
    std::filesystem::remove(path);
    CHECK(x[0] == 1);
    CHECK(x[2] == 3);
  }
}

TEST_CASE("floating types convert to each other, rounding to nearest") {
  const TemporaryFolder folder;
  const double doubles[] = {1.0 + 0x1p-40, -3.5, 1e-320, static_cast<double>(infinity)};
  {
    const auto file = io::SafetensorsFile::open(write_raw(folder, "F64", "[4]", doubles, sizeof doubles, 3));
    const auto x = file.load<Floats<Narrow>>("x");
    CHECK(x[0] == 1.0f);
    CHECK(x[1] == -3.5f);
    CHECK(x[2] == 0.0f);
    CHECK(x[3] == infinity);  // was infinite before
    CHECK(static_cast<float>(file.load<Tensor<bf16, Cpu, Narrow>>("x")[1]) == -3.5f);
    CHECK(static_cast<float>(file.load<Tensor<f16, Cpu, Narrow>>("x")[1]) == -3.5f);
    CHECK(file.load<Doubles<Narrow>>("x")[0] == doubles[0]);
  }
  {
    const bf16 halves[] = {bf16(1.5f), bf16(-2.0f), bf16(3e38f), bf16(std::nanf(""))};
    const auto file = io::SafetensorsFile::open(write_raw(folder, "BF16", "[4]", halves, sizeof halves));
    CHECK(file.load<Floats<Narrow>>("x")[2] == static_cast<float>(halves[2]));
    CHECK(file.load<Doubles<Narrow>>("x")[0] == 1.5);
    CHECK(std::isnan(file.load<Floats<Narrow>>("x")[3]));
    CHECK_THROWS_WITH((file.load<Tensor<f16, Cpu, Narrow>>("x")),
                      Contains("tensor 'x': element 2, stored as BF16, is beyond the range of F16"));
  }
  {
    const f16 halves[] = {f16(0.1f), f16(-2.0f), f16(65504.0f), f16(0x1p-24f)};
    const auto file = io::SafetensorsFile::open(write_raw(folder, "F16", "[4]", halves, sizeof halves));
    const auto x = file.load<Floats<Narrow>>("x");
    for (std::size_t i = 0; i < 4; ++i) CHECK(x[i] == static_cast<float>(halves[i]));
  }
}

TEST_CASE("a number beyond the wanted type's range is an error that names its place") {
  const TemporaryFolder folder;
  const double doubles[] = {1, 2, 1e39};
  const auto file = io::SafetensorsFile::open(write_raw(folder, "F64", "[3]", doubles, sizeof doubles));
  CHECK_THROWS_WITH(file.load<Floats<Three>>("x"), Contains("element 2, stored as F64, is beyond the range of F32"));
  const std::int64_t numbers[] = {-2'147'483'648, 2'147'483'647, 2'147'483'648, -1, 1ll << 40};
  const auto integers = io::SafetensorsFile::open(write_raw(folder, "I64", "[5]", numbers, sizeof numbers));
  CHECK_THROWS_WITH(integers.load<Indices<Time>>("x"),
                    Contains("element 2, stored as I64, is beyond the range of I32"));
  const auto fine = io::SafetensorsFile::open(write_raw(folder, "I64", "[2]", numbers, 16));
  CHECK(fine.load<Indices<Time>>("x")[0] == -2'147'483'647 - 1);
  CHECK(fine.load<Indices<Time>>("x")[1] == 2'147'483'647);
}

TEST_CASE("what is missing, or has another shape or dtype, is named with what was expected") {
  const TemporaryFolder folder;
  const float values[6] = {};
  const std::string path = write_raw(folder, "F32", "[2,3]", values, sizeof values);
  const auto file = io::SafetensorsFile::open(path);
  CHECK_THROWS_WITH(file.load<Floats<Two>>("y"), Contains(path + ": expected a tensor 'y', found none") &&
                                                     Contains("among 1 ('x', ...)"));
  CHECK_THROWS_WITH((file.load<Floats<Two>>("x")), Contains("tensor 'x': expected 1 axes, found shape [2, 3]"));
  CHECK_THROWS_WITH((file.load<Floats<Two, Narrow>>("x")),
                    Contains("tensor 'x': axis 1 (calm::test::Narrow): expected 4, found 3 in shape [2, 3]"));
  CHECK_THROWS_WITH((file.load<Floats<Wide, Three>>("x")), Contains("axis 0 (calm::test::Wide): expected 6, found 2"));
  CHECK_THROWS_WITH((file.load<Indices<Two, Three>>("x")),
                    Contains("expected dtype I32, found F32, which does not convert to it"));
  CHECK_THROWS_WITH((file.load<Doubles<Two, Three>>("x", io::Conversion::refuse)),
                    Contains("expected dtype F64, found F32, and conversion was refused"));
  CHECK(file.load<Doubles<Batch, Time>>("x").shape() == Shape<Batch, Time>(2, 3));

  const auto eight_bits = io::SafetensorsFile::open(write_raw(folder, "F8_E4M3", "[6]", values, 6));
  CHECK_THROWS_WITH(eight_bits.load<Floats<Wide>>("x"), Contains("expected dtype F32, found F8_E4M3"));
  CHECK(eight_bits.entry("x").bytes == 6);
}

TEST_CASE("a writer refuses what makes no file") {
  io::SafetensorsWriter writer;
  writer.add("a", Floats<Two>::zeros({}));
  CHECK_THROWS_WITH(writer.add("a", Floats<Two>::zeros({})), Contains("the name 'a' is taken"));
  CHECK_THROWS_WITH(writer.add("__metadata__", Floats<Two>::zeros({})), Contains("is taken"));
  CHECK_THROWS_WITH(writer.add("b", Floats<Two>()), Contains("tensor 'b' has no memory"));
  CHECK_THROWS_WITH(writer.set_metadata("format", "np"), Contains("the metadata key 'format' is taken"));
  const TemporaryFolder folder;
  writer.set_metadata("bad", "\xff");
  CHECK_THROWS_WITH(writer.save(folder / "file"), Contains("is not valid UTF-8"));
  CHECK(folder.files() == 0);
}

TEST_CASE("a file may be saved over the one that its tensors are mapped from") {
  const TemporaryFolder folder;
  const std::string path = folder / "file.safetensors";
  const auto x = random_tensor<Floats<Batch, Wide>>(Shape<Batch, Wide>(2000), 1);
  for (int round = 0; round < 2; ++round) {
    io::SafetensorsWriter writer;
    if (round == 0) writer.add("x", x);
    else writer.add("x", io::SafetensorsFile::open(path).load<Floats<Batch, Wide>>("x"));
    writer.save(path);
  }
  CHECK(equal(io::SafetensorsFile::open(path).load<Floats<Batch, Wide>>("x"), x));
}

TEST_CASE("random collections of tensors come back") {
  const TemporaryFolder folder;
  for (std::uint64_t trial = 0; trial < 50; ++trial) {
    const std::string path = folder / "file.safetensors";
    io::SafetensorsWriter writer;
    std::vector<Floats<Batch, Time>> tensors;
    for (std::uint32_t i = 0; i < 1 + random_below({trial, 1}, 0, 20); ++i) {
      const Shape<Batch, Time> shape(random_below({trial, 2}, i, 5), random_below({trial, 3}, i, 7));
      tensors.push_back(random_tensor<Floats<Batch, Time>>(shape, i));
      writer.add("t" + std::to_string(i), tensors.back());
    }
    writer.save(path);
    const auto file = io::SafetensorsFile::open(path);
    REQUIRE(file.size() == tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      CHECK(equal(file.load<Floats<Batch, Time>>("t" + std::to_string(i)), tensors[i]));
    }
  }
}
