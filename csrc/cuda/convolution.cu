// A position of an item a thread, its weights in shared memory. Sums over positions are taken in
// parts, which a second kernel adds in their order.
#define LPGD_ISA cuda
#include "core/convolution_rows.h"
#include "cuda/convolution.h"

namespace lpgd::cuda {

namespace {

constexpr int kSumThreads = 256;
constexpr int kItemThreads = 64;
constexpr int kScratch = 33;

extern __shared__ __align__(16) unsigned char shared[];

template <bool backward, int J, class T>
__global__ __launch_bounds__(kConvolutionThreads, 4) void rows_kernel(ConvolutionTask<T> task,
                                                                      int quads, int room,
                                                                      T* parts) {
  const BlockGroup group{nullptr};
  const std::int64_t rows = task.batch * task.n;
  const int all = ((backward ? task.inputs : task.outputs) + 3) / 4;
  const int begin = static_cast<int>(blockIdx.y) * quads;
  const int end = begin + quads < all ? begin + quads : all;
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kConvolutionThreads; row < rows;
       row += static_cast<std::int64_t>(gridDim.x) * kConvolutionThreads)
    convolve_rows<backward, J>(group, task, row, begin, end, reinterpret_cast<Quad<T>*>(shared),
                               room, parts + blockIdx.y * rows);
}

template <class T>
__global__ __launch_bounds__(kItemThreads) void slope_kernel(ConvolutionTask<T> task,
                                                             const T* parts, int number) {
  __shared__ double scratch[kScratch];
  const BlockGroup group{scratch};
  for (std::int64_t b = blockIdx.x; b < task.batch; b += gridDim.x)
    add_slope_parts(group, parts, number, task.batch, task.n, b, task.d_slope);
}

template <class T>
__global__ __launch_bounds__(kConvolutionThreads) void weights_kernel(ConvolutionTask<T> task,
                                                                      ConvolutionSums sums,
                                                                      T* parts) {
  const BlockGroup group{nullptr};
  const std::int64_t from = static_cast<std::int64_t>(blockIdx.x) * sums.rows;
  const std::int64_t left = task.batch * task.n - from;
  convolution_row_sums(group, task, from, left < sums.rows ? left : sums.rows,
                       reinterpret_cast<Quad<T>*>(shared), sums.room,
                       parts + blockIdx.x * sums.count);
}

template <class T>
__global__ __launch_bounds__(kSumThreads) void sum_kernel(ConvolutionTask<T> task,
                                                          ConvolutionSums sums, const T* parts) {
  const BlockGroup group{nullptr};
  const std::int64_t weights = sums.count - task.outputs;
  for (std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kPartColumns; at < sums.count;
       at += static_cast<std::int64_t>(gridDim.x) * kPartColumns)
    add_parts(group, parts, sums.blocks, sums.count, at, task.d_w, task.d_bias, weights,
              reinterpret_cast<T*>(shared));
}

template <bool backward, class T>
void launch_rows(const ConvolutionTask<T>& task, const ConvolutionGeometry& geometry, T* parts,
                 cudaStream_t stream) {
  if (geometry.blocks == 0 || geometry.groups == 0) return;
  const dim3 grid(static_cast<unsigned>(geometry.blocks), static_cast<unsigned>(geometry.groups));
  if (geometry.tile == 4)
    rows_kernel<backward, 4><<<grid, kConvolutionThreads, geometry.shared_bytes, stream>>>(
        task, geometry.quads, geometry.room, parts);
  else
    rows_kernel<backward, 1><<<grid, kConvolutionThreads, geometry.shared_bytes, stream>>>(
        task, geometry.quads, geometry.room, parts);
}

}  // namespace

template <class T>
cudaError_t convolution_forward(const ConvolutionTask<T>& task, cudaStream_t stream) {
  launch_rows<false>(task,
                     convolution_geometry(task.batch * task.n, task.outputs,
                                          std::int64_t{task.inputs} * task.kernel, sizeof(T)),
                     static_cast<T*>(nullptr), stream);
  return cudaGetLastError();
}

template <class T>
ConvolutionPlan plan_convolution_backward(const ConvolutionTask<T>& task) {
  const std::int64_t rows = task.batch * task.n, kernel = task.kernel;
  ConvolutionPlan plan{};
  plan.signal = convolution_geometry(rows, task.inputs, task.outputs * kernel, sizeof(T));
  plan.weights = convolution_sums(rows, task.outputs, task.inputs * kernel, sizeof(T));
  plan.slope_parts = task.d_slope == nullptr ? 0 : plan.signal.groups * rows;
  return plan;
}

template <class T>
cudaError_t convolution_backward(const ConvolutionTask<T>& task, const ConvolutionPlan& plan,
                                 T* workspace, cudaStream_t stream) {
  if (task.d_x != nullptr) launch_rows<true>(task, plan.signal, workspace, stream);
  if (task.d_slope != nullptr && task.batch > 0) {
    const std::int64_t most = kMostConvolutionBlocks;
    slope_kernel<<<static_cast<unsigned>(task.batch < most ? task.batch : most), kItemThreads, 0,
                   stream>>>(task, workspace, plan.signal.groups);
  }
  T* parts = workspace + plan.slope_parts;
  if (plan.weights.blocks > 0 && task.outputs > 0)
    weights_kernel<<<static_cast<unsigned>(plan.weights.blocks), kConvolutionThreads,
                     plan.weights.shared_bytes, stream>>>(task, plan.weights, parts);
  // without rows there are no parts, and the sums are zero
  const std::int64_t columns = (plan.weights.count + kPartColumns - 1) / kPartColumns;
  if (columns > 0)
    sum_kernel<<<static_cast<unsigned>(columns < kMostConvolutionBlocks ? columns
                                                                        : kMostConvolutionBlocks),
                 kSumThreads, kSumThreads * sizeof(T), stream>>>(task, plan.weights, parts);
  return cudaGetLastError();
}

#define LPGD_INSTANTIATE(T)                                                                       \
  template cudaError_t convolution_forward<T>(const ConvolutionTask<T>&, cudaStream_t);           \
  template ConvolutionPlan plan_convolution_backward<T>(const ConvolutionTask<T>&);               \
  template cudaError_t convolution_backward<T>(const ConvolutionTask<T>&, const ConvolutionPlan&, \
                                               T*, cudaStream_t);
LPGD_INSTANTIATE(double)
LPGD_INSTANTIATE(float)
#undef LPGD_INSTANTIATE

}  // namespace lpgd::cuda
