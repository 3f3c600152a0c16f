// Every operation on the GPU against the host, forward and backward, in all three types.

#include <catch2/catch.hpp>

#include "calm/generate/sample.hpp"
#include "calm/tensor.hpp"
#include "cuda/both.hpp"

using namespace calm;
using namespace calm::test;

namespace {

template <std::size_t N, int Tag = 0>
struct Axis_ {
  static constexpr std::size_t extent = N;
};
using In = Axis_<70>;
using Out = Axis_<36, 1>;
using Eights = Axis_<40, 1>;
using Head = Axis_<4, 2>;
using KeyHead = Axis_<2, 3>;
using Width = Axis_<8, 4>;
using Words = Axis_<131, 5>;

using X = Doubles<Batch, Time, In>;
const Shape<Batch, Time, In> some(3, 5);

}  // namespace

TEST_CASE("cuda ops: arithmetic") {
  require_agreement_of_types<X, X>("add", [](auto, auto x, auto y) { return x + y; }, some, some);
  require_agreement_of_types<X, X>("subtract", [](auto, auto x, auto y) { return x - y; }, some, some);
  require_agreement_of_types<X, X>("multiply", [](auto, auto x, auto y) { return x * y; }, some, some);
  require_agreement_of_types<X, Doubles<In>>("add a row", [](auto, auto x, auto y) { return x + y; }, some, {});
  require_agreement_of_types<X, Doubles<In>>("multiply by a row", [](auto, auto x, auto y) { return x * y; }, some, {});
  require_agreement_of_types<X>("scale", [](auto, auto x) { return scale(x, -0.7); }, some);
  require_agreement_of_types<X, Doubles<One>>("by one factor", [](auto, auto x, auto y) { return multiply_rows(x, y); },
                                              some, {});
  require_agreement_of_types<X, Doubles<Batch, Time>>(
      "by a factor per row", [](auto, auto x, auto y) { return multiply_rows(x, y); }, some, Shape<Batch, Time>(3, 5));
  require_agreement_of_types<Doubles<Batch, Head, Width>, Doubles<Head>>(
      "by a factor per head", [](auto, auto x, auto y) { return multiply_rows(x, y); }, Shape<Batch, Head, Width>(3),
      {});
}

TEST_CASE("cuda ops: products") {
  require_agreement_of_types<X, Doubles<Out, In>>("x W^T", [](auto, auto x, auto w) { return linear(x, w); }, some, {});
  require_agreement_of_types<X, Doubles<In, Out>>("x W", [](auto, auto x, auto w) { return linear(x, w); }, some, {});
}

TEST_CASE("cuda ops: products and what follows them") {
  const auto biased = [](auto, auto x, auto w, auto b) { return linear(x, w, b); };
  require_agreement_of_types<X, Doubles<Out, In>, Doubles<Out>>("x W^T + b", biased, some, {}, {});
  require_agreement_of_types<X, Doubles<In, Out>, Doubles<Out>>("x W + b", biased, some, {}, {});
  require_agreement_of_types<X, Doubles<Out, In>, Doubles<Out>>("one row", biased, Shape<Batch, Time, In>(1, 1), {},
                                                               {});
  for (const auto kind : {kernel::Activation::gelu, kernel::Activation::gelu_tanh}) {
    const auto layer = [kind](auto, auto x, auto up, auto up_bias, auto down, auto down_bias) {
      return mlp(x, kind, scale(up, 0.1), up_bias, scale(down, 0.1), down_bias);
    };
    require_agreement_of_types<X, Doubles<Out, In>, Doubles<Out>, Doubles<In, Out>, Doubles<In>>("mlp", layer, some, {},
                                                                                               {}, {}, {});
    require_agreement_of_types<X, Doubles<Eights, In>, Doubles<Eights>, Doubles<In, Eights>, Doubles<In>>(
        "mlp of eights", layer, some, {}, {}, {}, {});
  }
}

TEST_CASE("cuda ops: products whose sums have no terms") {
  for (const bool accumulate : {false, true}) {
    const auto before = random_values<Doubles<Out, In>>({}, 1);
    auto c = move_to<Cuda>(before).clone();
    kernel::gemm(Cuda{}, kernel::Op::transpose, kernel::Op::none, Out::extent, In::extent - 1, 0, 1.0,
                 {c.data(), Out::extent}, {c.data(), In::extent}, accumulate, {c.mutable_data(), In::extent});
    auto expected = before.clone();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (!accumulate && i % In::extent != In::extent - 1) expected.mutable_data()[i] = 0;
    }
    require_close("c", expected, c);
  }
}

TEST_CASE("cuda ops: products in f16") {
  const auto product = [](auto, auto x, auto w) { return linear(x, w); };
  require_agreement_in<f16, X, Doubles<Out, In>>("x W^T", product, some, {});
  require_agreement_in<f16, X, Doubles<Eights, In>>("one row", product, Shape<Batch, Time, In>(1, 1), {});
  require_agreement_in<f16, X, Doubles<In, Out>, Doubles<Out>>(
      "x W + b", [](auto, auto x, auto w, auto b) { return linear(x, w, b); }, some, {}, {});
  require_agreement_in<f16, X, Doubles<Eights, In>, Doubles<Eights>, Doubles<In, Eights>, Doubles<In>>(
      "mlp", [](auto, auto x, auto up, auto up_bias, auto down, auto down_bias) {
        return mlp(x, kernel::Activation::gelu_tanh, scale(up, 0.1), up_bias, scale(down, 0.1), down_bias);
      }, some, {}, {}, {}, {});
}

TEST_CASE("cuda ops: an MLP through frozen weights") {
  const auto layer = [](auto device, auto x) {
    using Device = decltype(device);
    using T = typename ValueOf<decltype(x)>::value_type;
    const auto frozen = []<class W>(W w) { return move_to<Device>(w); };
    return mlp(x, kernel::Activation::gelu_tanh, frozen(random_values<Tensor<T, Cpu, Eights, In>>({}, 1, 0.1)),
               frozen(random_values<Tensor<T, Cpu, Eights>>({}, 2)),
               frozen(random_values<Tensor<T, Cpu, In, Eights>>({}, 3, 0.1)),
               frozen(random_values<Tensor<T, Cpu, In>>({}, 4)));
  };
  require_agreement_of_types<X>("mlp", layer, some);
}

TEST_CASE("cuda ops: gate and up as one product of frozen weights") {
  const auto with = []<class Width>(Width) {
    return [](auto device, auto x) {
      using W = Tensor<typename ValueOf<decltype(x)>::value_type, Cpu, Width, In>;
      const auto [gate, up] = one_behind_another(move_to<decltype(device)>(random_values<W>({}, 1, 0.1)),
                                                 move_to<decltype(device)>(random_values<W>({}, 2, 0.1)));
      return gated_linear(x, kernel::Activation::silu, gate, up);
    };
  };
  require_agreement_of_types<X>("gated_linear", with(Out{}), some);
  require_agreement_of_types<X>("gated_linear of eights", with(Eights{}), some);
  require_agreement_of_types<X>("gated_linear of one row", with(Eights{}), Shape<Batch, Time, In>(1, 1));
}

TEST_CASE("cuda ops: activations") {
  require_agreement_of_types<X>("silu", [](auto, auto x) { return silu(x); }, some);
  require_agreement_of_types<X>("gelu", [](auto, auto x) { return gelu(x); }, some);
  require_agreement_of_types<X>("gelu_tanh", [](auto, auto x) { return gelu_tanh(x); }, some);
  require_agreement_of_types<X>("tanh", [](auto, auto x) { return calm::tanh(x); }, some);
  require_agreement_of_types<X>("sigmoid", [](auto, auto x) { return sigmoid(x); }, some);
  require_agreement_of_types<X, X>("swiglu", [](auto, auto x, auto y) { return swiglu(x, y); }, some, some);
  require_agreement_of_types<X, X>("geglu", [](auto, auto x, auto y) { return geglu(x, y); }, some, some);
}

TEST_CASE("cuda ops: rows") {
  require_agreement_of_types<X>("softmax", [](auto, auto x) { return softmax(x); }, some);
  require_agreement_of_types<X>("rms_norm without a weight", [](auto, auto x) { return rms_norm(x, 1e-6); }, some);
  require_agreement_of_types<X, Doubles<In>>("rms_norm", [](auto, auto x, auto w) { return rms_norm(x, w, 1e-6); },
                                             some, {});
  require_agreement_of_types<X, Doubles<In>>(
      "rms_norm of 1 + w", [](auto, auto x, auto w) { return rms_norm<NormScale::one_plus_weight>(x, w, 1e-6); }, some,
      {});
  require_agreement_of_types<X, Doubles<In>, Doubles<In>>(
      "layer_norm", [](auto, auto x, auto w, auto b) { return layer_norm(x, w, b, 1e-5); }, some, {}, {});
}

TEST_CASE("cuda ops: norms of sums") {
  require_agreement_of_types<X, X, Doubles<In>>("add_rms_norm", [](auto, auto x, auto y, auto w) {
    const auto [h, n] = add_rms_norm(x, y, w, 1e-6);
    return n + h;
  }, some, some, {});
  const auto layer = [](auto, auto x, auto y, auto w, auto b) {
    const auto [h, n] = add_layer_norm(x, y, w, b, 1e-5);
    return n * scale(h, 0.3) + h;
  };
  require_agreement_of_types<X, X, Doubles<In>, Doubles<In>>("add_layer_norm", layer, some, some, {}, {});
  require_agreement_of_types<Doubles<Batch, Eights>, Doubles<Batch, Eights>, Doubles<Eights>>(
      "add_rms_norm of packs", [](auto, auto x, auto y, auto w) {
        const auto [h, n] = add_rms_norm<NormScale::one_plus_weight>(x, y, w, 1e-6);
        return n + h;
      }, Shape<Batch, Eights>(7), Shape<Batch, Eights>(7), {});
}

TEST_CASE("cuda ops: sums") {
  require_agreement_of_types<X>("sum of all", [](auto, auto x) { return sum(x); }, some);
  require_agreement_of_types<X>("sum along Time", [](auto, auto x) { return sum<Time>(x); }, some);
  require_agreement_of_types<X>("mean along the last axis", [](auto, auto x) { return mean<In>(x); }, some);
  require_agreement_of_types<X, Doubles<In>>("many rows", [](auto, auto x, auto y) { return x + y; },
                                             Shape<Batch, Time, In>(11, 50), {});
}

TEST_CASE("cuda ops: rotary positions") {
  for (const RopeLayout layout : {RopeLayout::half_split, RopeLayout::interleaved}) {
    for (const std::size_t turned : {std::size_t{0}, std::size_t{4}}) {
      require_agreement_of_types<Doubles<Batch, Time, Head, Width>>(
          "rope", [&](auto device, auto x) {
            using Positions = Tensor<Index, decltype(device), Batch, Time>;
            const auto positions = Positions::from(Shape<Batch, Time>(2, 3), {0, 1, 70000, 5, 4, 0});
            return rope(x, positions, RopeOptions{.theta = 10000, .turned = turned}, layout);
          }, Shape<Batch, Time, Head, Width>(2, 3));
    }
  }
}

TEST_CASE("cuda ops: rows by index") {
  require_agreement_of_types<Doubles<Words, Out>>("embedding", [](auto device, auto table) {
    using Tokens = Tensor<Index, decltype(device), Batch, Time>;
    return embedding(Tokens::from(Shape<Batch, Time>(2, 4), {5, 0, 130, 5, 5, 7, 0, 2}), table);
  }, {});
  require_agreement_of_types<X>("gather", [](auto device, auto x) {
    using Places = Tensor<Index, decltype(device), Batch>;
    return gather<Time>(x, Places::from(Shape<Batch>(3), {4, 0, 2}));
  }, some);
  require_agreement_of_types<X>("pick", [](auto device, auto x) {
    using Places = Tensor<Index, decltype(device), Batch, Source>;
    return pick(x, Places::from(Shape<Batch, Source>(3, 4), {4, 0, -1, 4, 1, -1, -1, 2, 0, 0, 0, 3}));
  }, some);
  using Tokens = Tensor<Index, Cuda, Batch>;
  const auto table = Tensor<float, Cuda, Words, Out>::zeros({});
  REQUIRE_THROWS_WITH(embedding(Tokens::from(Shape<Batch>(2), {3, 131}), table), Catch::Contains("token 131"));
}

TEST_CASE("cuda ops: cross-entropy") {
  for (const double cap : {0.0, 3.0}) {
    require_agreement_of_types<X, Doubles<Words, In>>("linear_cross_entropy", [cap](auto device, auto x, auto w) {
      using Targets = Tensor<Index, decltype(device), Batch, Time>;
      const auto targets = Targets::from(Shape<Batch, Time>(3, 5), {5, -1, 130, 0, 1, 2, -1, -1, 3, 4, 9, 9, 9, 7, -1});
      return linear_cross_entropy(scale(x, 0.3), w, targets, cap);
    }, some, {});
  }
}

TEST_CASE("cuda ops: several arrays") {
  require_agreement_of_types<X, X, X, Doubles<Axis_<3>>>("mix", [](auto, auto x, auto y, auto z, auto w) {
    return mix(std::array{x, y, z}, w);
  }, some, some, some, {});
  require_agreement_of_types<X, X, X>("symmetric_sum", [](auto, auto x, auto y, auto z) {
    return symmetric_sum(std::array{x, y, z});
  }, some, some, some);
  require_agreement_of_types<X>("fan_out", [](auto, auto x) {
    const auto copies = fan_out(x, 3);
    return copies[0] * copies[1] + scale(copies[3], 0.3);
  }, some);
  require_agreement_of_types<X, X, X, Doubles<In>>("share", [](auto, auto x, auto y, auto z, auto null) {
    return share(1, std::array{x, y, z}, null);
  }, some, some, some, {});
  require_agreement_of_types<X, X>("share without a null", [](auto, auto x, auto y) {
    return share(0, std::array{x, y});
  }, some, some);
}

TEST_CASE("cuda ops: dropout has the host's mask") {
  require_agreement_of_types<X>("dropout", [](auto, auto x) { return dropout(x, 0.3, {5, 6}); }, some);
}

TEST_CASE("cuda ops: the largest of each row, the first of equals") {
  const auto check = [](auto type, std::size_t cols, std::size_t first, std::size_t second) {
    using T = decltype(type);
    auto x = random_values<Tensor<T, Cpu, Batch, Time>>(Shape<Batch, Time>(2, cols), cols);
    x.mutable_data()[first] = x.mutable_data()[second] = T(9.0f);
    auto best = Tensor<Index, Cuda, Batch>::zeros(Shape<Batch>(2));
    kernel::argmax_rows(Cuda{}, 2, cols, move_to<Cuda>(x).data(), best.mutable_data());
    cuda::synchronize();
    for (std::size_t r = 0; r < 2; ++r) REQUIRE(best[r] == argmax(x.data() + r * cols, cols));
  };
  check(bf16{}, 7, 3, 5);
  check(float{}, 9000, 8999, 17);
  check(double{}, 9000, 4095, 4096);
}

TEST_CASE("cuda ops: element types") {
  const auto x = random_values<Floats<In>>({}, 1);
  const auto y = move_to<Cuda>(x);
  require_close("float to bf16", cast<bf16>(x), cast<bf16>(y));
  require_close("float to double", cast<double>(x), cast<double>(y));
  require_close("and back", x, cast<float>(cast<double>(y)));
  require_close("float to f16", cast<f16>(x), cast<f16>(y));
  require_close("and back", cast<bf16>(cast<f16>(x)), cast<bf16>(cast<f16>(y)));
}
