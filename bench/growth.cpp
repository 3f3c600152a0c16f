/// \file  How the cost of a training step grows with the length of texts, their number, links and threads.
///
///     growth [rounds] > growth.jsonl      then      bench/growth_plot.py growth.jsonl docs/growth.svg
///
/// One line a point: tokens of a step, the median seconds and processor seconds of `rounds` (5) steps, and the FLOPs
/// that `plan` predicts. Rounds go over all points, so that what disturbs the machine disturbs them alike; the first
/// does not count. Anchor of 8 layers, 256 wide, augment of 8, 128 wide; fp32.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include <calm/calm.hpp>

namespace {

using calm::Cpu;

struct Large {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 4096, .hidden = 256, .layers = 8, .heads = 4, .kv_heads = 2, .inner = 704, .context = 4096};
};
struct Small {
  static constexpr calm::nn::TransformerConfig config{
      .vocab = 4096, .hidden = 128, .layers = 8, .heads = 2, .kv_heads = 1, .inner = 352, .context = 4096};
};

/// A composition with `Links` links, and its optimizer.
template <std::size_t Links>
class Trained {
  using Anchor = calm::nn::Transformer<Large, float, Cpu>;
  using Augment = calm::nn::Transformer<Small, float, Cpu>;
  using Model = calm::Compose<Anchor, Augment, calm::Uniform<Anchor, Augment, Links>>;

 public:
  Trained() {
    calm::nn::initialise(model_->anchor, {.seed = 1});
    calm::nn::initialise(model_->augment, {.seed = 2});
    model_->initialise_bridges();
    optimizer_ = std::make_unique<calm::train::AdamW<>>(*model_);
  }
  static double planned_flops(std::size_t batch, std::size_t length) {
    return calm::plan<Model>(batch, length).training_flops * static_cast<double>(batch * length);
  }
  void step(std::size_t texts, std::size_t length) {
    std::vector<calm::train::Example> examples(texts);
    for (std::size_t b = 0; b < texts; ++b) {
      for (std::size_t t = 0; t <= length; ++t) {
        examples[b].tokens.push_back(static_cast<calm::Index>((b + t) * 7919 % 4096));
      }
    }
    const auto batch = calm::train::collate<Cpu>(examples);
    {
      const auto recording = tape_.record();
      calm::backward(model_->loss(batch.tokens, batch.layout, batch.targets));
    }
    optimizer_->clip_gradients(1);
    optimizer_->step(1e-4);
    optimizer_->zero_gradients();
  }

 private:
  std::unique_ptr<Model> model_ = std::make_unique<Model>();
  std::unique_ptr<calm::train::AdamW<>> optimizer_;
  calm::Tape<Cpu> tape_;
};

struct Point {
  std::string series;
  std::size_t x, tokens, threads;
  double flops;
  std::function<void()> step;
  std::vector<double> seconds{}, processor{};

  void measure(bool counts) {
#ifdef _OPENMP
    omp_set_num_threads(static_cast<int>(threads));
#endif
    const auto begin = std::chrono::steady_clock::now();
    const std::clock_t busy = std::clock();
    step();
    if (!counts) return;
    processor.push_back(static_cast<double>(std::clock() - busy) / CLOCKS_PER_SEC);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
};

double median(std::vector<double> x) {
  std::nth_element(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2), x.end());
  return x[x.size() / 2];
}

template <std::size_t Links>
Point point(const std::string& series, std::size_t x, std::size_t texts, std::size_t length, std::size_t threads = 1) {
  static Trained<Links> trained;
  return {series,
          x,
          texts * length,
          threads,
          Trained<Links>::planned_flops(texts, length),
          [=] { trained.step(texts, length); }};
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
  std::vector<Point> points;
  for (std::size_t length = 128; length <= 4096; length *= 2) {
    points.push_back(point<2>("length", length, 4096 / length, length));
  }
  for (std::size_t texts = 1; texts <= 32; texts *= 2) points.push_back(point<2>("batch", texts, texts, 128));
  points.push_back(point<1>("links", 1, 4, 256));
  points.push_back(point<2>("links", 2, 4, 256));
  points.push_back(point<4>("links", 4, 4, 256));
  points.push_back(point<8>("links", 8, 4, 256));
  for (const std::size_t threads : {1u, 2u}) points.push_back(point<2>("threads", threads, 4, 512, threads));
  for (int round = 0; round <= rounds; ++round) {
    for (Point& p : points) p.measure(round > 0);
  }
  for (const Point& p : points) {
    std::printf(R"({"series": "%s", "x": %zu, "tokens": %zu, "threads": %zu, "flops": %.4g, "seconds": %.4g, )"
                R"("processor": %.4g})"
                "\n",
                p.series.c_str(), p.x, p.tokens, p.threads, p.flops, median(p.seconds), median(p.processor));
  }
}
