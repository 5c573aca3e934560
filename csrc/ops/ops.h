// What the files of this folder share: tensors to plain pointers, dtype dispatch, work shared out
// over torch's threads. Shapes have been checked in Python; what is checked here keeps memory safe.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <new>
#include <optional>
#include <vector>

#include "cpu/interrupt.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lpgd::ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using MaybeTensor = std::optional<Tensor>;

inline bool is_present(const MaybeTensor& tensor) {
  return tensor.has_value() && tensor->defined();
}

// Large results come from the system page by page, and faulting 4 KiB pages in takes longer than
// writing them. Pages of 2 MiB are asked for, as numpy does; where there are none nothing changes.
inline void prefer_large_pages(const Tensor& tensor) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr std::size_t kPage = 4096, kLarge = std::size_t{4} << 20;
  const std::size_t bytes = static_cast<std::size_t>(tensor.numel()) * tensor.element_size();
  if (!tensor.is_cpu() || bytes < kLarge) return;
  const auto start = reinterpret_cast<std::uintptr_t>(tensor.mutable_data_ptr());
  const std::uintptr_t first = (start + kPage - 1) / kPage * kPage;
  madvise(reinterpret_cast<void*>(first), start + bytes - first, MADV_HUGEPAGE);
#else
  (void)tensor;
#endif
}

inline Tensor new_tensor(const Tensor& like, std::initializer_list<std::int64_t> sizes,
                         ScalarType dtype) {
  Tensor out = torch::stable::new_empty(like, {sizes.begin(), sizes.size()}, dtype);
  prefer_large_pages(out);
  return out;
}

inline void check_device(const Tensor& tensor, const Tensor& like, const char* name) {
  STD_TORCH_CHECK(tensor.is_cpu() == like.is_cpu() && tensor.get_device() == like.get_device(),
                  name, " must be on the device of q");
}

// `tensor` must be contiguous, of the dtype and device of `like`; name is for the message.
inline void check_like(const Tensor& tensor, const Tensor& like, const char* name) {
  STD_TORCH_CHECK(tensor.is_contiguous(), name, " must be contiguous");
  STD_TORCH_CHECK(tensor.scalar_type() == like.scalar_type(), name, " must have the dtype of q");
  check_device(tensor, like, name);
}

// f(T{}) for T the number type of `tensor`
template <class F>
auto dispatch_dtype(const Tensor& tensor, const F& f) {
  const ScalarType dtype = tensor.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Double || dtype == ScalarType::Float,
                  "lpgd: tensors must be float32 or float64");
  return dtype == ScalarType::Double ? f(double{}) : f(float{});
}

// A block of memory for one thread's workspace, aligned for SIMD registers.
class Workspace {
 public:
  explicit Workspace(std::size_t bytes)
      : data_(::operator new(bytes > 0 ? bytes : 64, std::align_val_t{64})) {}
  ~Workspace() { ::operator delete(data_, std::align_val_t{64}); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* get() const { return data_; }

 private:
  void* data_;
};

// A workspace for each of torch's threads, or for fewer: no more than there is work for.
class Workspaces {
 public:
  Workspaces(std::int64_t work, std::size_t bytes)
      : Workspaces(work, [bytes](std::int64_t) { return bytes; }) {}
  template <class BytesOf>  // of the number of workspaces
  Workspaces(std::int64_t work, const BytesOf& bytes_of) {
    const std::int64_t threads = torch::stable::get_num_threads();
    const std::int64_t workers = threads < work ? threads : work;
    const std::size_t bytes = bytes_of(workers);
    try {  // allocated here: a failure is one exception
      for (std::int64_t w = 0; w < workers; ++w) all_.push_back(std::make_unique<Workspace>(bytes));
    } catch (const std::bad_alloc&) {
      STD_TORCH_CHECK(false, "lpgd: out of memory: ", workers, " threads ask for a workspace of ",
                      bytes, " bytes each; torch.set_num_threads() makes them fewer");
    }
  }
  std::int64_t count() const { return static_cast<std::int64_t>(all_.size()); }
  void* of(std::int64_t worker) const { return all_[static_cast<std::size_t>(worker)]->get(); }

 private:
  std::vector<std::unique_ptr<Workspace>> all_;
};

// body(workspace, item, fresh) for items 0..count-1 on torch's threads, each with a workspace of
// its own. Items are taken one by one, since problems differ in their number of iterations. Ctrl-C
// ends the loop before its next item (lpgd_native/_interrupt.py knows the message).
template <class F>
void parallel_items(std::int64_t count, std::size_t workspace_bytes, const F& body) {
  if (count == 0) return;
  const Workspaces workspaces(count, workspace_bytes);
  const std::int64_t workers = workspaces.count();
  const InterruptWatch watch(count > workers);  // it costs a microsecond: not where it can't help
  std::atomic<std::int64_t> next{0};
  torch::stable::parallel_for(0, workers, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t worker = begin; worker < end; ++worker) {
      bool fresh = true;
      for (std::int64_t item = next++; item < count && !watch.stopped(); item = next++) {
        body(workspaces.of(worker), item, fresh);
        fresh = false;
      }
    }
  });
  STD_TORCH_CHECK(!watch.stopped(), "lpgd: interrupted by a signal");
}

}  // namespace lpgd::ops
