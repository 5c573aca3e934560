// The per-coordinate form: a row a thread, its weights in shared memory. In the backward pass a
// block takes rows a grid apart, with a workspace of its own, and adds up the weights' gradients
// over them; a second kernel adds the blocks' sums, in their order.
#define LPGD_ISA cuda
#include "core/momentum_rows.h"
#include "core/momentum_rows_backward.h"
#include "cuda/momentum.h"

namespace lpgd::cuda {

namespace {

constexpr int kSumThreads = 256;

extern __shared__ __align__(16) unsigned char shared[];

template <MomentumCell cell, class T>
__global__ __launch_bounds__(kRowThreads, 3) void forward_kernel(CoordinateTask<T> task,
                                                                 int stage) {
  const BlockGroup group{nullptr};
  const RowMemory<T> memory{reinterpret_cast<Quad<T>*>(shared), stage};
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kRowThreads;
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kRowThreads; row < task.rows;
       row += step)
    rows_forward<cell>(group, task, row, memory);
}

template <MomentumCell cell, class T>
__global__ __launch_bounds__(kRowThreads, 2) void backward_kernel(CoordinateTask<T> task,
                                                                  RowGeometry geometry,
                                                                  T* workspace) {
  const BlockGroup group{nullptr};
  const RowMemory<T> memory{reinterpret_cast<Quad<T>*>(shared), geometry.stage};
  RowWork<T> work;
  work.bind(task.layers, task.hidden, kRowThreads, workspace + blockIdx.x * geometry.work);
  T* sums = workspace + gridDim.x * geometry.work + blockIdx.x * geometry.sums;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kRowThreads;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kRowThreads;
  for (std::int64_t row = begin; row < task.rows; row += step)
    rows_backward<cell>(group, task, row, memory, work, sums, row == begin);
}

template <class T>
__global__ __launch_bounds__(kSumThreads) void sum_kernel(const T* parts, std::int64_t number,
                                                          std::int64_t count, T* total) {
  const BlockGroup group{nullptr};
  for (std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kPartColumns; at < count;
       at += static_cast<std::int64_t>(gridDim.x) * kPartColumns)
    add_parts(group, parts, number, count, at, total, total, count, reinterpret_cast<T*>(shared));
}

}  // namespace

template <class T>
cudaError_t coordinate_forward(const CoordinateTask<T>& task, cudaStream_t stream) {
  const RowGeometry geometry = row_geometry(task.rows, task.hidden, sizeof(T));
  if (geometry.blocks == 0) return cudaSuccess;
  if (task.cell == MomentumCell::kLstm)
    forward_kernel<MomentumCell::kLstm>
        <<<geometry.blocks, kRowThreads, geometry.shared_bytes, stream>>>(task, geometry.stage);
  else
    forward_kernel<MomentumCell::kGru>
        <<<geometry.blocks, kRowThreads, geometry.shared_bytes, stream>>>(task, geometry.stage);
  return cudaGetLastError();
}

template <class T>
RowGeometry plan_coordinate_backward(const CoordinateTask<T>& task) {
  const std::int64_t sums = coordinate_weight_count(task.cell, task.layers, task.hidden);
  return row_backward_geometry(task.rows, task.layers, task.hidden, sums, sizeof(T));
}

template <class T>
cudaError_t coordinate_backward(const CoordinateTask<T>& task, const RowGeometry& geometry,
                                T* workspace, T* d_weights, cudaStream_t stream) {
  const int blocks = geometry.blocks;
  if (blocks > 0) {
    if (task.cell == MomentumCell::kLstm)
      backward_kernel<MomentumCell::kLstm>
          <<<blocks, kRowThreads, geometry.shared_bytes, stream>>>(task, geometry, workspace);
    else
      backward_kernel<MomentumCell::kGru>
          <<<blocks, kRowThreads, geometry.shared_bytes, stream>>>(task, geometry, workspace);
  }
  // without rows there are no parts, and the sums are zero
  sum_kernel<<<sum_blocks(geometry.sums), kSumThreads, kSumThreads * sizeof(T), stream>>>(
      workspace + blocks * geometry.work, blocks, geometry.sums, d_weights);
  return cudaGetLastError();
}

#define LPGD_INSTANTIATE(T)                                                                     \
  template cudaError_t coordinate_forward<T>(const CoordinateTask<T>&, cudaStream_t);           \
  template RowGeometry plan_coordinate_backward<T>(const CoordinateTask<T>&);                   \
  template cudaError_t coordinate_backward<T>(const CoordinateTask<T>&, const RowGeometry&, T*, \
                                              T*, cudaStream_t);
LPGD_INSTANTIATE(double)
LPGD_INSTANTIATE(float)
#undef LPGD_INSTANTIATE

}  // namespace lpgd::cuda
