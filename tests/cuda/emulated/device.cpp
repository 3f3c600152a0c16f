// calm::cuda without a GPU: the kernels' own sources compiled for the host, on memory that only they may touch.
//
// What stands for device memory is closed while no kernel runs, so a host that reads it where it must not is ended by
// SIGSEGV; and it is full of NaNs when it is handed out, so a kernel that does not write its whole result is seen. What
// is launched beside runs as late as it may, when it is joined; what is recorded runs when it is launched again.

#include <sys/mman.h>

#include <atomic>
#include <bit>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "calm/tensor/cuda/kernels.cuh"
#include "calm/tensor/cuda/one_row.cuh"
#include "calm/tensor/cuda/products.hpp"
#include "calm/tensor/cuda/profile.hpp"
#include "calm/tensor/cuda/streams.hpp"
#include "calm/tensor/error.hpp"

namespace calm::cuda {

namespace {

/// Blocks of equal size are handed out again, newest first.
class Memory {
 public:
  static constexpr std::size_t room = std::size_t{1} << 34, page = std::size_t{1} << 21;

  Memory() {
    void* const at = mmap(nullptr, room + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<char*>(at) + (page - reinterpret_cast<std::uintptr_t>(at) % page);
    madvise(base_, room, MADV_HUGEPAGE);  // each launch opens and closes every page
  }
  void* take(std::size_t bytes) {
    const std::size_t size = rounded(bytes);
    auto& free = free_[size];
    void* block = base_ + used_;
    if (free.empty()) {
      used_ += size;
    } else {
      block = free.back();
      free.pop_back();
    }
    if (used_ > room) throw std::bad_alloc();
    open();
    std::memset(block, 0xff, size);
    close();
    use.live += size;
    use.peak = std::max(use.peak, use.live);
    return block;
  }
  void give(void* block, std::size_t bytes) {
    free_[rounded(bytes)].push_back(block);
    use.live -= rounded(bytes);
  }
  void open() {
    if (opened_++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void close() {
    if (--opened_ == 0) protect(PROT_NONE);
  }

  Use use;

 private:
  static std::size_t rounded(std::size_t bytes) { return (bytes + 255) / 256 * 256 + 256; }
  void protect(int how) {
    if (mprotect(base_, (used_ + page - 1) / page * page, how) != 0) std::abort();
  }

  char* base_ = nullptr;
  std::size_t used_ = 4096;
  int opened_ = 0;
  std::map<std::size_t, std::vector<void*>> free_;
};

std::recursive_mutex mutex;
std::uint64_t launch_count = 0, wait_count = 0;

Memory& memory() {
  static Memory* const m = new Memory;
  return *m;
}

using Launch = std::function<void()>;
using Given = std::pair<void*, std::size_t>;

/// What was launched, and the memory that was given back meanwhile and is still in use.
struct Kept {
  std::vector<Launch> launches;
  std::vector<Given> given;
  std::vector<void*> shared;

  void give_all() {
    for (const auto& [block, bytes] : std::exchange(given, {})) memory().give(block, bytes);
    for (void* const block : std::exchange(shared, {})) ::operator delete(block);
  }
  /// Gives back with its own what `other` would.
  void take_over(Kept& other) {
    for (const Given& g : std::exchange(other.given, {})) given.push_back(g);
    for (void* const block : std::exchange(other.shared, {})) shared.push_back(block);
  }
};
Kept beside;
std::size_t joined = 0;                    ///< launches of `beside` that have run
std::map<std::size_t, std::size_t> marks;  ///< by place: launches before it
Kept* recording = nullptr;
bool on_side = false, profiling = false;
std::map<std::string, ProfileLine> profile;

void perform(Launch f) {
  if (recording) {
    recording->launches.push_back(std::move(f));
    return;
  }
  ++launch_count;
  memory().open();
  f();
  memory().close();
}

void require_running(const char* what) {
  calm::detail::require(recording == nullptr, [&] {
    return "calm::cuda: " + std::string(what) + " while launches are recorded: it would not happen again";
  });
}

}  // namespace

void launch(const char* kernel, Launch f) {
  const std::lock_guard lock(mutex);
  if (profiling && !recording && !on_side) {
    profile[kernel].kernel = kernel;
    ++profile[kernel].launches;
  }
  if (on_side) beside.launches.push_back(std::move(f));
  else perform(std::move(f));
}

void start_profile() {
  profile.clear();
  profiling = true;
}
std::vector<ProfileLine> end_profile() {
  profiling = false;
  std::vector<ProfileLine> lines;
  for (const auto& entry : profile) lines.push_back(entry.second);
  return lines;
}

void begin_beside() { on_side = true; }
void end_beside() noexcept { on_side = false; }
void join_beside() {
  const std::lock_guard lock(mutex);
  for (; joined < beside.launches.size(); ++joined) perform(std::move(beside.launches[joined]));
  beside.launches.clear();
  marks.clear();
  joined = 0;
  if (recording)
    recording->take_over(beside);
  else
    beside.give_all();
}
void mark_beside(std::size_t place) {
  const std::lock_guard lock(mutex);
  if (on_side) marks[place] = beside.launches.size();
}
void join_beside_at(std::size_t place) {
  const std::lock_guard lock(mutex);
  const auto mark = marks.find(place);
  if (mark == marks.end()) return;
  for (; joined < mark->second; ++joined) perform(std::move(beside.launches[joined]));
}
bool in_order() { return !on_side && recording == nullptr; }
void begin_recording() {
  join_beside();
  recording = new Kept;
}
void* end_recording(bool abandon) {
  join_beside();
  Kept* const made = std::exchange(recording, nullptr);
  if (!abandon) return made;
  drop_recorded(made);
  return nullptr;
}
void launch_recorded(void* recorded) {
  const std::lock_guard lock(mutex);
  join_beside();
  for (const Launch& f : static_cast<Kept*>(recorded)->launches) perform(f);
}
void drop_recorded(void* recorded) noexcept {
  if (recorded == nullptr) return;
  const std::lock_guard lock(mutex);
  static_cast<Kept*>(recorded)->give_all();
  delete static_cast<Kept*>(recorded);
}

bool available(std::string*) { return true; }
DeviceInfo device() { return {.name = "the host, in place of a GPU"}; }

void* take(std::size_t bytes) {
  const std::lock_guard lock(mutex);
  return memory().take(bytes);
}
void give(void* block, std::size_t bytes) noexcept {
  const std::lock_guard lock(mutex);
  if (on_side) beside.given.emplace_back(block, bytes);
  else if (recording) recording->given.emplace_back(block, bytes);
  else memory().give(block, bytes);
}
void* take_shared(std::size_t bytes) {
  require_running("memory that the host writes is asked for");
  void* const block = ::operator new(bytes + 1);
  std::memset(block, 0x7f, bytes);
  return block;
}
void give_shared(void* block, std::size_t) noexcept {
  const std::lock_guard lock(mutex);
  if (on_side) beside.shared.push_back(block);
  else if (recording) recording->shared.push_back(block);
  else ::operator delete(block);
}

Use use() { return memory().use; }
void reset_peak() { memory().use.peak = memory().use.live; }
std::uint64_t launches() { return launch_count; }
std::uint64_t waits() { return wait_count; }
void synchronize() {
  require_running("the host waits");
  ++wait_count;
  join_beside();
}

std::vector<ProductChoice> choices;  // taken and handed out: there is nothing to choose
std::vector<ProductChoice> product_choices() { return choices; }
void choose_products(std::vector<ProductChoice> given) { choices = std::move(given); }
std::string product_maker() { return device().name; }

namespace {

/// To 10 bits of fraction, to the nearest, ties away from zero.
float tensor_float32(float x) { return std::bit_cast<float>((std::bit_cast<std::uint32_t>(x) + 0x1000u) & ~0x1fffu); }
double tensor_float32(double x) { return x; }

/// Σ_l op(a)[i, l] · op(b)[l, j], in order in A
template <class A, class T>
struct Dot {
  kernel::Op op_a, op_b;
  std::size_t k;
  kernel::MatrixRef<const T> a, b;
  bool rounds = std::is_same_v<T, float> && TensorFloat32::here();

  A at(const kernel::MatrixRef<const T>& x, kernel::Op op, std::size_t row, std::size_t col) const {
    const auto v = static_cast<A>(op == kernel::Op::none ? x.data[row * x.stride + col] : x.data[col * x.stride + row]);
    return rounds ? tensor_float32(v) : v;
  }
  A operator()(std::size_t i, std::size_t j) const {
    A sum = 0;
    for (std::size_t l = 0; l < k; ++l) sum += at(a, op_a, i, l) * at(b, op_b, l, j);
    return sum;
  }
};

/// c = alpha · op(a) · op(b) (+ c)
template <class A, class T, class R>
void multiply(kernel::Op op_a, kernel::Op op_b, std::size_t m, std::size_t n, std::size_t k, A alpha,
              kernel::MatrixRef<const T> a, kernel::MatrixRef<const T> b, bool accumulate, kernel::MatrixRef<R> c) {
  if (no_terms(m, n, k, accumulate, c)) return;
  if (one_row(op_a, op_b, m, n, k, b.stride, alpha, a.data, b.data, accumulate, c.data)) return;
  launch("gemm", [=, dot = Dot<A, T>{op_a, op_b, k, a, b}] {
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        R& to = c.data[i * c.stride + j];
        to = static_cast<R>(alpha * dot(i, j) + (accumulate ? static_cast<A>(to) : A(0)));
      }
    }
  });
}

/// What becomes of one number of a product; cuBLASLt does it before rounding.
template <class T, class A>
A finished(const kernel::Epilogue<T>& e, std::size_t n, std::size_t i, std::size_t j, A x) {
  switch (e.after) {
    case kernel::After::bias: return x + wide(e.bias[j]);
    case kernel::After::activation:
      x += wide(e.bias[j]);
      if (e.before) e.before[i * n + j] = static_cast<T>(x);
      return value_of(e.kind, x);
    case kernel::After::activation_backward: return x * slope_of(e.kind, wide(e.before[i * n + j]));
    default: return x;
  }
}

/// The sums that an epilogue writes, of what `number(line, l)` gives for the `count` places l of each line.
template <class T, class F>
void write_sums(T* sums, std::size_t lines, std::size_t count, const F& number) {
  for (std::size_t line = 0; sums && line < lines; ++line) {
    Accumulator<T> sum = 0;
    for (std::size_t l = 0; l < count; ++l) sum += number(line, l);
    sums[line] = static_cast<T>(sum);
  }
}

/// As cuBLASLt does it, with the sums of a result before it is rounded.
template <class T>
void multiply_fused(kernel::Op op_a, kernel::Op op_b, std::size_t m, std::size_t n, std::size_t k,
                    kernel::MatrixRef<const T> a, kernel::MatrixRef<const T> b, bool accumulate, kernel::MatrixRef<T> c,
                    const kernel::Epilogue<T>& e) {
  using A = Accumulator<T>;
  launch("fused gemm", [=, dot = Dot<A, T>{op_a, op_b, k, a, b}] {
    std::vector<A> all(m * n);
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        T& to = c.data[i * c.stride + j];
        all[i * n + j] = finished(e, n, i, j, dot(i, j) + (accumulate ? wide(to) : A(0)));
        to = static_cast<T>(all[i * n + j]);
      }
    }
    if (e.after == kernel::After::activation_backward)
      write_sums(e.sums, n, m, [&](std::size_t j, std::size_t i) { return all[i * n + j]; });
    if (e.after == kernel::After::sums_of_a)
      write_sums(e.sums, m, k, [&](std::size_t i, std::size_t l) { return dot.at(a, op_a, i, l); });
    if (e.after == kernel::After::sums_of_b)
      write_sums(e.sums, n, k, [&](std::size_t j, std::size_t l) { return dot.at(b, op_b, l, j); });
  });
}

}  // namespace
}  // namespace calm::cuda

namespace calm::kernel {

void copy_from_host(Cuda, std::size_t bytes, const void* from, void* to) {
  cuda::require_running("a copy from the host");
  const auto* const begin = static_cast<const char*>(from);
  cuda::launch("copy_from_host", [=, staged = std::vector<char>(begin, begin + bytes)] {
    if (!staged.empty()) std::memcpy(to, staged.data(), staged.size());
  });
}
void copy_to_host(Cuda, std::size_t bytes, const void* from, void* to) {
  cuda::require_running("a copy to the host");
  cuda::launch("copy_to_host", [=] { std::memcpy(to, from, bytes); });
  cuda::synchronize();
}

#define CALM_GEMM(A, T, R)                                                                                       \
  void gemm(Cuda, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, A alpha, MatrixRef<const T> a,  \
            MatrixRef<const T> b, bool accumulate, MatrixRef<R> c) {                                             \
    cuda::multiply(op_a, op_b, m, n, k, alpha, a, b, accumulate, c);                                             \
  }
CALM_GEMM(float, float, float)
CALM_GEMM(double, double, double)
CALM_GEMM(float, bf16, bf16)
CALM_GEMM(float, bf16, float)
CALM_GEMM(float, f16, f16)
#undef CALM_GEMM

template <class T>
bool fused_gemm(Cuda, Op op_a, Op op_b, std::size_t m, std::size_t n, std::size_t k, MatrixRef<const T> a,
                MatrixRef<const T> b, bool accumulate, MatrixRef<T> c, const Epilogue<T>& e) {
  if (!cuda::may_fuse(e, m, n, k)) return false;
  cuda::multiply_fused(op_a, op_b, m, n, k, a, b, accumulate, c, e);
  return true;
}
#define CALM_FUSED_GEMM(T)                                                                             \
  template bool fused_gemm<T>(Cuda, Op, Op, std::size_t, std::size_t, std::size_t, MatrixRef<const T>, \
                              MatrixRef<const T>, bool, MatrixRef<T>, const Epilogue<T>&);
CALM_FOR_PRODUCT_TYPES(CALM_FUSED_GEMM)
#undef CALM_FUSED_GEMM

}  // namespace calm::kernel
