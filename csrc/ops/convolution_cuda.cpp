// lpgd::conv_prelu, lpgd::conv_chain and their backward ops for CUDA tensors. Their schema is in
// convolution.cpp. Nothing here waits for the device.
#include "cuda/convolution.h"
#include "ops/convolution.h"
#include "ops/cuda_stream.h"

namespace lpgd::ops {

namespace {

struct CudaConvolution {
  explicit CudaConvolution(const Tensor& like) : scope(like.get_device_index()) {}

  template <class T>
  void forward(const ConvolutionTask<T>& task, const Tensor&) const {
    check_cuda(cuda::convolution_forward(task, scope.stream()), "lpgd::conv_prelu");
  }
  template <class T>
  void backward(const ConvolutionTask<T>& task, const Tensor& like) const {
    const cuda::ConvolutionPlan plan = cuda::plan_convolution_backward(task);
    const Tensor workspace = new_tensor(like, {plan.workspace()}, like.scalar_type());
    check_cuda(
        cuda::convolution_backward(task, plan, workspace.mutable_data_ptr<T>(), scope.stream()),
        "lpgd::conv_prelu_backward");
  }

  CudaScope scope;
};

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_IMPL(lpgd, CUDA, m) {
  using lpgd::ops::CudaConvolution;
  m.impl("conv_prelu", TORCH_BOX(&lpgd::ops::conv_prelu<CudaConvolution>));
  m.impl("conv_prelu_backward", TORCH_BOX(&lpgd::ops::conv_prelu_backward<CudaConvolution>));
  m.impl("conv_chain", TORCH_BOX(&lpgd::ops::conv_chain<CudaConvolution>));
  m.impl("conv_chain_backward", TORCH_BOX(&lpgd::ops::conv_chain_backward<CudaConvolution>));
}
