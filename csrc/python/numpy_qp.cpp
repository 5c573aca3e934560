// solve_qp on numpy arrays: the same kernels, without torch. Checks of shapes are in
// lpgd_native/numpy_qp.py; here only what keeps memory safe.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "cpu/interrupt.h"
#include "cpu/qp.h"
#include "python/register.h"

namespace py = pybind11;

namespace lpgd::python {

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;
template <class T>
using MaybeArray = std::optional<Array<T>>;

template <class T>
class ProblemBuilder {
 public:
  explicit ProblemBuilder(py::ssize_t n) { problem.n = static_cast<int>(n); }

  void set(const T*& pointer, std::int64_t& stride, const MaybeArray<T>& array,
           std::vector<py::ssize_t> shape, const char* name) {
    if (!array) return;
    const auto rank = static_cast<py::ssize_t>(shape.size());
    const bool batched = array->ndim() == rank + 1;
    bool fits = batched || array->ndim() == rank;
    py::ssize_t count = 1;
    for (py::ssize_t d = 0; fits && d < rank; ++d) {
      const py::ssize_t size = shape[static_cast<std::size_t>(d)];
      fits = array->shape(d + (batched ? 1 : 0)) == size;
      count *= size;
    }
    if (batched && fits) {
      fits = batch_ < 0 || batch_ == array->shape(0);
      batch_ = array->shape(0);
    }
    if (!fits) throw std::invalid_argument(std::string("solve_qp: shape of ") + name);
    static const T kNothing{};  // an empty batch has no data, but the block is there
    pointer = array->size() > 0 ? array->data() : &kNothing;
    stride = batched ? count : 0;
  }

  std::int64_t batch() const { return batch_ < 0 ? 1 : batch_; }

  QpProblem<T> problem{};

 private:
  std::int64_t batch_ = -1;
};

// Packs are taken one by one by a few threads of our own; each has its workspace. False where a
// signal ended it early.
template <class T>
bool solve_packs(const QpTask<T>& task, int threads) {
  const std::int64_t count = task.problem.batch;
  const QpLayout<QpTask<T>>& layout = qp_kernels().of<T>().solve.pick(task.problem.n, count);
  const std::int64_t packs = layout.packs(count);
  const std::int64_t workers = std::min<std::int64_t>(threads, packs);
  const std::size_t bytes = layout.workspace_bytes(task);
  auto release = [](void* data) { ::operator delete(data, std::align_val_t{64}); };
  std::vector<std::unique_ptr<void, decltype(release)>> workspaces;
  for (std::int64_t w = 0; w < workers; ++w)
    workspaces.emplace_back(::operator new(bytes, std::align_val_t{64}), release);
  const InterruptWatch watch(packs > workers);
  std::atomic<std::int64_t> next{0};
  auto work = [&](std::int64_t worker) {
    bool fresh = true;
    for (std::int64_t pack = next++; pack < packs && !watch.stopped(); pack = next++) {
      layout.run(task, count, pack, pack + 1, workspaces[static_cast<std::size_t>(worker)].get(),
                 fresh);
      fresh = false;
    }
  };
  std::vector<std::thread> others;
  try {
    for (std::int64_t w = 1; w < workers; ++w) others.emplace_back(work, w);
  } catch (const std::system_error&) {
    // no more threads to be had: those there are do the work
  }
  if (workers > 0) work(0);
  for (std::thread& thread : others) thread.join();
  return !watch.stopped();
}

// Items that single precision left unsolved, once more in double.
template <class T>
void solve_unsolved(QpTask<T> task) {
  if (sizeof(T) == sizeof(double)) return;
  std::vector<QpEntry<T>> entries;
  for (std::int64_t i = 0; i < task.problem.batch; ++i)
    if (task.report.status[i] == kQpMaxIterations) entries.push_back({i, i, T(0), T(0)});
  if (entries.empty()) return;
  task.entries = entries.data();
  const auto count = static_cast<std::int64_t>(entries.size());
  const QpLayout<QpTask<T>>& layout = qp_kernels().of<T>().solve_wide.pick(task.problem.n, count);
  const std::unique_ptr<void, void (*)(void*)> workspace(
      ::operator new(layout.workspace_bytes(task), std::align_val_t{64}),
      [](void* data) { ::operator delete(data, std::align_val_t{64}); });
  layout.run(task, count, 0, layout.packs(count), workspace.get(), true);
}

template <class T>
py::tuple solve_qp(const MaybeArray<T>& P, const Array<T>& q, const MaybeArray<T>& G,
                   const MaybeArray<T>& h, const MaybeArray<T>& A, const MaybeArray<T>& b,
                   const MaybeArray<T>& lb, const MaybeArray<T>& ub, double eps, int max_iter,
                   int threads) {
  if (q.ndim() < 1) throw std::invalid_argument("solve_qp: shape of q");
  const py::ssize_t n = q.shape(q.ndim() - 1);
  const py::ssize_t m = G ? G->shape(G->ndim() - 2) : 0;
  const py::ssize_t p = A ? A->shape(A->ndim() - 2) : 0;
  ProblemBuilder<T> builder(n);
  QpTask<T> task{};
  QpProblem<T>& problem = builder.problem;
  problem.m = static_cast<int>(m);
  problem.p = static_cast<int>(p);
  builder.set(problem.q, problem.stride_q, MaybeArray<T>(q), {n}, "q");
  builder.set(problem.P, problem.stride_P, P, {n, n}, "P");
  builder.set(problem.G, problem.stride_G, G, {m, n}, "G");
  builder.set(problem.h, problem.stride_h, h, {m}, "h");
  builder.set(problem.A, problem.stride_A, A, {p, n}, "A");
  builder.set(problem.b, problem.stride_b, b, {p}, "b");
  builder.set(problem.lb, problem.stride_lb, lb, {n}, "lb");
  builder.set(problem.ub, problem.stride_ub, ub, {n}, "ub");
  if ((m > 0 && !h) || (p > 0 && !b)) throw std::invalid_argument("solve_qp: G needs h, A needs b");
  const std::int64_t batch = builder.batch();
  problem.batch = batch;

  Array<T> x({batch, std::int64_t{n}}), y({batch, std::int64_t{p}}), z({batch, std::int64_t{m}});
  Array<T> z_lb({batch, std::int64_t{lb ? n : 0}}), z_ub({batch, std::int64_t{ub ? n : 0}});
  Array<std::int32_t> status(batch), iterations(batch);
  Array<T> residuals({batch, std::int64_t{3}});
  task.problem = problem;
  task.settings = {static_cast<T>(eps), max_iter};
  task.method = QpMethod::kInterior;
  task.solution = {x.mutable_data(), y.mutable_data(), z.mutable_data(),
                   lb ? z_lb.mutable_data() : nullptr, ub ? z_ub.mutable_data() : nullptr};
  task.report = {status.mutable_data(), iterations.mutable_data(), residuals.mutable_data()};
  bool whole = false;
  {
    const py::gil_scoped_release unlocked;
    whole = solve_packs(task, threads);
    if (whole) solve_unsolved(task);
  }
  if (!whole) raise_interrupt();
  return py::make_tuple(x, y, z, z_lb, z_ub, status, iterations, residuals);
}

template <class T>
void define(py::module_& m, const char* name) {
  m.def(name, &solve_qp<T>, py::arg("P").none(true), py::arg("q"), py::arg("G").none(true),
        py::arg("h").none(true), py::arg("A").none(true), py::arg("b").none(true),
        py::arg("lb").none(true), py::arg("ub").none(true), py::arg("eps"), py::arg("max_iter"),
        py::arg("threads"));
}

}  // namespace

void register_numpy_qp(py::module_& m) {
  define<double>(m, "solve_qp_float64");
  define<float>(m, "solve_qp_float32");
}

}  // namespace lpgd::python
