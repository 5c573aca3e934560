// Electrical impedance tomography on small meshes of any shape: weights, currents and measurements
// of all kinds, forward, the derivatives and the Jacobian.
#include "cpu/eit.h"
#include "eit_mesh.h"
#include "fuzz_input.h"

namespace lpgd::fuzz {
namespace {

template <class T>
struct Answers {
  std::vector<T> voltages, gradient, moved, jacobian;
  std::vector<std::int32_t> status;

  Answers(std::int64_t batch, std::int64_t count, std::int64_t cells) {
    const auto room = [](std::int64_t size) {
      return std::vector<T>(static_cast<std::size_t>(size), T(7));
    };
    voltages = room(batch * count);
    gradient = room(batch * cells);
    moved = room(batch * count);
    jacobian = room(batch * count * cells);
    status.assign(static_cast<std::size_t>(batch), -7);
  }
};

template <class T>
void run(const EitLayout<T>& layout, const EitTask<T>& task) {
  const Room workspace(layout.workspace_bytes(task));
  const std::int64_t packs = (task.batch + layout.lanes - 1) / layout.lanes;
  for (std::int64_t pack = 0; pack < packs; ++pack) layout.run(task, pack, workspace.get());
}

// Equal numbers, nan beside nan.
template <class T>
bool same(const std::vector<T>& whole, std::int64_t at, const std::vector<T>& part) {
  for (std::size_t i = 0; i < part.size(); ++i) {
    const T a = whole[static_cast<std::size_t>(at) + i], b = part[i];
    if (!(a == b || (std::isnan(a) && std::isnan(b)))) return false;
  }
  return true;
}

template <class T>
bool finite(const std::vector<T>& values, std::int64_t at, std::int64_t count) {
  for (std::int64_t i = at; i < at + count; ++i)
    if (!std::isfinite(values[static_cast<std::size_t>(i)])) return false;
  return true;
}

template <class T>
void one(Input& in) {
  const int unknowns = in.between(3, 24), electrodes = in.between(2, unknowns < 9 ? unknowns : 9);
  const int triangles = in.between(1, 40);
  in.tame(true);
  test::PlannedMesh planned;
  for (int k = 0; k < triangles; ++k) {
    const std::int32_t a = in.between(0, unknowns - 3), b = in.between(a + 1, unknowns - 2);
    const std::int32_t c = in.between(b + 1, unknowns - 1);
    const double sides[3] = {in.number<double>(), in.number<double>(), in.number<double>()};
    planned.add(a, b, c, sides);
  }
  EitTask<T> task{};
  task.mesh = planned.plan(unknowns, electrodes);
  const std::int64_t batch = in.between(1, 9), cells = task.mesh.cells;
  EitPattern& pattern = task.pattern;
  pattern.drives = in.between(1, 11);  // more than columns at once
  pattern.measured = in.between(1, 11);
  pattern.count = in.between(1, 20);
  const std::vector<double> drive = in.numbers<double>(std::int64_t{pattern.drives} * electrodes);
  const std::vector<double> measure =
      in.numbers<double>(std::int64_t{pattern.measured} * electrodes);
  std::vector<std::int32_t> pair;
  for (int k = 0; k < pattern.count; ++k) {
    pair.push_back(in.between(0, pattern.drives - 1));
    pair.push_back(in.between(0, pattern.measured - 1));
  }
  pattern.drive = drive.data();
  pattern.measure = measure.data();
  pattern.pair = pair.data();
  const std::int64_t count = pattern.count;
  in.tame(in.flag());
  std::vector<T> weights = in.numbers<T>(batch * cells);
  if (in.between(0, 3) != 0)
    for (T& weight : weights) weight = std::abs(weight);
  const std::vector<T> dy = in.numbers<T>(batch * count), dw = in.numbers<T>(batch * cells);
  const bool residual = in.flag();

  const EitKernelsOf<T>& kernels = eit_kernels().of(T());
  // forward and everything but J dw, whose tangent would make a curvature of the gradient
  const auto all = [&](const EitLayout<T>& layout, std::int64_t first, std::int64_t items) {
    Answers<T> out(items, count, cells);
    EitTask<T> own = task;
    own.batch = items;
    own.weights = weights.data() + first * cells;
    own.voltages = out.voltages.data();
    own.status = out.status.data();
    own.jacobian = out.jacobian.data();
    own.gradient = out.gradient.data();
    (residual ? own.target : own.cotangent) = dy.data() + first * count;
    run(layout, own);
    own.jacobian = own.gradient = nullptr;
    own.target = own.cotangent = nullptr;
    own.tangent = dw.data() + first * cells;
    own.moved = out.moved.data();
    run(layout, own);
    return out;
  };
  const Answers<T> whole = all(kernels.packed, 0, batch);
  for (std::int64_t i = 0; i < batch; ++i) {
    const std::int32_t status = whole.status[static_cast<std::size_t>(i)];
    LPGD_HOLDS(status == 0 || status == 4);
    if (status == 0) {
      LPGD_HOLDS(finite(whole.voltages, i * count, count));
      continue;
    }
    for (std::int64_t k = i * count; k < (i + 1) * count; ++k) {
      LPGD_HOLDS(std::isnan(whole.voltages[static_cast<std::size_t>(k)]));
      LPGD_HOLDS(whole.moved[static_cast<std::size_t>(k)] == T(0));
    }
    for (std::int64_t k = i * cells; k < (i + 1) * cells; ++k)
      LPGD_HOLDS(whole.gradient[static_cast<std::size_t>(k)] == T(0));
  }
  // the last one is what it is without its neighbours
  const Answers<T> last = all(kernels.packed, batch - 1, 1);
  LPGD_HOLDS(last.status[0] == whole.status.back());
  LPGD_HOLDS(same(whole.voltages, (batch - 1) * count, last.voltages));
  LPGD_HOLDS(same(whole.moved, (batch - 1) * count, last.moved));
  LPGD_HOLDS(same(whole.gradient, (batch - 1) * cells, last.gradient));
  LPGD_HOLDS(same(whole.jacobian, (batch - 1) * count * cells, last.jacobian));
  all(kernels.alone, 0, batch);

  // the second derivative
  EitTask<T> second = task;
  Answers<T> out(batch, count, cells);
  second.batch = batch;
  second.weights = weights.data();
  second.cotangent = dy.data();
  second.tangent = dw.data();
  second.gradient = out.gradient.data();
  run(kernels.packed, second);
}

}  // namespace
}  // namespace lpgd::fuzz

int lpgd_fuzz_eit(const unsigned char* data, unsigned long size);
int lpgd_fuzz_eit(const unsigned char* data, unsigned long size) {
  lpgd::fuzz::Input in(data, size);
  if (in.flag())
    lpgd::fuzz::one<double>(in);
  else
    lpgd::fuzz::one<float>(in);
  return 0;
}
