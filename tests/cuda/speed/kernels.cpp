// The kernels one by one, in the shapes of 8 texts of 2048 tokens of a model as wide as Gemma 2B, in bf16.

#include <cstddef>
#include <string>

#include "calm/tensor.hpp"
#include "measure.hpp"
#include "values.hpp"

namespace {

using calm::bf16;
using calm::Cuda;
using calm::Index;

using speed::Any;
using speed::Flat;
using speed::some;

constexpr std::size_t tokens = 8 * 2048, hidden = 2048, vocab = 256000;
constexpr double tera = 1e-12;

/// Kernels bound by memory: `bytes` per element of tokens × hidden.
template <class F>
void sweep(const char* name, double bytes, double ceiling, const F& once) {
  speed::report(name, speed::seconds_of(once), bytes * tokens * hidden * tera, "TB/s", ceiling);
}

void sweeps(double ceiling) {
  using namespace calm;
  const std::size_t n = tokens * hidden;
  const auto x = some<bf16>(n), y = some<bf16>(n), w = some<bf16>(hidden);
  auto z = some<bf16>(n);
  auto s = some<float>(tokens);
  bf16* const to = z.mutable_data();
  const Cuda d;
  sweep("fill", 2, ceiling, [&] { kernel::fill(d, n, bf16(1.0f), to); });
  sweep("copy", 4, ceiling, [&] { kernel::copy(d, n, x.data(), to); });
  sweep("x + y", 6, ceiling, [&] { kernel::add_scaled(d, n, 0, x.data(), y.data(), 1, to); });
  sweep("gate", 6, ceiling, [&] { kernel::gate(d, kernel::Activation::gelu_tanh, n, x.data(), y.data(), to); });
  sweep("gate_backward", 10, ceiling, [&] {
    kernel::gate_backward(d, kernel::Activation::gelu_tanh, n, x.data(), y.data(), x.data(), to);
  });
  sweep("rms_norm", 4, ceiling, [&] {
    kernel::rms_norm(d, tokens, hidden, x.data(), w.data(), 1, 1e-6, to, s.mutable_data());
  });
  auto sums = x.clone();
  sweep("x + y, rms_norm", 8, ceiling, [&] {
    kernel::rms_norm(d, tokens, hidden, {x.data(), y.data(), sums.mutable_data()}, w.data(), 1, 1e-6, to,
                     s.mutable_data());
  });
  sweep("rms_norm_backward", 8, ceiling, [&] {
    kernel::rms_norm_backward(d, tokens, hidden, x.data(), w.data(), 1, s.data(), y.data(), to, to);
  });
  sweep("norm_weight_gradient", 4, ceiling, [&] {
    auto dw = w.clone();
    kernel::norm_weight_gradient<bf16>(d, tokens, hidden, x.data(), nullptr, s.data(), y.data(), dw.mutable_data());
  });
  auto statistics = some<float>(2 * tokens);
  sweep("layer_norm", 4, ceiling, [&] {
    kernel::layer_norm(d, tokens, hidden, x.data(), w.data(), w.data(), 1e-5, to, statistics.mutable_data());
  });
  sweep("layer_norm_backward", 8, ceiling, [&] {
    kernel::layer_norm_backward(d, tokens, hidden, x.data(), w.data(), statistics.data(), y.data(), to, to);
  });
  const auto table = some<float>(tokens * 256);
  sweep("rope, heads of 256", 4, ceiling, [&] {
    kernel::rope(d, tokens, hidden / 256, 256, 256, false, table.data(), x.data(), to);
  });
  auto sum = some<double>(1);
  sweep("sum_of_squares", 2, ceiling, [&] { kernel::sum_of_squares(d, n, x.data(), sum.mutable_data()); });
  sweep("softmax", 4, ceiling, [&] { kernel::softmax(d, tokens, hidden, x.data(), to); });
  auto m = some<float>(n), v = Flat<float>::zeros(Shape<Any>(n)), master = some<float>(n);
  const kernel::AdamWStep<float> step{1, 0.9f, 0.999f, 1, 1e-3f, 1, 1e-8f};
  sweep("adamw with exact copies", 30, ceiling, [&] {
    kernel::adamw(d, n, step, x.data(), m.mutable_data(), v.mutable_data(), master.mutable_data(), to);
  });
}

/// TFLOP/s that cuDNN 9.19 reaches on an H200 (its own benchmark: 64 heads, 8 key heads, 128 wide, one text); the
/// ceiling where the shape is one of those.
struct Reference {
  double forward, backward;
};

/// FLOPs as everybody counts them: 4 per pair of query and key and per column, half of the pairs where a query does not
/// see later keys, 2.5 times as many backward, whatever is computed twice.
void attention(const std::string& what, calm::kernel::AttentionExtents e, bool causal, Reference ceiling) {
  using namespace calm;
  const std::size_t rows = e.batch * e.queries;
  const auto q = some<bf16>(rows * e.heads * e.width), d_out = q.clone();
  const auto k = some<bf16>(e.batch * e.keys * e.kv_heads * e.width), v = k.clone();
  auto out = q.clone(), dq = q.clone(), dk = k.clone(), dv = k.clone();
  auto lse = some<float>(rows * e.heads);
  Tensor<Index, Cuda, Batch, Time> end(Shape<Batch, Time>(e.batch, e.queries));
  for (std::size_t i = 0; i < end.size(); ++i) {
    end.mutable_data()[i] = static_cast<Index>(causal ? e.keys - e.queries + i % e.queries + 1 : e.keys);
  }
  const kernel::AttentionRule<float> rule{nullptr, end.data(), nullptr, nullptr, 0.1f, 0};
  const double pairs = static_cast<double>(rows) * static_cast<double>(e.keys) / (causal && e.queries > 1 ? 2 : 1);
  const double flops = 4 * pairs * static_cast<double>(e.heads * e.width);
  const auto forward = [&] {
    kernel::attention(Cuda{}, e, rule, q.data(), k.data(), v.data(), static_cast<const bf16*>(nullptr),
                      out.mutable_data(), lse.mutable_data());
  };
  if (e.queries == 1) {  // what counts is how fast the keys come
    const double bytes = 4.0 * static_cast<double>(k.size());
    speed::report(what.c_str(), speed::seconds_of(forward), bytes * tera, "TB/s", ceiling.forward);
    return;
  }
  speed::report((what + " forward").c_str(), speed::seconds_of(forward), flops * tera, "TFLOP/s", ceiling.forward);
  const auto backward = [&](bool queries, bool keys) {
    return speed::seconds_of([&] {
      kernel::attention_backward(Cuda{}, e, rule, q.data(), k.data(), v.data(), out.data(), lse.data(), d_out.data(),
                                 queries ? dq.mutable_data() : nullptr, keys ? dk.mutable_data() : nullptr,
                                 keys ? dv.mutable_data() : nullptr);
    });
  };
  speed::report((what + " backward").c_str(), backward(true, true), 2.5 * flops * tera, "TFLOP/s", ceiling.backward);
  // The products that each pass makes: three for dq; four for dk and dv, five where the heads are too wide for both.
  speed::report((what + " dq alone").c_str(), backward(true, false), 1.5 * flops * tera, "TFLOP/s", 0);
  speed::report((what + " dk and dv alone").c_str(), backward(false, true), (e.width > 128 ? 2.5 : 2) * flops * tera,
                "TFLOP/s", 0);
}

void attentions(double memory, double arithmetic) {
  struct Line {
    std::size_t time;
    Reference causal, full;
  };
  for (const Line& line : {Line{2048, {484, 370}, {633, 504}}, Line{4096, {591, 474}, {671, 560}},
                           Line{8192, {644, 541}, {691, 594}}, Line{16384, {673, 579}, {702, 612}}}) {
    const std::string at = std::to_string(line.time) + ", 64/8 heads of 128";
    attention("attention, causal " + at, {1, line.time, line.time, 64, 8, 128}, true, line.causal);
    attention("attention, full " + at, {1, line.time, line.time, 64, 8, 128}, false, line.full);
  }
  const Reference none{arithmetic, arithmetic};
  attention("attention, causal 8 x 2048, 32/8 heads of 64", {8, 2048, 2048, 32, 8, 64}, true, none);
  attention("attention, causal 8 x 2048, 8/1 heads of 256", {8, 2048, 2048, 8, 1, 256}, true, none);
  attention("attention, causal 8 x 2048, 16/16 heads of 128", {8, 2048, 2048, 16, 16, 128}, true, none);
  attention("attention, one query of 8/1 heads of 256, 8192 keys", {1, 1, 8192, 8, 1, 256}, true, {memory, 0});
  attention("attention, one query of 32/8 heads of 128, 8192 keys", {8, 1, 8192, 32, 8, 128}, true, {memory, 0});
}

void cross_entropy(double ceiling) {
  using namespace calm;
  const std::size_t rows = 4096;
  const auto x = some<bf16>(rows * hidden), w = some<bf16>(vocab * hidden);
  auto dx = x.clone(), loss = some<bf16>(1);
  Tensor<Index, Cuda, Any> index{Shape<Any>(rows)};
  for (std::size_t i = 0; i < rows; ++i) index.mutable_data()[i] = static_cast<Index>(i);
  const double seconds = speed::seconds_of([&] {
    kernel::linear_cross_entropy(Cuda{}, rows, hidden, vocab, index.data(), index.data(), x.data(), w.data(),
                                 dx.mutable_data(), static_cast<float*>(nullptr), 0, loss.mutable_data());
  });
  speed::report("cross-entropy and dx, 4096 rows", seconds, 4.0 * rows * hidden * vocab * tera, "TFLOP/s", ceiling);
}

}  // namespace

void measure_sweeps(double memory) { sweeps(memory); }
void measure_cross_entropy(double arithmetic) { cross_entropy(arithmetic); }
void measure_attention(double memory, double arithmetic) { attentions(memory, arithmetic); }
