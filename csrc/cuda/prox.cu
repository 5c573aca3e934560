// Separable operators: a thread per coordinate. Operators on rows: a block per row where the row is
// summed up, a thread per row where it is walked from end to end.
#define LPGD_ISA cuda
#include "core/prox_exp_cone.h"
#include "core/prox_monotone.h"
#include "core/prox_norms.h"
#include "core/prox_plane.h"
#include "core/prox_separable.h"
#include "core/prox_threshold.h"
#include "core/prox_tv.h"
#include "cuda/prox.h"

namespace lpgd::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWalkers = 64;  // threads of a block whose threads walk rows
constexpr int kScratch = 33;
constexpr std::int64_t kMostBlocks = 65535;
constexpr std::size_t kMostScratch = std::size_t{1} << 28;

int blocks_for(std::int64_t count) {
  return static_cast<int>(count < 1 ? 1 : count < kMostBlocks ? count : kMostBlocks);
}

template <class F, int Count, class T>
__device__ __forceinline__ bool load_parameters(const ProxTask<T>& task, std::int64_t row,
                                                std::int64_t column, T* p) {
  for (int k = 0; k < Count; ++k) p[k] = row_of(task.parameters[k], row)[column];
  if constexpr (Count > 0) return F::valid(p);
  return true;
}

template <class F, int Count, class T>
__global__ void separable_kernel(ProxTask<T> task) {
  const std::int64_t total = task.rows * task.n;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total;
       i += stride) {
    T p[Count + 1];
    const bool valid = load_parameters<F, Count>(task, i / task.n, i % task.n, p);
    const T x = task.x[i];
    task.out[i] = !valid ? std::numeric_limits<T>::quiet_NaN() : x == x ? F::value(x, p) : x;
  }
}

template <class F, int Count, class T>
__global__ void separable_backward_kernel(ProxTask<T> task, double* sums) {
  __shared__ double scratch[kScratch];
  const BlockGroup group{scratch};
  const std::int64_t pieces = (task.n + kProxPiece - 1) / kProxPiece;
  for (std::int64_t k = blockIdx.x; k < task.rows * pieces; k += gridDim.x) {
    const std::int64_t row = k / pieces, begin = k % pieces * kProxPiece;
    const std::int64_t end = begin + kProxPiece < task.n ? begin + kProxPiece : task.n;
    double total[2] = {0, 0};
    for (std::int64_t column = begin + group.lane(); column < end; column += group.size()) {
      const std::int64_t i = row * task.n + column;
      T p[Count + 1], d[Count + 1];
      const T x = task.x[i], g = task.gradient[i];
      const bool valid = load_parameters<F, Count>(task, row, column, p) && x == x;
      F::derivative(x, p, d);
      if (!valid)
        for (int q = 0; q <= Count; ++q) d[q] = std::numeric_limits<T>::quiet_NaN();
      task.gradient_x[i] = d[0] * g;
      for (int q = 0; q < Count; ++q) {
        const ProxParameterGradient<T>& to = task.gradient_parameters[q];
        if (to.data == nullptr) continue;
        if (to.step != 0) {
          to.data[row * to.row_step + column] = d[q + 1] * g;
        } else {
          total[q] += static_cast<double>(d[q + 1] * g);
        }
      }
    }
    for (int q = 0; q < Count; ++q) {
      const ProxParameterGradient<T>& to = task.gradient_parameters[q];
      if (to.data == nullptr || to.step != 0) continue;
      const double sum = group.sum(total[q]);
      if (group.lane() == 0) sums[q * task.rows * pieces + k] = sum;
    }
  }
}

// the pieces of a row, added in their order
template <class T>
__global__ void gather_kernel(ProxTask<T> task, const double* sums) {
  const std::int64_t pieces = (task.n + kProxPiece - 1) / kProxPiece;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       row < task.rows; row += stride) {
    for (int q = 0; q < 2; ++q) {
      const ProxParameterGradient<T>& to = task.gradient_parameters[q];
      if (to.data == nullptr || to.step != 0) continue;
      double total = 0;
      for (std::int64_t piece = 0; piece < pieces; ++piece)
        total += sums[(q * task.rows + row) * pieces + piece];
      to.data[row * to.row_step] = static_cast<T>(total);
    }
  }
}

template <class Op, bool Backward, class T>
__global__ void block_kernel(ProxTask<T> task) {
  __shared__ double scratch[kScratch];
  const BlockGroup group{scratch};
  for (std::int64_t row = blockIdx.x; row < task.rows; row += gridDim.x) {
    if constexpr (Backward) {
      Op::vjp(group, row_of(task, row, nullptr));
    } else {
      Op::value(group, row_of(task, row, nullptr));
    }
    group.sync();
  }
}

template <class Op, bool Backward, class T>
__global__ void walk_kernel(ProxTask<T> task, int lanes, std::size_t lane_bytes, char* scratch) {
  const int lane = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (lane >= lanes) return;
  for (std::int64_t row = lane; row < task.rows; row += lanes) {
    const ProxRow<T> at = row_of(task, row, scratch + static_cast<std::size_t>(lane) * lane_bytes);
    if constexpr (Backward) {
      Op::vjp(SerialGroup{}, at);
    } else {
      Op::value(SerialGroup{}, at);
    }
  }
}

template <bool Backward, class T>
cudaError_t launch_rows(Rowwise kind, const ProxTask<T>& task, const ProxPlan& plan, void* scratch,
                        cudaStream_t stream) {
  if (task.rows == 0 || task.n == 0) return cudaSuccess;
  const int threads = task.n <= 64 ? 32 : task.n <= 1024 ? 128 : kThreads;
  switch (kind) {
#define LPGD_CASE(name, Op, count)                                                   \
  case Rowwise::name:                                                                \
    block_kernel<Op, Backward><<<blocks_for(task.rows), threads, 0, stream>>>(task); \
    break;
    LPGD_FOR_EACH_REDUCING(LPGD_CASE)
#undef LPGD_CASE
#define LPGD_CASE(name, Op, count)                                                     \
  case Rowwise::name:                                                                  \
    walk_kernel<Op, Backward>                                                          \
        <<<blocks_for((plan.lanes + kWalkers - 1) / kWalkers), kWalkers, 0, stream>>>( \
            task, plan.lanes, plan.lane_bytes, static_cast<char*>(scratch));           \
    break;
    LPGD_FOR_EACH_SEQUENTIAL(LPGD_CASE)
#undef LPGD_CASE
  }
  return cudaGetLastError();
}

}  // namespace

template <class T>
cudaError_t separable(Separable kind, const ProxTask<T>& task, cudaStream_t stream) {
  if (task.rows == 0 || task.n == 0) return cudaSuccess;
  const int blocks = blocks_for((task.rows * task.n + kThreads - 1) / kThreads);
  switch (kind) {
#define LPGD_CASE(name, F, count)                                      \
  case Separable::name:                                                \
    separable_kernel<F, count><<<blocks, kThreads, 0, stream>>>(task); \
    break;
    LPGD_FOR_EACH_SEPARABLE(LPGD_CASE)
#undef LPGD_CASE
  }
  return cudaGetLastError();
}

template <class T>
cudaError_t separable_backward(Separable kind, const ProxTask<T>& task, double* sums,
                               cudaStream_t stream) {
  if (task.rows == 0 || task.n == 0) return cudaSuccess;
  const std::int64_t pieces = (task.n + kProxPiece - 1) / kProxPiece;
  const int blocks = blocks_for(task.rows * pieces);
  switch (kind) {
#define LPGD_CASE(name, F, count)                                                     \
  case Separable::name:                                                               \
    separable_backward_kernel<F, count><<<blocks, kThreads, 0, stream>>>(task, sums); \
    break;
    LPGD_FOR_EACH_SEPARABLE(LPGD_CASE)
#undef LPGD_CASE
  }
  gather_kernel<<<blocks_for((task.rows + kThreads - 1) / kThreads), kThreads, 0, stream>>>(task,
                                                                                            sums);
  return cudaGetLastError();
}

ProxPlan plan_rows(Rowwise kind, std::int64_t rows, std::int64_t n) {
  std::size_t bytes = 0;
  switch (kind) {
#define LPGD_CASE(name, Op, count)                    \
  case Rowwise::name:                                 \
    bytes = (Op::scratch_bytes(n) + 255) / 256 * 256; \
    break;
    LPGD_FOR_EACH_SEQUENTIAL(LPGD_CASE)
#undef LPGD_CASE
    default:
      return {0, 0};
  }
  std::int64_t lanes = rows < 65536 ? rows : 65536;
  if (bytes > 0) {
    const auto fit = static_cast<std::int64_t>(kMostScratch / bytes);
    if (lanes > fit) lanes = fit < kWalkers ? kWalkers : fit;
  }
  return {static_cast<int>(lanes), bytes};
}

template <class T>
cudaError_t rows(Rowwise kind, const ProxTask<T>& task, const ProxPlan& plan, void* scratch,
                 cudaStream_t stream) {
  return launch_rows<false>(kind, task, plan, scratch, stream);
}
template <class T>
cudaError_t rows_backward(Rowwise kind, const ProxTask<T>& task, const ProxPlan& plan,
                          void* scratch, cudaStream_t stream) {
  return launch_rows<true>(kind, task, plan, scratch, stream);
}

#define LPGD_INSTANTIATE(T)                                                                        \
  template cudaError_t separable<T>(Separable, const ProxTask<T>&, cudaStream_t);                  \
  template cudaError_t separable_backward<T>(Separable, const ProxTask<T>&, double*,               \
                                             cudaStream_t);                                        \
  template cudaError_t rows<T>(Rowwise, const ProxTask<T>&, const ProxPlan&, void*, cudaStream_t); \
  template cudaError_t rows_backward<T>(Rowwise, const ProxTask<T>&, const ProxPlan&, void*,       \
                                        cudaStream_t);
LPGD_INSTANTIATE(double)
LPGD_INSTANTIATE(float)
#undef LPGD_INSTANTIATE

}  // namespace lpgd::cuda
