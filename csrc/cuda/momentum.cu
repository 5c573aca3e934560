// The dense form between its matrix products: a thread a unit of an item, neighbours along units.
#define LPGD_ISA cuda
#include "core/momentum_units.h"
#include "cuda/momentum.h"

namespace lpgd::cuda {

namespace {

struct Walk {
  std::int64_t first, step;
};
__device__ __forceinline__ Walk walk() {
  return {static_cast<std::int64_t>(blockIdx.x) * kEntryThreads + threadIdx.x,
          static_cast<std::int64_t>(gridDim.x) * kEntryThreads};
}

template <class T>
__global__ __launch_bounds__(kEntryThreads) void activate_kernel(CellTask<T> task) {
  const Walk at = walk();
  activate_entries(task, at.first, at.step);
}

template <class T>
__global__ __launch_bounds__(kEntryThreads) void cell_backward_kernel(CellBackwardTask<T> task) {
  const Walk at = walk();
  cell_backward_entries(task, at.first, at.step);
}

template <class T>
__global__ __launch_bounds__(kEntryThreads) void join_kernel(const T* states, std::int64_t stride,
                                                             std::int64_t batch, int layers,
                                                             int hidden, T* to) {
  const Walk at = walk();
  join_entries(states, stride, batch, layers, hidden, to, at.first, at.step);
}

template <class T>
__global__ __launch_bounds__(kEntryThreads) void add_kernel(const T* a, T* out,
                                                            std::int64_t count) {
  const Walk at = walk();
  for (std::int64_t i = at.first; i < count; i += at.step) out[i] += a[i];
}

}  // namespace

template <class T>
cudaError_t activate(const CellTask<T>& task, cudaStream_t stream) {
  const int blocks = entry_blocks(task.batch * task.hidden);
  if (blocks == 0) return cudaSuccess;
  activate_kernel<<<blocks, kEntryThreads, 0, stream>>>(task);
  return cudaGetLastError();
}

template <class T>
cudaError_t cell_backward(const CellBackwardTask<T>& task, cudaStream_t stream) {
  const int blocks = entry_blocks(task.batch * task.hidden);
  if (blocks == 0) return cudaSuccess;
  cell_backward_kernel<<<blocks, kEntryThreads, 0, stream>>>(task);
  return cudaGetLastError();
}

template <class T>
cudaError_t join_states(const T* states, std::int64_t stride, std::int64_t batch, int layers,
                        int hidden, T* to, cudaStream_t stream) {
  const int blocks = entry_blocks(batch * layers * hidden);
  if (blocks == 0) return cudaSuccess;
  join_kernel<<<blocks, kEntryThreads, 0, stream>>>(states, stride, batch, layers, hidden, to);
  return cudaGetLastError();
}

template <class T>
cudaError_t add(const T* a, T* out, std::int64_t count, cudaStream_t stream) {
  const int blocks = entry_blocks(count);
  if (blocks == 0) return cudaSuccess;
  add_kernel<<<blocks, kEntryThreads, 0, stream>>>(a, out, count);
  return cudaGetLastError();
}

#define LPGD_INSTANTIATE(T)                                                               \
  template cudaError_t activate<T>(const CellTask<T>&, cudaStream_t);                     \
  template cudaError_t cell_backward<T>(const CellBackwardTask<T>&, cudaStream_t);        \
  template cudaError_t join_states<T>(const T*, std::int64_t, std::int64_t, int, int, T*, \
                                      cudaStream_t);                                      \
  template cudaError_t add<T>(const T*, T*, std::int64_t, cudaStream_t);
LPGD_INSTANTIATE(double)
LPGD_INSTANTIATE(float)
#undef LPGD_INSTANTIATE

}  // namespace lpgd::cuda
