// lpgd::{lstm,gru}_momentum_{step,sequence,coordinate} and their backward ops for CUDA tensors.
// Their schema is in momentum.cpp and momentum_coordinate.cpp. Nothing here waits for the device.
#include "cuda/momentum.h"
#include "ops/cuda_stream.h"
#include "ops/momentum_coordinate.h"
#include "ops/momentum_dense.h"

namespace lpgd::ops {

namespace {

struct CudaCells {
  static constexpr std::int64_t kSmallBatch = 0;
  static constexpr bool kTakesSteps = false;

  explicit CudaCells(const Tensor& like) : scope(like.get_device_index()) {}

  template <class T>
  void activate(const CellTask<T>& task) const {
    check_cuda(cuda::activate(task, scope.stream()), "lpgd: momentum");
  }
  template <class T>
  void cell_backward(const CellBackwardTask<T>& task) const {
    check_cuda(cuda::cell_backward(task, scope.stream()), "lpgd: momentum, backward");
  }
  template <class T>
  void join(const T* states, std::int64_t stride, const MomentumShape& shape, T* to) const {
    check_cuda(cuda::join_states(states, stride, shape.batch, shape.layers, shape.hidden, to,
                                 scope.stream()),
               "lpgd: momentum, states");
  }
  template <class T>
  void map(Tensor& out, const Tensor& states, const Tensor& w, const Tensor& bias, T*) const {
    const std::int64_t n = w.size(0), width = w.size(1);
    multiply_with_bias(out, states, matrix<T>(w.const_data_ptr<T>(), n, width, width, 1, w),
                       vector_of<T>(bias.const_data_ptr<T>(), n, w));
  }
  template <class T>
  void add(const T* a, T* out, std::int64_t count) const {
    check_cuda(cuda::add(a, out, count, scope.stream()), "lpgd: momentum, sum");
  }

  CudaScope scope;
};

struct CudaRows {
  explicit CudaRows(const Tensor& like) : scope(like.get_device_index()) {}

  template <class T>
  void forward(const CoordinateTask<T>& task) const {
    check_cuda(cuda::coordinate_forward(task, scope.stream()), "lpgd: momentum, coordinates");
  }
  template <class T>
  void backward(const CoordinateTask<T>& task, T* total, const Tensor& like) const {
    const cuda::RowGeometry geometry = cuda::plan_coordinate_backward(task);
    const Tensor workspace = new_tensor(like, {geometry.workspace()}, like.scalar_type());
    check_cuda(cuda::coordinate_backward(task, geometry, workspace.mutable_data_ptr<T>(), total,
                                         scope.stream()),
               "lpgd: momentum, coordinates backward");
  }

  CudaScope scope;
};

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_IMPL(lpgd, CUDA, m) {
  lpgd::ops::register_dense_momentum<lpgd::ops::CudaCells>(m);
  lpgd::ops::register_coordinate_momentum<lpgd::ops::CudaRows>(m);
}
