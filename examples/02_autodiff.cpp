/// \file  Lesson 2, autodiff: parameters, a tape, a module, and gradient descent by hand. The network learns XOR.
#include <cmath>
#include <cstdio>

#include <calm/nn/initialise.hpp>
#include <calm/nn/linear.hpp>
#include <calm/tensor/ops/reduce.hpp>
#include <calm/tensor/ops/squash.hpp>

namespace {

struct Case { static constexpr std::size_t extent = 4; };
struct Bits { static constexpr std::size_t extent = 2; };
struct Neuron { static constexpr std::size_t extent = 4; };
struct Answer { static constexpr std::size_t extent = 1; };

template <class In, class Out>
using Layer = calm::nn::Linear<In, Out, double, calm::Cpu, calm::Trainable, /*Bias=*/true>;

// A module is a struct: its parameters, its formula, and one line of `visit` that names the parameters.
struct Network {
  Layer<Bits, Neuron> hidden;
  Layer<Neuron, Answer> output;

  auto operator()(const auto& x) const { return output(calm::tanh(hidden(x))); }
  void visit(auto&& v) {
    v("hidden", hidden);
    v("output", output);
  }
};

using Questions = calm::Tensor<double, calm::Cpu, Case, Bits>;
using Answers = calm::Tensor<double, calm::Cpu, Case, Answer>;

// Network's parameters are Vars, values with a gradient; what is computed from a Var is one.
auto loss(const Network& network, const Questions& questions, const Answers& answers) {
  const auto miss = network(questions) - answers;
  return calm::mean(miss * miss);
}

}  // namespace

int main() {
  const auto questions = Questions::from({}, {0, 0, 0, 1, 1, 0, 1, 1});
  const auto answers = Answers::from({}, {0, 1, 1, 0});
  Network network;
  calm::nn::for_each_parameter(network, [](const std::string& path, auto& parameter) {
    calm::nn::initialise_parameter(path, parameter, {.seed = 1, .deviation = 1});
  });

  // While a recording lives, operations leave on the tape what the way back takes. Gradients add up until zeroed.
  calm::Tape<calm::Cpu> tape;
  const auto differentiate = [&] {
    calm::nn::for_each_trainable(network, [](const std::string&, auto& parameter) { parameter.zero_gradient(); });
    const auto recording = tape.record();
    const auto l = loss(network, questions, answers);
    calm::backward(l);
    return calm::value(l)[0];
  };

  // A gradient is a slope, so one that is measured at a weight must be the same number. Outside a recording the same
  // formula only computes.
  differentiate();
  auto& weight = network.hidden.weight;
  const double by_tape = weight.gradient()[0], here = weight.value()[0], h = 1e-5;
  const auto loss_at = [&](double w) {
    weight.mutable_value().mutable_data()[0] = w;
    return calm::value(loss(network, questions, answers))[0];
  };
  const double measured = (loss_at(here + h) - loss_at(here - h)) / (2 * h);
  loss_at(here);
  std::printf("slope at one weight: %.8f on the tape, %.8f measured: %s\n", by_tape, measured,
              std::abs(by_tape - measured) < 1e-8 ? "equal" : "different");

  // Gradient descent: every parameter a step downhill.
  for (int step = 0; step <= 200; ++step) {
    const double l = differentiate();
    if (step % 50 == 0) std::printf("step %3d  loss %.6f\n", step, l);
    calm::nn::for_each_trainable(network, [](const std::string&, auto& parameter) {
      double* x = parameter.mutable_value().mutable_data();
      for (std::size_t i = 0; i < parameter.value().size(); ++i) x[i] -= 0.2 * parameter.gradient()[i];
    });
  }
  const auto output = calm::value(network(questions));
  for (std::size_t i = 0; i < Case::extent; ++i) {
    std::printf("%.0f xor %.0f = %.2f\n", questions[2 * i], questions[2 * i + 1], output[i]);
  }
}
// prints: measured: equal
// prints: step 200  loss 0.000[01]
// prints: 0 xor 0 = -?0.0[0-9]\n0 xor 1 = (0.9|1.0)[0-9]\n1 xor 0 = (0.9|1.0)[0-9]\n1 xor 1 = -?0.0[0-9]\n
