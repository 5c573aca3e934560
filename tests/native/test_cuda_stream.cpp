// csrc/ops/cuda_stream.cpp in a process without libtorch_cuda: a clear error, no crash.
#include <cstring>
#include <stdexcept>
#include <string>

#include "check.h"
#include "ops/cuda_stream.h"

namespace {

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

LPGD_TEST(no_stream_without_libtorch_cuda) {
  const std::string message = message_of([] { lpgd::ops::current_cuda_stream(0); });
  CHECK(message.find("this torch has no CUDA") != std::string::npos);
}

LPGD_TEST(a_cuda_error_names_the_call) {
  CHECK(message_of([] { lpgd::ops::check_cuda(cudaSuccess, "solve_qp"); }).empty());
  const std::string message =
      message_of([] { lpgd::ops::check_cuda(cudaErrorInvalidConfiguration, "solve_qp"); });
  CHECK(message == "solve_qp: invalid configuration argument");
}
