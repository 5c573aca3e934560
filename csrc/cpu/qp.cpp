// Compiled once per instruction set: a register of problems at a time.
#include "cpu/qp.h"

#include <cstring>

#include "core/outer.h"
#include "core/qp.h"
#include "core/qp_combine.h"
#include "cpu/qp_registers.h"

LPGD_BEGIN_NAMESPACE

namespace {

// A layout: the scalar that problems are solved in and the group that walks the loops.
template <class Number, class Walk>
struct Layout {
  using S = Number;
  using Group = Walk;
  static constexpr int lanes = ScalarTraits<S>::lanes;
  static constexpr int width = RowVector<Group, S>::width;
};
template <class T, int Bytes>
using Packed = Layout<Lanes<T, Bytes>, SerialGroup>;
template <class T>
using OneByOne = Layout<T, VectorGroup<kRowRegister>>;

template <class L, class Task>
std::size_t workspace_bytes(const Task& task) {
  using S = typename L::S;
  return qp_work_scalars<S>(dims_of(task.problem, L::width)) * sizeof(S);
}

template <class Group, class S, class T>
void do_entries(const Group& g, QpWork<S>& work, const QpTask<T>& task, std::int64_t first,
                int used, bool fresh) {
  if (task.method == QpMethod::kActiveSetPair)
    solve_pairs(g, work, task, first, used, fresh);
  else
    solve_entries(g, work, task, first, used, fresh);
}
template <class Group, class S, class T>
void do_entries(const Group& g, QpWork<S>& work, const QpImplicitTask<T>& task, std::int64_t first,
                int used, bool fresh) {
  implicit_entries(g, work, task, first, used, fresh);
}

template <class L, class Task>
void run(const Task& task, std::int64_t count, std::int64_t begin, std::int64_t end,
         void* workspace, bool fresh) {
  using S = typename L::S;
  // what pads the rows must be zero
  if (fresh && L::width > 1) std::memset(workspace, 0, workspace_bytes<L>(task));
  QpWork<S> work;
  work.bind(dims_of(task.problem, L::width), static_cast<S*>(workspace));
  for (std::int64_t pack = begin; pack < end; ++pack) {
    const std::int64_t left = count - pack * L::lanes;
    do_entries(typename L::Group{}, work, task, pack * L::lanes,
               static_cast<int>(left < L::lanes ? left : L::lanes), fresh);
    fresh = false;
  }
}

template <class L, class Task>
constexpr QpLayout<Task> layout() {
  return {L::lanes, workspace_bytes<L, Task>, run<L, Task>};
}

template <class Task, class T>
constexpr QpLayouts<Task> layouts() {
  return {layout<Packed<T, kRegister>, Task>(), layout<OneByOne<T>, Task>(),
          layout<Packed<T, kWideRegister>, Task>()};
}

template <class T>
void upstream(const QpProblem<T>& problem, const QpPoint<const T>& gradient,
              const std::int32_t* solved, T* kind, std::int64_t begin, std::int64_t end) {
  const QpDims dims = dims_of(problem);
  for (std::int64_t i = begin; i < end; ++i)
    kind[i] = upstream_kind(SerialGroup{}, gradient, solved, i, dims.n, dims.p, dims.m, dims.n_lb,
                            dims.n_ub);
}

template <class T>
void combine(const QpCombine<T>& task, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i) combine_item(SerialGroup{}, task, i);
}

template <class T>
void outer_sums(const T* a1, const T* b1, const T* a2, const T* b2, int rows, int cols, T* out,
                std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i)
    outer_sum(SerialGroup{}, a1 + i * rows, b1 + i * cols, a2 + i * rows, b2 + i * cols, rows, cols,
              out + i * rows * cols);
}

template <class T>
constexpr QpKernelsOf<T> table() {
  // The derivative is one factorisation: single precision would lose what the solve gained.
  return {layouts<QpTask<T>, T>(),
          layouts<QpTask<T>, double>(),
          layouts<QpImplicitTask<T>, double>(),
          upstream<T>,
          combine<T>,
          outer_sums<T>};
}

}  // namespace

const QpKernels& qp_kernels() {
  static constexpr QpKernels kernels{table<double>(), table<float>()};
  return kernels;
}

LPGD_END_NAMESPACE
