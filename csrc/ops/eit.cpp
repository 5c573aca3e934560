// lpgd::eit_* for CPU tensors: an item is a vector of cell weights on a mesh that all items share.
#include "cpu/eit.h"

#include <tuple>

#include "ops/ops.h"

namespace lpgd::ops {

namespace {

// Mesh and pattern as tensors: coefficients [cells, 3], plan as in core/eit_types.h, drives [D, L],
// measured [M, L], pairs [m, 2].
struct EitTensors {
  const Tensor &coefficients, &plan, &drives, &measured, &pairs;
};

// The integers of the plan, one array after the other, all of which memory safety hangs on.
class Plan {
 public:
  explicit Plan(const Tensor& plan) {
    STD_TORCH_CHECK(plan.is_cpu() && plan.is_contiguous() && plan.dim() == 1 &&
                        plan.scalar_type() == ScalarType::Int && plan.numel() >= kHeader,
                    "plan must be a contiguous int32 vector, as EIT makes it");
    next_ = plan.const_data_ptr<std::int32_t>();
    left_ = plan.numel();
  }

  static constexpr std::int64_t kHeader = 5;

  EitMesh mesh() {
    const std::int32_t* header = take(kHeader, "header");
    EitMesh mesh{};
    mesh.unknowns = header[0];
    mesh.electrodes = header[1];
    mesh.cells = header[2];
    mesh.links = header[3];
    mesh.entries = header[4];
    STD_TORCH_CHECK(mesh.electrodes >= 2 && mesh.electrodes <= mesh.unknowns && mesh.cells >= 0 &&
                        mesh.links >= 0 && mesh.entries >= 0,
                    "plan: impossible sizes");
    mesh.cell_unknown = indices(mesh.cells, 3, mesh.unknowns, "cell_unknown");
    mesh.cell_link = indices(mesh.cells, 3, mesh.links, "cell_link");
    mesh.link = indices(mesh.links, 2, mesh.unknowns, "link");
    mesh.link_slot = indices(mesh.links, 1, mesh.entries, "link_slot", -1);
    mesh.column = starts(mesh, "column");
    mesh.row = indices(mesh.entries, 1, mesh.free(), "row");
    mesh.row_start = starts(mesh, "row_start");
    mesh.row_column = indices(mesh.entries, 1, mesh.free(), "row_column");
    mesh.row_slot = indices(mesh.entries, 1, mesh.entries, "row_slot");
    STD_TORCH_CHECK(left_ == 0, "plan: ", left_, " numbers too many");
    STD_TORCH_CHECK(consistent(mesh), "plan: the pattern of the factor contradicts itself");
    return mesh;
  }

 private:
  const std::int32_t* take(std::int64_t count, const char* name) {
    STD_TORCH_CHECK(count <= left_, "plan: ", name, " is cut off");
    const std::int32_t* here = next_;
    next_ += count;
    left_ -= count;
    return here;
  }

  const std::int32_t* indices(std::int64_t rows, std::int64_t width, std::int32_t bound,
                              const char* name, std::int32_t least = 0) {
    const std::int32_t* array = take(rows * width, name);
    bool fine = true;
    for (std::int64_t i = 0; i < rows * width; ++i)
      fine = fine && array[i] >= least && array[i] < bound;
    STD_TORCH_CHECK(fine, "plan: ", name, " is out of range");
    return array;
  }

  const std::int32_t* starts(const EitMesh& mesh, const char* name) {
    const std::int32_t* array = take(mesh.unknowns, name);
    bool fine = array[0] == 0 && array[mesh.unknowns - 1] == mesh.entries;
    for (int i = 1; i < mesh.unknowns; ++i) fine = fine && array[i] >= array[i - 1];
    STD_TORCH_CHECK(fine, "plan: ", name, " must rise from 0 to the number of entries");
    return array;
  }

  // Rows rise below the diagonal; the lists by rows are those of the columns; where a column is
  // taken to have the rows of the next one (EitFactor::nested), it has them.
  static bool consistent(const EitMesh& mesh) {
    bool fine = true;
    for (int j = 0; j < mesh.free(); ++j) {
      const int begin = mesh.column[j], end = mesh.column[j + 1];
      for (int s = begin; s < end; ++s)
        fine = fine && mesh.row[s] > (s > begin ? mesh.row[s - 1] : j);
      for (int r = mesh.row_start[j]; r < mesh.row_start[j + 1]; ++r) {
        const int k = mesh.row_column[r], slot = mesh.row_slot[r];
        fine = fine && mesh.column[k] <= slot && slot < mesh.column[k + 1] && mesh.row[slot] == j;
      }
      const bool nested = j + 2 < mesh.unknowns && begin < end && mesh.row[begin] == j + 1 &&
                          end - begin == mesh.column[j + 2] - end + 1;
      for (int s = begin + 1; nested && s < end; ++s)
        fine = fine && mesh.row[s] == mesh.row[end + s - begin - 1];
    }
    return fine;
  }

  const std::int32_t* next_;
  std::int64_t left_;
};

const double* doubles(const Tensor& tensor, std::int64_t columns, const char* name) {
  STD_TORCH_CHECK(tensor.is_cpu() && tensor.is_contiguous() && tensor.dim() == 2 &&
                      tensor.scalar_type() == ScalarType::Double && tensor.size(1) == columns,
                  name, " must be contiguous, float64, [..., ", columns, "]");
  return tensor.const_data_ptr<double>();
}

template <class T>
EitTask<T> make_task(const Tensor& weights, const EitTensors& tensors) {
  EitTask<T> task{};
  task.mesh = Plan(tensors.plan).mesh();
  EitPattern& pattern = task.pattern;
  task.mesh.coefficient = doubles(tensors.coefficients, 3, "coefficients");
  STD_TORCH_CHECK(tensors.coefficients.size(0) == task.mesh.cells, "coefficients must be [",
                  task.mesh.cells, ", 3]");
  pattern.drive = doubles(tensors.drives, task.mesh.electrodes, "drives");
  pattern.measure = doubles(tensors.measured, task.mesh.electrodes, "measured");
  pattern.drives = static_cast<int>(tensors.drives.size(0));
  pattern.measured = static_cast<int>(tensors.measured.size(0));
  const Tensor& pairs = tensors.pairs;
  STD_TORCH_CHECK(pairs.is_cpu() && pairs.is_contiguous() && pairs.dim() == 2 &&
                      pairs.scalar_type() == ScalarType::Int && pairs.size(1) == 2,
                  "pairs must be contiguous, int32, [m, 2]");
  pattern.count = static_cast<int>(pairs.size(0));
  pattern.pair = pairs.const_data_ptr<std::int32_t>();
  for (int k = 0; k < pattern.count; ++k)
    STD_TORCH_CHECK(pattern.pair[2 * k] >= 0 && pattern.pair[2 * k] < pattern.drives &&
                        pattern.pair[2 * k + 1] >= 0 && pattern.pair[2 * k + 1] < pattern.measured,
                    "pairs: row ", k, " is out of range");
  STD_TORCH_CHECK((weights.dim() == 1 || weights.dim() == 2) && weights.is_contiguous() &&
                      weights.is_cpu() && weights.size(weights.dim() - 1) == task.mesh.cells,
                  "weights must be [cells] or [batch, cells], contiguous, with ", task.mesh.cells,
                  " cells");
  task.batch = weights.dim() == 2 ? weights.size(0) : 1;
  task.weights = weights.const_data_ptr<T>();
  return task;
}

template <class T>
const T* companion(const Tensor& tensor, const Tensor& weights, std::int64_t batch,
                   std::int64_t width, const char* name) {
  check_like(tensor, weights, name);
  STD_TORCH_CHECK((tensor.dim() == 2 ? tensor.size(0) : 1) == batch && tensor.dim() >= 1 &&
                      tensor.dim() <= 2 && tensor.size(tensor.dim() - 1) == width,
                  name, " must be [", batch, ", ", width, "]");
  return tensor.const_data_ptr<T>();
}

template <class T>
void run(const EitTask<T>& task) {
  const EitLayout<T>& layout = eit_kernels().of(T{}).pick(task.batch);
  parallel_items(
      (task.batch + layout.lanes - 1) / layout.lanes, layout.workspace_bytes(task),
      [&](void* workspace, std::int64_t pack, bool) { layout.run(task, pack, workspace); });
}

Tensor new_status(const Tensor& weights, std::int64_t batch) {
  return new_tensor(weights, {batch}, ScalarType::Int);
}

std::tuple<Tensor, Tensor> eit_forward(const Tensor& weights, const Tensor& coefficients,
                                       const Tensor& plan, const Tensor& drives,
                                       const Tensor& measured, const Tensor& pairs) {
  return dispatch_dtype(weights, [&](auto zero) {
    using T = decltype(zero);
    auto task = make_task<T>(weights, {coefficients, plan, drives, measured, pairs});
    Tensor out = new_tensor(weights, {task.batch, task.pattern.count}, weights.scalar_type());
    Tensor status = new_status(weights, task.batch);
    task.voltages = out.mutable_data_ptr<T>();
    task.status = status.mutable_data_ptr<std::int32_t>();
    run(task);
    return std::make_tuple(out, status);
  });
}

Tensor eit_vjp(const Tensor& weights, const Tensor& dy, const Tensor& coefficients,
               const Tensor& plan, const Tensor& drives, const Tensor& measured,
               const Tensor& pairs) {
  return dispatch_dtype(weights, [&](auto zero) {
    using T = decltype(zero);
    auto task = make_task<T>(weights, {coefficients, plan, drives, measured, pairs});
    task.cotangent = companion<T>(dy, weights, task.batch, task.pattern.count, "dy");
    Tensor out = new_tensor(weights, {task.batch, task.mesh.cells}, weights.scalar_type());
    task.gradient = out.mutable_data_ptr<T>();
    run(task);
    return out;
  });
}

Tensor eit_jvp(const Tensor& weights, const Tensor& dw, const Tensor& coefficients,
               const Tensor& plan, const Tensor& drives, const Tensor& measured,
               const Tensor& pairs) {
  return dispatch_dtype(weights, [&](auto zero) {
    using T = decltype(zero);
    auto task = make_task<T>(weights, {coefficients, plan, drives, measured, pairs});
    task.tangent = companion<T>(dw, weights, task.batch, task.mesh.cells, "dw");
    Tensor out = new_tensor(weights, {task.batch, task.pattern.count}, weights.scalar_type());
    task.moved = out.mutable_data_ptr<T>();
    run(task);
    return out;
  });
}

Tensor eit_curvature(const Tensor& weights, const Tensor& dy, const Tensor& dw,
                     const Tensor& coefficients, const Tensor& plan, const Tensor& drives,
                     const Tensor& measured, const Tensor& pairs) {
  return dispatch_dtype(weights, [&](auto zero) {
    using T = decltype(zero);
    auto task = make_task<T>(weights, {coefficients, plan, drives, measured, pairs});
    task.cotangent = companion<T>(dy, weights, task.batch, task.pattern.count, "dy");
    task.tangent = companion<T>(dw, weights, task.batch, task.mesh.cells, "dw");
    Tensor out = new_tensor(weights, {task.batch, task.mesh.cells}, weights.scalar_type());
    task.gradient = out.mutable_data_ptr<T>();
    run(task);
    return out;
  });
}

std::tuple<Tensor, Tensor, Tensor> eit_gradient(const Tensor& weights, const Tensor& y,
                                                const Tensor& coefficients, const Tensor& plan,
                                                const Tensor& drives, const Tensor& measured,
                                                const Tensor& pairs) {
  return dispatch_dtype(weights, [&](auto zero) {
    using T = decltype(zero);
    auto task = make_task<T>(weights, {coefficients, plan, drives, measured, pairs});
    task.target = companion<T>(y, weights, task.batch, task.pattern.count, "y");
    Tensor out = new_tensor(weights, {task.batch, task.mesh.cells}, weights.scalar_type());
    Tensor values = new_tensor(weights, {task.batch, task.pattern.count}, weights.scalar_type());
    Tensor status = new_status(weights, task.batch);
    task.gradient = out.mutable_data_ptr<T>();
    task.voltages = values.mutable_data_ptr<T>();
    task.status = status.mutable_data_ptr<std::int32_t>();
    run(task);
    return std::make_tuple(out, values, status);
  });
}

std::tuple<Tensor, Tensor, Tensor> eit_jacobian(const Tensor& weights, const Tensor& coefficients,
                                                const Tensor& plan, const Tensor& drives,
                                                const Tensor& measured, const Tensor& pairs) {
  return dispatch_dtype(weights, [&](auto zero) {
    using T = decltype(zero);
    auto task = make_task<T>(weights, {coefficients, plan, drives, measured, pairs});
    const ScalarType dtype = weights.scalar_type();
    Tensor out = new_tensor(weights, {task.batch, task.pattern.count, task.mesh.cells}, dtype);
    Tensor values = new_tensor(weights, {task.batch, task.pattern.count}, dtype);
    Tensor status = new_status(weights, task.batch);
    task.jacobian = out.mutable_data_ptr<T>();
    task.voltages = values.mutable_data_ptr<T>();
    task.status = status.mutable_data_ptr<std::int32_t>();
    run(task);
    return std::make_tuple(out, values, status);
  });
}

}  // namespace

}  // namespace lpgd::ops

#define LPGD_EIT_MESH \
  "Tensor coefficients, Tensor plan, Tensor drives, Tensor measured, Tensor pairs)"

STABLE_TORCH_LIBRARY_FRAGMENT(lpgd, m) {
  m.def("eit_forward(Tensor weights, " LPGD_EIT_MESH " -> (Tensor voltages, Tensor status)");
  m.def("eit_vjp(Tensor weights, Tensor dy, " LPGD_EIT_MESH " -> Tensor");
  m.def("eit_jvp(Tensor weights, Tensor dw, " LPGD_EIT_MESH " -> Tensor");
  m.def("eit_curvature(Tensor weights, Tensor dy, Tensor dw, " LPGD_EIT_MESH " -> Tensor");
  m.def("eit_gradient(Tensor weights, Tensor y, " LPGD_EIT_MESH
        " -> (Tensor gradient, Tensor voltages, Tensor status)");
  m.def("eit_jacobian(Tensor weights, " LPGD_EIT_MESH
        " -> (Tensor jacobian, Tensor voltages, Tensor status)");
}
#undef LPGD_EIT_MESH

STABLE_TORCH_LIBRARY_IMPL(lpgd, CPU, m) {
  m.impl("eit_forward", TORCH_BOX(&lpgd::ops::eit_forward));
  m.impl("eit_vjp", TORCH_BOX(&lpgd::ops::eit_vjp));
  m.impl("eit_jvp", TORCH_BOX(&lpgd::ops::eit_jvp));
  m.impl("eit_curvature", TORCH_BOX(&lpgd::ops::eit_curvature));
  m.impl("eit_gradient", TORCH_BOX(&lpgd::ops::eit_gradient));
  m.impl("eit_jacobian", TORCH_BOX(&lpgd::ops::eit_jacobian));
}
