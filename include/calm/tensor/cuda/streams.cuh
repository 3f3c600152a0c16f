/// \file  The second stream, and CUDA graphs.
#pragma once

#include "calm/tensor/cuda/device.cuh"
#include "calm/tensor/cuda/streams.hpp"

namespace calm::cuda {

/// `later` goes on when what stands on `first` has run.
inline void wait_for(cudaStream_t first, cudaStream_t later, cudaEvent_t passed) {
  check(cudaEventRecord(passed, first), "cudaEventRecord");
  check(cudaStreamWaitEvent(later, passed, 0), "cudaStreamWaitEvent");
}

void begin_beside() {
  Context& context = Context::get();
  wait_for(context.main, context.side, context.forked);
  context.side_runs = true;
  on_side = true;
}
void end_beside() noexcept { on_side = false; }
inline void forget_beside(Context& context) {
  context.side_runs = false;
  for (auto& mark : context.marks) mark.second.set = false;
}
void join_beside() {
  Context& context = Context::get();
  if (!context.side_runs) return;
  wait_for(context.side, context.main, context.joined);
  forget_beside(context);
}
void mark_beside(std::size_t place) {
  Context::Mark& mark = Context::get().marks[place];
  if (!mark.passed) check(cudaEventCreateWithFlags(&mark.passed, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  check(cudaEventRecord(mark.passed, stream()), "cudaEventRecord");
  mark.set = true;
}
void join_beside_at(std::size_t place) {
  Context& context = Context::get();
  const auto mark = context.marks.find(place);
  if (!context.side_runs || mark == context.marks.end() || !mark->second.set) return;
  check(cudaStreamWaitEvent(context.main, mark->second.passed, 0), "cudaStreamWaitEvent");
}

bool in_order() { return !on_side && !Context::get().recording(); }

void begin_recording() {
  Context& context = Context::get();
  join_beside();
  check(cudaStreamBeginCapture(context.main, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  context.records = true;
}
void* end_recording(bool abandon) {
  Context& context = Context::get();
  if (context.side_runs) {  // whatever became of it, the two streams leave the recording together
    cudaEventRecord(context.joined, context.side);
    cudaStreamWaitEvent(context.main, context.joined, 0);
    forget_beside(context);
  }
  context.records = false;
  cudaGraph_t graph = nullptr;
  const cudaError_t error = cudaStreamEndCapture(context.main, &graph);
  if (abandon) {
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    return nullptr;
  }
  check(error, "cudaStreamEndCapture");
  cudaGraphExec_t runnable = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&runnable, graph, 0);
  cudaGraphDestroy(graph);
  check(made, "cudaGraphInstantiate");
  return runnable;
}
void launch_recorded(void* recorded) {
  Context& context = Context::get();
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(recorded), context.main), "cudaGraphLaunch");
  ++context.launches;
}
void drop_recorded(void* recorded) noexcept {
  if (recorded == nullptr) return;
  cudaStreamSynchronize(Context::get().main);  // it may still run
  cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(recorded));
}

}  // namespace calm::cuda
