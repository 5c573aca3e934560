// Separable operators: a thread per 16 bytes of a stretch of a row (a thread per coordinate of
// narrow rows). Operators on rows: a warp or a block per row where the row is summed up, a thread
// per row where it is walked from end to end.
#define LPGD_ISA cuda
#include "core/macros.h"
// An operator is all that its kernel calls: inlined, what it is given stays in registers.
#undef LPGD_HD
#define LPGD_HD LPGD_INLINE
#include "core/prox_exp_cone.h"
#include "core/prox_monotone.h"
#include "core/prox_norms.h"
#include "core/prox_plane.h"
#include "core/prox_separable.h"
#include "core/prox_stretch.h"
#include "core/prox_threshold.h"
#include "core/prox_tv.h"
#include "cuda/prox.h"
#include "cuda/worker.h"

namespace lpgd::cuda {

namespace {

constexpr int kScratch = 33;

// Blocks that a processor is to hold: 80 registers a thread and more. Named, since ptxas, left to
// itself, spills a few registers wherever that lets one block more in.
constexpr int kResident = 3;
template <class T>
constexpr int kResidentBackward = sizeof(T) == 8 ? 2 : 3;
constexpr int kResidentRows = 2;
constexpr int kResidentWalk = 8;

// The worker's first unit of a launch and the stride to its next
struct Units {
  std::int64_t first, step;
  __device__ __forceinline__ explicit Units(int lanes) {
    const std::int64_t workers = static_cast<int>(blockDim.x) / lanes;
    first = blockIdx.x * workers + worker_index(lanes);
    step = gridDim.x * workers;
  }
};

template <class F, int Count, class T>
__global__ void __launch_bounds__(kProxThreads, kResident)
    narrow_kernel(ProxTask<T> task, WorkerLaunch launch) {
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < launch.units; i += stride) {
    const std::int64_t row = i / task.n;
    RowParameter<T> parameters[Count + 1];
    for (int k = 0; k < Count; ++k) {
      parameters[k] = row_of(task.parameters[k], row);
      parameters[k].data += i % task.n * parameters[k].step;
    }
    stretch_value<F, Count>(SerialGroup{}, 1, task.x + i, parameters, task.out + i);
  }
}

// A worker's share of the stretches: body(row, piece)
template <class Body>
__device__ __forceinline__ void for_stretches(std::int64_t rows, const StretchLaunch& launch,
                                              const Body& body) {
  const std::int64_t workers = launch.threads / launch.lanes;
  const std::int64_t first = blockIdx.y * workers + worker_index(launch.lanes);
  for (std::int64_t row = first; row < rows; row += gridDim.y * workers)
    for (std::int64_t piece = blockIdx.x; piece < launch.pieces; piece += gridDim.x)
      body(row, piece);
}

template <class F, int Count, class T>
__global__ void __launch_bounds__(kProxThreads, kResident)
    stretch_kernel(ProxTask<T> task, StretchLaunch launch) {
  const WorkerGroup group = worker(nullptr, launch.lanes);
  for_stretches(task.rows, launch, [&](std::int64_t row, std::int64_t piece) {
    const std::int64_t begin = piece * kProxForwardPiece, rest = task.n - begin;
    const std::int64_t at = row * task.n + begin;
    RowParameter<T> parameters[Count + 1];
    for (int p = 0; p < Count; ++p) {
      parameters[p] = row_of(task.parameters[p], row);
      parameters[p].data += begin * parameters[p].step;
    }
    stretch_value<F, Count>(group, rest < kProxForwardPiece ? rest : kProxForwardPiece, task.x + at,
                            parameters, task.out + at);
  });
}

template <class F, int Count, class T>
__global__ void __launch_bounds__(kProxThreads, kResidentBackward<T>)
    stretch_backward_kernel(ProxTask<T> task, StretchLaunch launch, double* sums) {
  __shared__ double scratch[kScratch];
  const WorkerGroup group = worker(scratch, launch.lanes);
  for_stretches(task.rows, launch, [&](std::int64_t row, std::int64_t piece) {
    const std::int64_t begin = piece * kProxPiece, rest = task.n - begin;
    const std::int64_t at = row * task.n + begin;
    RowParameter<T> parameters[Count + 1];
    T* gp[Count + 1];
    bool summed[Count + 1];
    double totals[Count + 1];
    for (int p = 0; p < Count; ++p) {
      const ProxParameterGradient<T>& to = task.gradient_parameters[p];
      parameters[p] = row_of(task.parameters[p], row);
      parameters[p].data += begin * parameters[p].step;
      summed[p] = to.data != nullptr && to.step == 0;
      gp[p] = to.data != nullptr && to.step != 0 ? to.data + row * to.row_step + begin : nullptr;
      totals[p] = 0;
    }
    stretch_vjp<F, Count>(group, rest < kProxPiece ? rest : kProxPiece, task.x + at,
                          task.gradient + at, parameters, task.gradient_x + at, gp, summed, totals);
    for (int p = 0; p < Count; ++p) {
      if (!summed[p]) continue;
      const double sum = group.sum(totals[p]);
      if (group.lane() == 0) sums[(p * task.rows + row) * launch.pieces + piece] = sum;
    }
  });
}

// the pieces of a row, added in their order
template <class T>
__global__ void __launch_bounds__(kProxThreads)
    gather_kernel(ProxTask<T> task, const double* sums) {
  const std::int64_t pieces = ceil_div(task.n, kProxPiece);
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
__global__ void __launch_bounds__(kProxThreads, kResidentRows)
    rows_kernel(ProxTask<T> task, WorkerLaunch launch) {
  __shared__ double scratch[kScratch];
  const WorkerGroup group = worker(scratch, launch.lanes);
  const Units units(launch.lanes);
  for (std::int64_t row = units.first; row < launch.units; row += units.step) {
    if constexpr (Backward) {
      Op::vjp(group, row_of(task, row, nullptr));
    } else {
      Op::value(group, row_of(task, row, nullptr));
    }
    group.sync();
  }
}

template <class Op, bool Backward, class T>
__global__ void __launch_bounds__(kProxWalkers, kResidentWalk)
    walk_kernel(ProxTask<T> task, int lanes, std::size_t lane_bytes, char* scratch) {
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
  const WorkerLaunch launch = prox_rows_launch(task.rows, task.n);
  switch (kind) {
#define LPGD_CASE(name, Op, count)                                                         \
  case Rowwise::name:                                                                      \
    rows_kernel<Op, Backward><<<launch.blocks, launch.threads, 0, stream>>>(task, launch); \
    break;
    LPGD_FOR_EACH_REDUCING(LPGD_CASE)
#undef LPGD_CASE
#define LPGD_CASE(name, Op, count)                                                     \
  case Rowwise::name:                                                                  \
    walk_kernel<Op, Backward>                                                          \
        <<<blocks_for(ceil_div(plan.lanes, kProxWalkers)), kProxWalkers, 0, stream>>>( \
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
  const ProxTask<T> flat = flattened(task);
  const bool narrow = flat.n < kProxNarrow;
  const WorkerLaunch each = prox_narrow_launch(flat.rows, flat.n);
  const StretchLaunch launch = prox_stretch_launch(flat.rows, flat.n, kProxForwardPiece);
  const dim3 grid(launch.across, launch.down);
  switch (kind) {
#define LPGD_CASE(name, F, count)                                                    \
  case Separable::name:                                                              \
    if (narrow) {                                                                    \
      narrow_kernel<F, count><<<each.blocks, each.threads, 0, stream>>>(flat, each); \
    } else {                                                                         \
      stretch_kernel<F, count><<<grid, launch.threads, 0, stream>>>(flat, launch);   \
    }                                                                                \
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
  const ProxTask<T> flat = flattened(task);
  const StretchLaunch launch = prox_stretch_launch(flat.rows, flat.n, kProxPiece);
  const dim3 grid(launch.across, launch.down);
  bool summed = false;
  for (const ProxParameterGradient<T>& to : flat.gradient_parameters)
    summed = summed || (to.data != nullptr && to.step == 0);
  switch (kind) {
#define LPGD_CASE(name, F, count)                                                               \
  case Separable::name:                                                                         \
    stretch_backward_kernel<F, count><<<grid, launch.threads, 0, stream>>>(flat, launch, sums); \
    break;
    LPGD_FOR_EACH_SEPARABLE(LPGD_CASE)
#undef LPGD_CASE
  }
  if (summed)
    gather_kernel<<<blocks_for(ceil_div(flat.rows, kProxThreads)), kProxThreads, 0, stream>>>(flat,
                                                                                              sums);
  return cudaGetLastError();
}

ProxPlan plan_rows(Rowwise kind, std::int64_t rows, std::int64_t n) {
  std::size_t bytes = 0;
  switch (kind) {
#define LPGD_CASE(name, Op, count)               \
  case Rowwise::name:                            \
    bytes = round_up(Op::scratch_bytes(n), 256); \
    break;
    LPGD_FOR_EACH_SEQUENTIAL(LPGD_CASE)
#undef LPGD_CASE
    default:
      return {0, 0};
  }
  return {static_cast<int>(prox_walkers(rows, bytes)), bytes};
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
