#include "ops/cuda_stream.h"

#include <dlfcn.h>

#include <stdexcept>
#include <string>

namespace lpgd::ops {
namespace {

using StreamGetter = AOTITorchError (*)(int32_t device_index, void** stream);

// aoti_torch_get_current_cuda_stream lives in libtorch_cuda. A plain reference to it would keep
// this binary from loading beside a CPU torch; and torch loads its libraries locally, so
// RTLD_DEFAULT does not see it even where it is there. NOLOAD: whoever has a CUDA tensor has the
// library already.
StreamGetter find_stream_getter() {
  void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return nullptr;
  return reinterpret_cast<StreamGetter>(dlsym(library, "aoti_torch_get_current_cuda_stream"));
}

}  // namespace

cudaStream_t current_cuda_stream(int32_t device) {
  static const StreamGetter getter = find_stream_getter();
  if (getter == nullptr)
    throw std::runtime_error("lpgd: this torch has no CUDA (libtorch_cuda.so is not loaded)");
  void* stream = nullptr;
  if (getter(device, &stream) != 0)
    throw std::runtime_error("lpgd: torch gave no current stream for CUDA device " +
                             std::to_string(device));
  return static_cast<cudaStream_t>(stream);
}

void check_cuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

}  // namespace lpgd::ops
