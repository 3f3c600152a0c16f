// calm::cuda without a GPU: the kernels' own sources compiled for the host, on memory that only they may touch.
//
// What stands for device memory is closed while no kernel runs, so a host that reads it where it must not is ended by
// SIGSEGV; and it is full of NaNs when it is handed out, so a kernel that does not write its whole result is seen.

#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include "calm/tensor/cuda/kernels.cuh"

namespace calm::cuda {

namespace {

/// Blocks of equal size are handed out again, newest first.
class Memory {
 public:
  static constexpr std::size_t room = std::size_t{1} << 34;

  Memory() {
    void* const at = mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<char*>(at);
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
    if (mprotect(base_, (used_ + 4095) / 4096 * 4096, how) != 0) std::abort();
  }

  char* base_ = nullptr;
  std::size_t used_ = 4096;
  int opened_ = 0;
  std::map<std::size_t, std::vector<void*>> free_;
};

std::recursive_mutex mutex;
std::uint64_t launch_count = 0;

Memory& memory() {
  static Memory* const m = new Memory;
  return *m;
}

}  // namespace

Running::Running(const char*) {
  mutex.lock();
  ++launch_count;
  memory().open();
}
Running::~Running() {
  memory().close();
  mutex.unlock();
}

bool available(std::string*) { return true; }
DeviceInfo device() { return {.name = "the host, in place of a GPU"}; }

void* take(std::size_t bytes) {
  const std::lock_guard lock(mutex);
  return memory().take(bytes);
}
void give(void* block, std::size_t bytes) noexcept {
  const std::lock_guard lock(mutex);
  memory().give(block, bytes);
}
void* take_shared(std::size_t bytes) {
  void* const block = ::operator new(bytes + 1);
  std::memset(block, 0x7f, bytes);
  return block;
}
void give_shared(void* block, std::size_t) noexcept { ::operator delete(block); }

Use use() { return memory().use; }
void reset_peak() { memory().use.peak = memory().use.live; }
std::uint64_t launches() { return launch_count; }
void synchronize() {}

namespace {

/// c = alpha · op(a) · op(b) (+ c), summed in order in A.
template <class A, class T, class R>
void multiply(kernel::Op op_a, kernel::Op op_b, std::size_t m, std::size_t n, std::size_t k, A alpha,
              kernel::MatrixRef<const T> a, kernel::MatrixRef<const T> b, bool accumulate, kernel::MatrixRef<R> c) {
  const Running running("gemm");
  const auto at = [](const auto& x, kernel::Op op, std::size_t row, std::size_t col) {
    return static_cast<A>(op == kernel::Op::none ? x.data[row * x.stride + col] : x.data[col * x.stride + row]);
  };
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      A sum = 0;
      for (std::size_t l = 0; l < k; ++l) sum += at(a, op_a, i, l) * at(b, op_b, l, j);
      R& to = c.data[i * c.stride + j];
      to = static_cast<R>(alpha * sum + (accumulate ? static_cast<A>(to) : A(0)));
    }
  }
}

}  // namespace
}  // namespace calm::cuda

namespace calm::kernel {

void copy_from_host(Cuda, std::size_t bytes, const void* from, void* to) {
  const cuda::Running running("copy_from_host");
  std::memcpy(to, from, bytes);
}
void copy_to_host(Cuda, std::size_t bytes, const void* from, void* to) {
  const cuda::Running running("copy_to_host");
  std::memcpy(to, from, bytes);
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
#undef CALM_GEMM

}  // namespace calm::kernel
