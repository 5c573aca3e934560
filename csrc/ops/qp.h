// Tensors of the QP ops to the plain structs of core/qp_types.h and back; for CPU and CUDA alike.
#pragma once

#include <tuple>

#include "core/qp_types.h"
#include "ops/ops.h"

namespace lpgd::ops {

// x, y, z, z_lb, z_ub, status, iterations, residuals
using QpSolutionTensors =
    std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
// d_x .. d_z_ub, m_x .. m_z_ub, status
using QpQuotientTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                                     Tensor, Tensor, Tensor>;
// d_x .. d_z_ub, status
using QpDirectionTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// The eight arguments that make a batch of problems.
struct QpArguments {
  const MaybeTensor& P;
  const Tensor& q;
  const MaybeTensor &G, &h, &A, &b, &lb, &ub;

  // `rows` is the batch where every argument is shared: 1 for a solve, that of the point otherwise.
  template <class T>
  QpProblem<T> problem(std::int64_t rows = 1) const {
    STD_TORCH_CHECK(q.dim() == 1 || q.dim() == 2, "q must be [n] or [batch, n]");
    QpProblem<T> out{};
    out.n = static_cast<int>(q.size(q.dim() - 1));
    out.m = rows_of(G, "G");
    out.p = rows_of(A, "A");
    std::int64_t batch = -1;
    set(out.q, out.stride_q, MaybeTensor(q), batch, {out.n}, "q");
    set(out.P, out.stride_P, P, batch, {out.n, out.n}, "P");
    set(out.G, out.stride_G, G, batch, {out.m, out.n}, "G");
    set(out.h, out.stride_h, h, batch, {out.m}, "h");
    set(out.A, out.stride_A, A, batch, {out.p, out.n}, "A");
    set(out.b, out.stride_b, b, batch, {out.p}, "b");
    set(out.lb, out.stride_lb, lb, batch, {out.n}, "lb");
    set(out.ub, out.stride_ub, ub, batch, {out.n}, "ub");
    STD_TORCH_CHECK((out.m == 0) || is_present(h), "G needs h");
    STD_TORCH_CHECK((out.p == 0) || is_present(b), "A needs b");
    constexpr std::int64_t kMost = std::int64_t{1} << 30;  // entries of a matrix, counted in int
    const std::int64_t width = out.n, height = std::int64_t{out.m} + out.p;
    STD_TORCH_CHECK(width * width < kMost && width * height < kMost,
                    "lpgd: a problem this large does not fit the dense solver");
    out.batch = batch < 0 ? rows : batch;
    return out;
  }

 private:
  static int rows_of(const MaybeTensor& matrix, const char* name) {
    if (!is_present(matrix)) return 0;
    STD_TORCH_CHECK(matrix->dim() >= 2, name, " must be a matrix");
    return static_cast<int>(matrix->size(matrix->dim() - 2));
  }

  template <class T>
  void set(const T*& pointer, std::int64_t& stride, const MaybeTensor& tensor, std::int64_t& batch,
           std::initializer_list<int> shape, const char* name) const {
    if (!is_present(tensor)) return;
    check_like(*tensor, q, name);
    const auto rank = static_cast<std::int64_t>(shape.size());
    const bool batched = tensor->dim() == rank + 1;
    STD_TORCH_CHECK(batched || tensor->dim() == rank, name, " has ", tensor->dim(),
                    " dimensions, expected ", rank, " (shared) or ", rank + 1, " (batched)");
    std::int64_t count = 1;
    std::int64_t dim = batched ? 1 : 0;
    for (const int size : shape) {
      STD_TORCH_CHECK(tensor->size(dim) == size, name, " has size ", tensor->size(dim), " where ",
                      size, " is expected");
      ++dim;
      count *= size;
    }
    if (batched) {
      STD_TORCH_CHECK(batch < 0 || batch == tensor->size(0), name, " has batch ", tensor->size(0),
                      ", other arguments have ", batch);
      batch = tensor->size(0);
    }
    // an empty batch has no data, but the block is there: its outputs have their full width
    static const T kNothing{};
    pointer = tensor->numel() > 0 ? tensor->const_data_ptr<T>() : &kNothing;
    stride = batched ? count : 0;
  }
};

// A contiguous [batch, count] tensor's data
template <class T>
const T* row_pointer(const Tensor& tensor, const Tensor& like, std::int64_t batch, int count,
                     const char* name) {
  check_like(tensor, like, name);
  STD_TORCH_CHECK(tensor.numel() == batch * count, name, " has ", tensor.numel(),
                  " numbers, expected ", batch * count);
  return tensor.const_data_ptr<T>();
}

template <class T>
QpPoint<const T> given_point(const QpProblem<T>& problem, const Tensor& q, const Tensor& x,
                             const Tensor& y, const Tensor& z, const Tensor& z_lb,
                             const Tensor& z_ub) {
  const std::int64_t batch = problem.batch;
  const int n_lb = problem.lb ? problem.n : 0, n_ub = problem.ub ? problem.n : 0;
  return {row_pointer<T>(x, q, batch, problem.n, "x"), row_pointer<T>(y, q, batch, problem.p, "y"),
          row_pointer<T>(z, q, batch, problem.m, "z"), row_pointer<T>(z_lb, q, batch, n_lb, "z_lb"),
          row_pointer<T>(z_ub, q, batch, n_ub, "z_ub")};
}

// The statuses of a solve [batch], or null where none are given
template <class T>
const std::int32_t* given_status(const QpProblem<T>& problem, const Tensor& q,
                                 const MaybeTensor& status) {
  if (!is_present(status)) return nullptr;
  check_device(*status, q, "status");
  STD_TORCH_CHECK(status->is_contiguous() && status->scalar_type() == ScalarType::Int &&
                      status->numel() == problem.batch,
                  "status must be a contiguous int32 tensor [batch]");
  return status->const_data_ptr<std::int32_t>();
}

inline void check_sides(std::int64_t sides) {
  STD_TORCH_CHECK(sides >= kQpLower && sides <= kQpBoth,
                  "sides must be 1 (lower), 2 (upper) or 3 (both), got ", sides);
}

template <class T>
QpPoint<const T> given_gradient(const QpProblem<T>& problem, const Tensor& q, const MaybeTensor& x,
                                const MaybeTensor& y, const MaybeTensor& z, const MaybeTensor& z_lb,
                                const MaybeTensor& z_ub) {
  const std::int64_t batch = problem.batch;
  const int n_lb = problem.lb ? problem.n : 0, n_ub = problem.ub ? problem.n : 0;
  auto part = [&](const MaybeTensor& tensor, int count, const char* name) -> const T* {
    if (!is_present(tensor) || count == 0) return nullptr;
    return row_pointer<T>(*tensor, q, batch, count, name);
  };
  return {part(x, problem.n, "g_x"), part(y, problem.p, "g_y"), part(z, problem.m, "g_z"),
          part(z_lb, n_lb, "g_z_lb"), part(z_ub, n_ub, "g_z_ub")};
}

// Five tensors [rows, n | p | m | n | n], the parts of a primal-dual point.
template <class T>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> new_point(const Tensor& q,
                                                             const QpProblem<T>& problem,
                                                             std::int64_t rows) {
  auto make = [&](std::int64_t count) { return new_tensor(q, {rows, count}, q.scalar_type()); };
  return {make(problem.n), make(problem.p), make(problem.m), make(problem.lb ? problem.n : 0),
          make(problem.ub ? problem.n : 0)};
}

template <class T>
QpSolutionTensors new_solution(const Tensor& q, const QpProblem<T>& problem, std::int64_t rows) {
  return std::tuple_cat(
      new_point(q, problem, rows),
      std::tuple{new_tensor(q, {rows}, ScalarType::Int), new_tensor(q, {rows}, ScalarType::Int),
                 new_tensor(q, {rows, 3}, q.scalar_type())});
}

template <class T>
QpQuotientTensors new_quotient(const Tensor& q, const QpProblem<T>& problem) {
  return std::tuple_cat(new_point(q, problem, problem.batch), new_point(q, problem, problem.batch),
                        std::tuple{new_tensor(q, {problem.batch}, ScalarType::Int)});
}

template <class T>
QpDirectionTensors new_direction(const Tensor& q, const QpProblem<T>& problem) {
  return std::tuple_cat(new_point(q, problem, problem.batch),
                        std::tuple{new_tensor(q, {problem.batch}, ScalarType::Int)});
}

// The parts First .. First + 4 of a tuple of tensors as pointers
template <class T, std::size_t First, class Tuple>
QpPoint<T> point_of(Tuple& tensors) {
  return {std::get<First>(tensors).template mutable_data_ptr<T>(),
          std::get<First + 1>(tensors).template mutable_data_ptr<T>(),
          std::get<First + 2>(tensors).template mutable_data_ptr<T>(),
          std::get<First + 3>(tensors).template mutable_data_ptr<T>(),
          std::get<First + 4>(tensors).template mutable_data_ptr<T>()};
}

template <class T>
QpPoint<T> solution_point(QpSolutionTensors& tensors) {
  return point_of<T, 0>(tensors);
}
template <class T>
QpPoint<T> quotient_direction(QpQuotientTensors& tensors) {
  return point_of<T, 0>(tensors);
}
template <class T>
QpPoint<T> quotient_midpoint(QpQuotientTensors& tensors) {
  return point_of<T, 5>(tensors);
}
template <class T>
QpPoint<T> direction_point(QpDirectionTensors& tensors) {
  return point_of<T, 0>(tensors);
}

template <class T>
QpReport<T> solution_report(QpSolutionTensors& tensors) {
  return {std::get<5>(tensors).mutable_data_ptr<std::int32_t>(),
          std::get<6>(tensors).mutable_data_ptr<std::int32_t>(),
          std::get<7>(tensors).mutable_data_ptr<T>()};
}

// Rows batch .. 2 batch - 1 of a point with twice the batch's rows
template <class T>
QpPoint<const T> second_half(const QpPoint<T>& point, const QpProblem<T>& problem) {
  const std::int64_t batch = problem.batch;
  return {point.x + batch * problem.n, point.y + batch * problem.p, point.z + batch * problem.m,
          problem.lb ? point.z_lb + batch * problem.n : nullptr,
          problem.ub ? point.z_ub + batch * problem.n : nullptr};
}

struct OuterShape {
  std::int64_t batch, rows, cols;
};

inline OuterShape outer_shape(const Tensor& a1, const Tensor& b1, const Tensor& a2,
                              const Tensor& b2) {
  STD_TORCH_CHECK(a1.dim() == 2 && b1.dim() == 2,
                  "outer_sum takes [batch, rows] and [batch, cols]");
  const OuterShape shape{a1.size(0), a1.size(1), b1.size(1)};
  for (const Tensor* tensor : {&a1, &b1, &a2, &b2}) {
    check_like(*tensor, a1, "outer_sum: every argument");
    const std::int64_t width = tensor == &a1 || tensor == &a2 ? shape.rows : shape.cols;
    STD_TORCH_CHECK(tensor->numel() == shape.batch * width, "outer_sum: shapes differ");
  }
  return shape;
}

}  // namespace lpgd::ops
