// lpgd::eit_* on any device: tensors to a task, outputs, and the schema's signatures. An item is a
// vector of cell weights on a mesh that all items share.
#pragma once

#include <tuple>

#include "core/eit_types.h"
#include "ops/ops.h"

namespace lpgd::ops {

// Mesh and pattern as tensors, all on the device of the weights: coefficients [cells, 3], links
// [links, 2], factor [3, entries] (row, row_column, row_slot), plan with the other arrays of
// core/eit_types.h in their order, drives [D, L], measured [M, L], pairs [m, 2]. Sizes are read off
// the shapes: what is in a tensor may be on a device that nothing waits for.
struct EitTensors {
  const Tensor &coefficients, &plan, &links, &factor, &drives, &measured, &pairs;
};

namespace eit {

inline void check_place(const Tensor& tensor, const Tensor& weights, const char* name) {
  STD_TORCH_CHECK(
      tensor.is_cpu() == weights.is_cpu() && tensor.get_device() == weights.get_device(), name,
      " must be on the device of weights");
  STD_TORCH_CHECK(tensor.is_contiguous(), name, " must be contiguous");
}

// Rows of numbers, as many columns
inline const double* doubles(const Tensor& tensor, const Tensor& weights, std::int64_t columns,
                             const char* name) {
  check_place(tensor, weights, name);
  STD_TORCH_CHECK(
      tensor.dim() == 2 && tensor.scalar_type() == ScalarType::Double && tensor.size(1) == columns,
      name, " must be float64, [..., ", columns, "]");
  return tensor.const_data_ptr<double>();
}

inline const std::int32_t* integers(const Tensor& tensor, const Tensor& weights, int dim,
                                    const char* name) {
  check_place(tensor, weights, name);
  STD_TORCH_CHECK(tensor.dim() == dim && tensor.scalar_type() == ScalarType::Int &&
                      tensor.numel() < (std::int64_t{1} << 31),
                  name, " must be int32 with ", dim, " dimensions, as EIT makes it");
  return tensor.const_data_ptr<std::int32_t>();
}

// The arrays of `plan`, one after the other. Its length gives the number of unknowns.
inline EitMesh mesh_of(const EitTensors& tensors, const Tensor& weights) {
  EitMesh mesh{};
  const std::int32_t* next = integers(tensors.plan, weights, 1, "plan");
  const std::int32_t* factor = integers(tensors.factor, weights, 2, "factor");
  mesh.link = integers(tensors.links, weights, 2, "links");
  mesh.coefficient = doubles(tensors.coefficients, weights, 3, "coefficients");
  STD_TORCH_CHECK(tensors.links.size(1) == 2, "links must be [links, 2]");
  STD_TORCH_CHECK(tensors.factor.size(0) == 3, "factor must be [3, entries]");
  const std::int64_t cells = tensors.coefficients.size(0), links = tensors.links.size(0);
  const std::int64_t entries = tensors.factor.size(1), electrodes = tensors.drives.size(1);
  const std::int64_t left = tensors.plan.numel() - 6 * cells - 4 * links - 2;
  const std::int64_t unknowns = left / 3;
  STD_TORCH_CHECK(left % 3 == 0 && electrodes >= 2 && electrodes <= unknowns,
                  "plan: its length fits no mesh with ", cells, " cells, ", links, " links and ",
                  electrodes, " electrodes");
  mesh.unknowns = static_cast<int>(unknowns);
  mesh.electrodes = static_cast<int>(electrodes);
  mesh.cells = static_cast<int>(cells);
  mesh.links = static_cast<int>(links);
  mesh.entries = static_cast<int>(entries);
  const auto take = [&](std::int64_t count) {
    const std::int32_t* here = next;
    next += count;
    return here;
  };
  mesh.cell_link = take(3 * cells);
  mesh.link_slot = take(links);
  mesh.link_start = take(links + 1);
  mesh.link_cell = take(3 * cells);
  mesh.node_start = take(unknowns + 1);
  mesh.node_link = take(2 * links);
  mesh.column = take(unknowns);
  mesh.row_start = take(unknowns);
  mesh.row = factor;
  mesh.row_column = factor + entries;
  mesh.row_slot = factor + 2 * entries;
  return mesh;
}

template <class T>
EitTask<T> make_task(const Tensor& weights, const EitTensors& tensors) {
  EitTask<T> task{};
  EitPattern& pattern = task.pattern;
  STD_TORCH_CHECK(tensors.drives.dim() == 2, "drives must be [D, L]");
  task.mesh = mesh_of(tensors, weights);
  pattern.drive = doubles(tensors.drives, weights, task.mesh.electrodes, "drives");
  pattern.measure = doubles(tensors.measured, weights, task.mesh.electrodes, "measured");
  pattern.drives = static_cast<int>(tensors.drives.size(0));
  pattern.measured = static_cast<int>(tensors.measured.size(0));
  pattern.pair = integers(tensors.pairs, weights, 2, "pairs");
  STD_TORCH_CHECK(tensors.pairs.size(1) == 2, "pairs must be [m, 2]");
  pattern.count = static_cast<int>(tensors.pairs.size(0));
  STD_TORCH_CHECK((weights.dim() == 1 || weights.dim() == 2) && weights.is_contiguous() &&
                      weights.size(weights.dim() - 1) == task.mesh.cells,
                  "weights must be [cells] or [batch, cells], contiguous, with ", task.mesh.cells,
                  " cells");
  task.batch = weights.dim() == 2 ? weights.size(0) : 1;
  task.weights = weights.const_data_ptr<T>();
  return task;
}

template <class T>
const T* companion(const Tensor& tensor, const Tensor& weights, std::int64_t batch,
                   std::int64_t width, const char* name) {
  check_place(tensor, weights, name);
  STD_TORCH_CHECK(tensor.scalar_type() == weights.scalar_type(), name,
                  " must have the dtype of weights");
  STD_TORCH_CHECK((tensor.dim() == 2 ? tensor.size(0) : 1) == batch && tensor.dim() >= 1 &&
                      tensor.dim() <= 2 && tensor.size(tensor.dim() - 1) == width,
                  name, " must be [", batch, ", ", width, "]");
  return tensor.const_data_ptr<T>();
}

}  // namespace eit

// The ops; Device::run(task, weights) computes what has a place in the task.
template <class Device>
struct EitOps {
  template <class F>
  static auto with_task(const Tensor& weights, const EitTensors& tensors, const F& body) {
    return dispatch_dtype(weights, [&](auto zero) {
      auto task = eit::make_task<decltype(zero)>(weights, tensors);
      return body(task);
    });
  }

  // The outputs: of the shape of the weights, of the voltages, and the status
  template <class T>
  static Tensor cells(const Tensor& weights, const EitTask<T>& task, T*& to) {
    Tensor out = new_tensor(weights, {task.batch, task.mesh.cells}, weights.scalar_type());
    to = out.mutable_data_ptr<T>();
    return out;
  }
  template <class T>
  static Tensor measurements(const Tensor& weights, const EitTask<T>& task, T*& to) {
    Tensor out = new_tensor(weights, {task.batch, task.pattern.count}, weights.scalar_type());
    to = out.mutable_data_ptr<T>();
    return out;
  }
  template <class T>
  static Tensor statuses(const Tensor& weights, EitTask<T>& task) {
    Tensor out = new_tensor(weights, {task.batch}, ScalarType::Int);
    task.status = out.mutable_data_ptr<std::int32_t>();
    return out;
  }

  static std::tuple<Tensor, Tensor> forward(const Tensor& weights, const Tensor& coefficients,
                                            const Tensor& plan, const Tensor& links,
                                            const Tensor& factor, const Tensor& drives,
                                            const Tensor& measured, const Tensor& pairs) {
    return with_task(weights, {coefficients, plan, links, factor, drives, measured, pairs},
                     [&]<class T>(EitTask<T>& task) {
                       Tensor out = measurements(weights, task, task.voltages);
                       Tensor status = statuses(weights, task);
                       Device::run(task, weights);
                       return std::make_tuple(out, status);
                     });
  }

  static Tensor vjp(const Tensor& weights, const Tensor& dy, const Tensor& coefficients,
                    const Tensor& plan, const Tensor& links, const Tensor& factor,
                    const Tensor& drives, const Tensor& measured, const Tensor& pairs) {
    return with_task(weights, {coefficients, plan, links, factor, drives, measured, pairs},
                     [&]<class T>(EitTask<T>& task) {
                       task.cotangent =
                           eit::companion<T>(dy, weights, task.batch, task.pattern.count, "dy");
                       Tensor out = cells(weights, task, task.gradient);
                       Device::run(task, weights);
                       return out;
                     });
  }

  static Tensor jvp(const Tensor& weights, const Tensor& dw, const Tensor& coefficients,
                    const Tensor& plan, const Tensor& links, const Tensor& factor,
                    const Tensor& drives, const Tensor& measured, const Tensor& pairs) {
    return with_task(weights, {coefficients, plan, links, factor, drives, measured, pairs},
                     [&]<class T>(EitTask<T>& task) {
                       task.tangent =
                           eit::companion<T>(dw, weights, task.batch, task.mesh.cells, "dw");
                       Tensor out = measurements(weights, task, task.moved);
                       Device::run(task, weights);
                       return out;
                     });
  }

  static Tensor curvature(const Tensor& weights, const Tensor& dy, const Tensor& dw,
                          const Tensor& coefficients, const Tensor& plan, const Tensor& links,
                          const Tensor& factor, const Tensor& drives, const Tensor& measured,
                          const Tensor& pairs) {
    return with_task(
        weights, {coefficients, plan, links, factor, drives, measured, pairs},
        [&]<class T>(EitTask<T>& task) {
          task.cotangent = eit::companion<T>(dy, weights, task.batch, task.pattern.count, "dy");
          task.tangent = eit::companion<T>(dw, weights, task.batch, task.mesh.cells, "dw");
          Tensor out = cells(weights, task, task.gradient);
          Device::run(task, weights);
          return out;
        });
  }

  static std::tuple<Tensor, Tensor, Tensor> gradient(const Tensor& weights, const Tensor& y,
                                                     const Tensor& coefficients, const Tensor& plan,
                                                     const Tensor& links, const Tensor& factor,
                                                     const Tensor& drives, const Tensor& measured,
                                                     const Tensor& pairs) {
    return with_task(weights, {coefficients, plan, links, factor, drives, measured, pairs},
                     [&]<class T>(EitTask<T>& task) {
                       task.target =
                           eit::companion<T>(y, weights, task.batch, task.pattern.count, "y");
                       Tensor out = cells(weights, task, task.gradient);
                       Tensor values = measurements(weights, task, task.voltages);
                       Tensor status = statuses(weights, task);
                       Device::run(task, weights);
                       return std::make_tuple(out, values, status);
                     });
  }

  static std::tuple<Tensor, Tensor, Tensor> jacobian(const Tensor& weights,
                                                     const Tensor& coefficients, const Tensor& plan,
                                                     const Tensor& links, const Tensor& factor,
                                                     const Tensor& drives, const Tensor& measured,
                                                     const Tensor& pairs) {
    return with_task(weights, {coefficients, plan, links, factor, drives, measured, pairs},
                     [&]<class T>(EitTask<T>& task) {
                       Tensor out =
                           new_tensor(weights, {task.batch, task.pattern.count, task.mesh.cells},
                                      weights.scalar_type());
                       task.jacobian = out.mutable_data_ptr<T>();
                       Tensor values = measurements(weights, task, task.voltages);
                       Tensor status = statuses(weights, task);
                       Device::run(task, weights);
                       return std::make_tuple(out, values, status);
                     });
  }
};

}  // namespace lpgd::ops
