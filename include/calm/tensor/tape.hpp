/// \file  The tape: what the forward pass leaves behind for the backward pass.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "calm/tensor/cpu/memory.hpp"  // kernel::fill, kernel::add_to
#include "calm/tensor/error.hpp"
#include "calm/tensor/storage.hpp"

namespace calm {

/// Names a gradient on a tape.
using Slot = std::uint32_t;

namespace detail {

/// Whether `Op` has results beside the first, as it says by `several_results`.
template <class Op>
inline constexpr bool has_several_results = requires { requires Op::several_results; };

}  // namespace detail

/// Where a gradient accumulates. A parameter owns one; every intermediate value has one on the tape.
template <class Device>
struct GradientBuffer {
  Storage<Device> storage;
  std::size_t bytes = 0;
  bool ready = false;  ///< false: the gradient is zero, and the memory undefined

  template <class T>
  const T* data() const {
    return ready ? static_cast<const T*>(storage.data()) : nullptr;
  }
};

/// A list of type-erased nodes in a chunked arena, replayed once in reverse without recursion. The order of recording
/// is a topological order, so each node runs once. All memory is kept for the next step.
template <class Device>
class Tape {
 public:
  Tape() = default;
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;
  ~Tape() { clear(); }

  /// While a `Recording` lives, operations on trainable parameters of this thread are recorded on its tape; if that is
  /// null, on none.
  class Recording {
   public:
    explicit Recording(Tape* tape) : previous_(std::exchange(active_, tape)) {}
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;
    ~Recording() { active_ = previous_; }

   private:
    Tape* previous_;
  };
  [[nodiscard]] Recording record() { return Recording(this); }
  /// Nothing is recorded on this thread while what it returns lives.
  [[nodiscard]] static Recording pause() { return Recording(nullptr); }

  /// The tape that records on this thread, or null.
  static Tape* active() { return active_; }

  /// Adds a gradient slot of `bytes` bytes.  Out of line, as `allocate`: every operation of every type calls them.
  [[gnu::noinline]] Slot new_slot(std::size_t bytes) {
    slots_.push_back({GradientBuffer<Device>{{}, bytes, false}, nullptr});
    return static_cast<Slot>(slots_.size() - 1);
  }
  /// Adds a slot that accumulates into `leaf`, which must outlive the backward pass.
  Slot new_leaf(GradientBuffer<Device>& leaf) {
    slots_.push_back({{}, &leaf});
    return static_cast<Slot>(slots_.size() - 1);
  }

  /// Appends `op`, whose `op.backward(tape, out)` turns the gradient in slot `out` into those of its inputs. An op of
  /// several results says `several_results = true`, holds the other slots itself and releases them; it runs whether
  /// gradients came or not.
  template <class Op>
  void push(Op op, Slot out) {
    static_assert(std::is_nothrow_move_constructible_v<Op>);
    void* memory = allocate(sizeof(Node<Op>), alignof(Node<Op>));
    last_ = new (memory) Node<Op>(last_, out, std::move(op));
    ++nodes_;
  }

  /// Seeds `out` (one element) with `seed` and replays. What a node saved is released as soon as it has run.
  template <class T>
  void backward(Slot out, T seed = T(1)) {
    replaying_ = true;
    struct Done {
      Tape& tape;
      ~Done() { tape.clear(); }
    } done{*this};
    kernel::fill(Device{}, 1, seed, gradient<T>(out));
    replay(nullptr);
  }

  /// Records `forward()`, which returns the slot of its result, and replays that at once from the gradient of `out`.
  /// Only inside `Op::backward`: for nodes that compute again what they did not keep.
  template <class T, class F>
  void recompute(Slot out, const F& forward) {
    NodeHeader* const running = last_;
    const std::size_t chunk = chunk_, offset = offset_, nodes = nodes_;
    replaying_ = false;
    Slot again;
    {
      const Recording recording(this);
      again = forward();
    }
    replaying_ = true;
    pass_on<T>(out, again);
    replay(running);
    chunk_ = chunk;
    offset_ = offset;
    nodes_ = nodes;
  }

  /// The gradient of `slot` to add to; zero on first use.
  template <class T>
  T* gradient(Slot slot) {
    GradientBuffer<Device>& b = own_buffer<T>(slot);
    T* data = static_cast<T*>(b.storage.data());
    if (!b.ready) kernel::fill(Device{}, b.bytes / sizeof(T), T{}, data);
    b.ready = true;
    return data;
  }
  /// Where a gradient goes that an operation makes whole: it is written where none stands yet, or added.
  template <class T>
  struct Target {
    T* data;
    bool adds;
  };
  template <class T>
  Target<T> target(Slot slot) {
    GradientBuffer<Device>& b = own_buffer<T>(slot);
    return {static_cast<T*>(b.storage.data()), std::exchange(b.ready, true)};
  }
  /// The same for an operation that reads what stood there, `before` (null: nothing), where it adds: memory that others
  /// hold is read there and not copied.
  template <class T>
  struct Sum {
    T* data;
    const T* before;
    Storage<Device> held;
  };
  template <class T>
  Sum<T> sum(Slot slot) {
    GradientBuffer<Device>& b = buffer(slot);
    Sum<T> s{nullptr, static_cast<const T*>(b.storage.data()), b.storage};
    if (!std::exchange(b.ready, true)) s.before = nullptr;
    b.storage = {};
    if (s.held && s.held.unique()) b.storage = std::exchange(s.held, {});
    else b.storage = Storage<Device>(b.bytes);
    s.data = static_cast<T*>(b.storage.data());
    return s;
  }
  /// The finished gradient of `slot`; only inside `Op::backward`.
  template <class T>
  const T* incoming(Slot slot) {
    return buffer(slot).template data<T>();
  }
  /// Frees the gradient of `slot`, which nobody reads again.
  void release(Slot slot) { slots_[slot].own = {}; }
  /// Adds the gradient of `from` to that of `to`, by letting both hold the same memory where it can: who adds to one of
  /// them while the other is there gets a copy.
  template <class T>
  void share(Slot from, Slot to) {
    GradientBuffer<Device>& b = buffer(to);
    if (!b.ready && slots_[to].leaf == nullptr && slots_[from].leaf == nullptr)
      b = buffer(from);
    else
      kernel::add_to(Device{}, b.bytes / sizeof(T), incoming<T>(from), gradient<T>(to));
  }
  /// Adds the gradient of `from` (which nobody reads again) to that of `to`, by handing the memory over where it can.
  template <class T>
  void pass_on(Slot from, Slot to) {
    GradientBuffer<Device>& a = buffer(from);
    GradientBuffer<Device>& b = buffer(to);
    if (!b.ready && slots_[to].leaf == nullptr && slots_[from].leaf == nullptr) {
      std::swap(a, b);
    } else {
      kernel::add_to(Device{}, a.bytes / sizeof(T), incoming<T>(from), gradient<T>(to));
    }
  }

  /// Forgets everything recorded; keeps the memory.
  void clear() {
    for (NodeHeader* node = last_; node != nullptr; node = node->previous) {
      if (node->destroy) node->destroy(node);
    }
    last_ = nullptr;
    nodes_ = 0;
    slots_.clear();
    chunk_ = 0;
    offset_ = 0;
    replaying_ = false;
    epoch_ = next_epoch();
  }

  std::size_t node_count() const { return nodes_; }
  /// Changes whenever slots of before become void; no two tapes ever have the same, even at one address.
  std::uint64_t epoch() const { return epoch_; }

 private:
  struct NodeHeader {
    void (*run)(NodeHeader*, Tape&);
    void (*destroy)(NodeHeader*);
    NodeHeader* previous;
    Slot out;
  };
  template <class Op>
  struct Node : NodeHeader {
    Node(NodeHeader* before, Slot slot, Op&& o)
        : NodeHeader{[](NodeHeader* n, Tape& tape) {
                       const bool runs = detail::has_several_results<Op> || tape.buffer(n->out).ready;
                       if (runs) static_cast<Node*>(n)->op.backward(tape, n->out);
                     },
                     [](NodeHeader* n) { static_cast<Node*>(n)->op.~Op(); }, before, slot},
          op(std::move(o)) {}
    // A union member: its life ends with `destroy`, before the arena is rewound.
    union {
      Op op;
    };
    ~Node() {}
  };
  struct SlotEntry {
    GradientBuffer<Device> own;
    GradientBuffer<Device>* leaf;
  };

  /// Runs the nodes behind `until`, the last one first. While a node runs it is `last_`: what it records stands behind.
  void replay(const NodeHeader* until) {
    for (; last_ != until; last_ = last_->previous) {
      last_->run(last_, *this);
      last_->destroy(last_);
      last_->destroy = nullptr;
      release(last_->out);
    }
  }

  /// With memory that may be written.
  template <class T>
  GradientBuffer<Device>& own_buffer(Slot slot) {
    GradientBuffer<Device>& b = buffer(slot);
    if (b.storage && b.storage.unique()) return b;
    const Storage<Device> shared = std::exchange(b.storage, Storage<Device>(b.bytes));
    if (b.ready) {
      kernel::copy(Device{}, b.bytes / sizeof(T), static_cast<const T*>(shared.data()),
                   static_cast<T*>(b.storage.data()));
    }
    return b;
  }
  GradientBuffer<Device>& buffer(Slot slot) { return slots_[slot].leaf ? *slots_[slot].leaf : slots_[slot].own; }

  [[gnu::noinline]] void* allocate(std::size_t bytes, std::size_t alignment) {
    detail::require(!replaying_, [] { return "calm::Tape: recording during the backward pass"; });
    static constexpr std::size_t chunk_bytes = 64 * 1024;
    offset_ = (offset_ + alignment - 1) / alignment * alignment;
    if (chunks_.empty() || offset_ + bytes > chunk_bytes) {
      if (!chunks_.empty() && offset_ != 0) ++chunk_;
      if (chunk_ == chunks_.size()) chunks_.emplace_back(new std::byte[chunk_bytes]);
      offset_ = 0;
    }
    void* memory = chunks_[chunk_].get() + offset_;
    offset_ += bytes;
    return memory;
  }

  static std::uint64_t next_epoch() {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  static inline thread_local Tape* active_ = nullptr;

  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  std::size_t chunk_ = 0, offset_ = 0, nodes_ = 0;
  NodeHeader* last_ = nullptr;
  std::vector<SlotEntry> slots_;
  std::uint64_t epoch_ = next_epoch();
  bool replaying_ = false;
};

}  // namespace calm
