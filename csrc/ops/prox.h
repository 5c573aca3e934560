// Tensors of the proximal operators to the plain struct of core/prox_types.h; for CPU and CUDA
// alike.
#pragma once

#include <tuple>

#include "core/prox_types.h"
#include "ops/ops.h"

namespace lpgd::ops {

inline constexpr int kSeparableParameters[] = {
#define LPGD_COUNT(name, type, count) count,
    LPGD_FOR_EACH_SEPARABLE(LPGD_COUNT)
#undef LPGD_COUNT
};
inline constexpr int kRowwiseParameters[] = {
#define LPGD_COUNT(name, type, count) count,
    LPGD_FOR_EACH_ROWWISE(LPGD_COUNT)
#undef LPGD_COUNT
};

template <class Kind, std::size_t Count>
Kind kind_of(std::int64_t kind, const int (&)[Count]) {
  STD_TORCH_CHECK(kind >= 0 && kind < static_cast<std::int64_t>(Count),
                  "lpgd: no proximal operator ", kind);
  return static_cast<Kind>(kind);
}

inline bool is_sorting(Rowwise kind) {
  return kind == Rowwise::sorted_l1 || kind == Rowwise::permutahedron;
}

// Operators that walk a row with 32-bit places
inline void check_width(std::int64_t n) {
  STD_TORCH_CHECK(n < (std::int64_t{1} << 31) - 64, "lpgd: a row of ", n, " numbers is too long");
}

template <class T>
ProxTask<T> prox_task(const Tensor& x) {
  STD_TORCH_CHECK(x.dim() == 2, "x must be [rows, n]");
  check_like(x, x, "x");
  ProxTask<T> task{};
  task.rows = x.size(0);
  task.n = x.size(1);
  task.x = x.const_data_ptr<T>();
  return task;
}

template <class T>
const T* same_shape(const Tensor& tensor, const Tensor& x, const char* name) {
  check_like(tensor, x, name);
  STD_TORCH_CHECK(tensor.dim() == 2 && tensor.size(0) == x.size(0) && tensor.size(1) == x.size(1),
                  name, " must have the shape of x");
  return tensor.const_data_ptr<T>();
}

template <class T>
void set_parameters(ProxTask<T>& task, const Tensor& x, int count,
                    std::initializer_list<const MaybeTensor*> tensors) {
  int k = 0;
  for (const MaybeTensor* tensor : tensors) {
    STD_TORCH_CHECK(is_present(*tensor) == (k < count), "lpgd: this operator has ", count,
                    " parameters");
    if (k < count) {
      const Tensor& given = **tensor;
      check_like(given, x, "a parameter");
      STD_TORCH_CHECK(given.dim() == 2, "a parameter must be [1 | rows, 1 | n]");
      const std::int64_t rows = given.size(0), columns = given.size(1);
      STD_TORCH_CHECK((rows == 1 || rows == task.rows) && (columns == 1 || columns == task.n),
                      "a parameter is [", rows, ", ", columns, "], x is [", task.rows, ", ", task.n,
                      "]");
      task.parameters[k] = {given.const_data_ptr<T>(), rows == 1 ? 0 : columns,
                            columns == 1 ? std::int64_t{0} : std::int64_t{1}};
    }
    ++k;
  }
}

// The tensors [rows, 1 | n] of the gradients that `needs` asks for, a bit each; [rows, 0] for
// others
template <class T>
Tensor parameter_gradient(ProxTask<T>& task, const Tensor& x, int k, std::int64_t needs) {
  const ProxParameter<T>& parameter = task.parameters[k];
  const bool wanted = parameter.data != nullptr && ((needs >> k) & 1) != 0;
  const std::int64_t columns = !wanted ? 0 : parameter.step != 0 ? task.n : 1;
  Tensor out = new_tensor(x, {task.rows, columns}, x.scalar_type());
  if (wanted && task.n == 0) torch::stable::zero_(out);  // no kernel runs
  if (wanted) task.gradient_parameters[k] = {out.mutable_data_ptr<T>(), columns, parameter.step};
  return out;
}

template <class T>
void set_index(ProxTask<T>& task, const Tensor& x, Rowwise kind, const MaybeTensor& index) {
  STD_TORCH_CHECK(is_present(index) == (kind == Rowwise::group_l2),
                  "lpgd: index goes with group_l2, and with nothing else");
  check_width(task.n);
  if (!is_present(index)) return;
  check_device(*index, x, "index");
  STD_TORCH_CHECK(index->is_contiguous() && index->scalar_type() == ScalarType::Int &&
                      index->dim() == 1 && index->size(0) > task.n,
                  "index must be a contiguous int32 tensor [n + groups + 1]");
  task.index = index->const_data_ptr<std::int32_t>();
  task.groups = static_cast<std::int32_t>(index->size(0) - task.n - 1);
}

template <class T>
std::int32_t* order_pointer(const Tensor& order, const Tensor& x, Rowwise kind) {
  if (!is_sorting(kind)) return nullptr;
  check_device(order, x, "order");
  STD_TORCH_CHECK(
      order.is_contiguous() && order.scalar_type() == ScalarType::Int && order.numel() == x.numel(),
      "order must be a contiguous int32 tensor [rows, n]");
  return order.mutable_data_ptr<std::int32_t>();
}

// What the backward pass on rows is given
template <class T>
ProxTask<T> rows_backward_task(const Tensor& x,
                               std::initializer_list<const MaybeTensor*> parameters,
                               const MaybeTensor& index, const Tensor& out, const Tensor& order,
                               const Tensor& grad, Rowwise kind) {
  ProxTask<T> task = prox_task<T>(x);
  set_parameters(task, x, kRowwiseParameters[static_cast<int>(kind)], parameters);
  set_index(task, x, kind, index);
  // only read: a backward pass writes its own tensors alone
  task.out = const_cast<T*>(same_shape<T>(out, x, "out"));
  task.order = order_pointer<T>(order, x, kind);
  task.gradient = same_shape<T>(grad, x, "grad");
  return task;
}

}  // namespace lpgd::ops
