// lpgd::prox_separable, lpgd::prox_rows and their backward ops for CPU tensors, and their schema.
// x is [rows, n], parameters are [1 | rows, 1 | n], `kind` is an index into the lists of
// core/prox_types.h.
#include "ops/prox.h"

#include "cpu/prox.h"

namespace lpgd::ops {

namespace {

constexpr std::int64_t kChunk = 1 << 14;  // columns a piece: fixed, so that sums have one order
// Bytes of a result that the caches would not keep until it is read
constexpr std::int64_t kStreamFrom = std::int64_t{1} << 23;

// body(row, begin, end) over pieces of rows on torch's threads
template <class F>
void parallel_pieces(std::int64_t rows, std::int64_t n, const F& body) {
  if (rows == 0 || n == 0) return;
  const std::int64_t pieces = (n + kChunk - 1) / kChunk;
  const std::int64_t size = n < kChunk ? n : kChunk;
  torch::stable::parallel_for(0, rows * pieces, 1 + 2 * kChunk / size,
                              [&](std::int64_t begin, std::int64_t end) {
                                for (std::int64_t k = begin; k < end; ++k) {
                                  const std::int64_t from = k % pieces * kChunk;
                                  const std::int64_t to = from + kChunk;
                                  body(k / pieces, from, to < n ? to : n);
                                }
                              });
}

template <class T>
bool is_streaming(const ProxTask<T>& task) {
  return task.rows * task.n * static_cast<std::int64_t>(sizeof(T)) >= kStreamFrom;
}

Tensor prox_separable(const Tensor& x, const MaybeTensor& a, const MaybeTensor& b,
                      std::int64_t kind) {
  const auto op = kind_of<Separable>(kind, kSeparableParameters);
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    ProxTask<T> task = prox_task<T>(x);
    set_parameters(task, x, kSeparableParameters[kind], {&a, &b});
    Tensor out = new_tensor(x, {task.rows, task.n}, x.scalar_type());
    task.out = out.mutable_data_ptr<T>();
    task.streaming = is_streaming(task);
    const ProxKernelsOf<T>& kernels = prox_kernels().of<T>();
    parallel_pieces(task.rows, task.n, [&](std::int64_t row, std::int64_t begin, std::int64_t end) {
      kernels.separable(op, task, row, begin, end);
    });
    return out;
  });
}

std::tuple<Tensor, Tensor, Tensor> prox_separable_backward(const Tensor& x, const MaybeTensor& a,
                                                           const MaybeTensor& b, const Tensor& grad,
                                                           std::int64_t kind, std::int64_t needs) {
  const auto op = kind_of<Separable>(kind, kSeparableParameters);
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    ProxTask<T> task = prox_task<T>(x);
    set_parameters(task, x, kSeparableParameters[kind], {&a, &b});
    task.gradient = same_shape<T>(grad, x, "grad");
    Tensor gx = new_tensor(x, {task.rows, task.n}, x.scalar_type());
    task.gradient_x = gx.mutable_data_ptr<T>();
    task.streaming = is_streaming(task);
    Tensor ga = parameter_gradient(task, x, 0, needs);
    Tensor gb = parameter_gradient(task, x, 1, needs);
    const ProxKernelsOf<T>& kernels = prox_kernels().of<T>();
    // sums of the pieces of a row, in the order of the pieces: the same on any number of threads
    const std::int64_t pieces = (task.n + kChunk - 1) / kChunk;
    std::vector<double> sums(needs != 0 ? static_cast<std::size_t>(2 * task.rows * pieces) : 0);
    parallel_pieces(task.rows, task.n, [&](std::int64_t row, std::int64_t begin, std::int64_t end) {
      double both[2] = {0, 0};
      kernels.separable_backward(op, task, row, begin, end, both);
      if (needs == 0) return;
      double* to = sums.data() + 2 * (row * pieces + begin / kChunk);
      to[0] = both[0];
      to[1] = both[1];
    });
    for (int k = 0; k < 2; ++k) {
      const ProxParameterGradient<T>& to = task.gradient_parameters[k];
      if (to.data == nullptr || to.step != 0) continue;
      for (std::int64_t row = 0; row < task.rows; ++row) {
        double total = 0;
        for (std::int64_t piece = 0; piece < pieces; ++piece)
          total += sums[static_cast<std::size_t>(2 * (row * pieces + piece) + k)];
        to.data[row] = static_cast<T>(total);
      }
    }
    return std::tuple{gx, ga, gb};
  });
}

// Rows [begin, end) on torch's threads, a scratch for each call
template <class T, class F>
void parallel_rows(const ProxTask<T>& task, Rowwise kind, const F& body) {
  if (task.rows == 0 || task.n == 0) return;
  const std::size_t scratch = prox_kernels().of<T>().scratch_bytes(kind, task.n);
  const std::int64_t grain = 1 + 8192 / task.n;
  torch::stable::parallel_for(0, task.rows, grain, [&](std::int64_t begin, std::int64_t end) {
    const Workspace workspace(scratch);
    body(begin, end, workspace.get());
  });
}

std::tuple<Tensor, Tensor> prox_rows(const Tensor& x, const MaybeTensor& a, const MaybeTensor& b,
                                     const MaybeTensor& c, const MaybeTensor& d,
                                     const MaybeTensor& index, const MaybeTensor&,
                                     std::int64_t kind) {
  const auto op = kind_of<Rowwise>(kind, kRowwiseParameters);
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    ProxTask<T> task = prox_task<T>(x);
    set_parameters(task, x, kRowwiseParameters[kind], {&a, &b, &c, &d});
    set_index(task, x, op, index);
    Tensor out = new_tensor(x, {task.rows, task.n}, x.scalar_type());
    Tensor order = new_tensor(x, {task.rows, is_sorting(op) ? task.n : 0}, ScalarType::Int);
    task.out = out.mutable_data_ptr<T>();
    task.order = order_pointer<T>(order, x, op);
    task.streaming = is_streaming(task);
    const ProxKernelsOf<T>& kernels = prox_kernels().of<T>();
    parallel_rows(task, op, [&](std::int64_t begin, std::int64_t end, void* scratch) {
      kernels.rows(op, task, begin, end, scratch);
    });
    return std::tuple{out, order};
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> prox_rows_backward(
    const Tensor& x, const MaybeTensor& a, const MaybeTensor& b, const MaybeTensor& c,
    const MaybeTensor& d, const MaybeTensor& index, const Tensor& out, const Tensor& order,
    const Tensor& grad, std::int64_t kind, std::int64_t needs) {
  const auto op = kind_of<Rowwise>(kind, kRowwiseParameters);
  return dispatch_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    ProxTask<T> task = rows_backward_task<T>(x, {&a, &b, &c, &d}, index, out, order, grad, op);
    task.streaming = is_streaming(task);
    Tensor gx = new_tensor(x, {task.rows, task.n}, x.scalar_type());
    task.gradient_x = gx.mutable_data_ptr<T>();
    Tensor ga = parameter_gradient(task, x, 0, needs);
    Tensor gb = parameter_gradient(task, x, 1, needs);
    Tensor gc = parameter_gradient(task, x, 2, needs);
    Tensor gd = parameter_gradient(task, x, 3, needs);
    const ProxKernelsOf<T>& kernels = prox_kernels().of<T>();
    parallel_rows(task, op, [&](std::int64_t begin, std::int64_t end, void* scratch) {
      kernels.rows_backward(op, task, begin, end, scratch);
    });
    return std::tuple{gx, ga, gb, gc, gd};
  });
}

}  // namespace

}  // namespace lpgd::ops

STABLE_TORCH_LIBRARY_FRAGMENT(lpgd, m) {
  m.def("prox_separable(Tensor x, Tensor? a, Tensor? b, int kind) -> Tensor");
  m.def(
      "prox_separable_backward(Tensor x, Tensor? a, Tensor? b, Tensor grad, int kind, int needs) "
      "-> (Tensor g_x, Tensor g_a, Tensor g_b)");
  m.def(
      "prox_rows(Tensor x, Tensor? a, Tensor? b, Tensor? c, Tensor? d, Tensor? index, "
      "Tensor? sorted, int kind) -> (Tensor out, Tensor order)");
  m.def(
      "prox_rows_backward(Tensor x, Tensor? a, Tensor? b, Tensor? c, Tensor? d, Tensor? index, "
      "Tensor out, Tensor order, Tensor grad, int kind, int needs) -> (Tensor g_x, Tensor g_a, "
      "Tensor g_b, Tensor g_c, Tensor g_d)");
}

STABLE_TORCH_LIBRARY_IMPL(lpgd, CPU, m) {
  m.impl("prox_separable", TORCH_BOX(&lpgd::ops::prox_separable));
  m.impl("prox_separable_backward", TORCH_BOX(&lpgd::ops::prox_separable_backward));
  m.impl("prox_rows", TORCH_BOX(&lpgd::ops::prox_rows));
  m.impl("prox_rows_backward", TORCH_BOX(&lpgd::ops::prox_rows_backward));
}
