// LPGD's perturbed solves for one item from start to end, as one block of a GPU does them. (The CPU
// does the same steps over lists, so that its packs stay full: ops/qp.cpp.)
#pragma once

#include "qp.h"
#include "qp_combine.h"

LPGD_BEGIN_NAMESPACE

// One side, warm and if need be cold. The status is left in task.report.status[slot].
template <class T, class Group>
LPGD_HD bool resolve_side(const Group& g, QpWork<T>& work, QpTask<T> task, std::int64_t item,
                          bool plus, T step, T rho, bool& fresh) {
  const QpEntry<T> entry{item, plus ? item : task.problem.batch + item, plus ? step : -step, rho};
  task.entries = &entry;
  for (const QpMethod method : {QpMethod::kActiveSet, QpMethod::kInterior}) {
    task.method = method;
    solve_entries(g, work, task, 0, 1, fresh);
    fresh = false;
    const bool ok = task.report.status[entry.slot] == kQpOk;
    g.sync();  // the status may be written again right after
    if (ok) return true;
  }
  return false;
}

// The wanted sides, else the other one, else smaller steps. Rows item and batch + item of the
// task's solution are z_+ and z_-; tau[item] becomes the step used.
template <class T, class Group>
LPGD_HD void resolve_item(const Group& g, QpWork<T>& work, const QpTask<T>& task, std::int64_t item,
                          int sides, T kind, T rho, T* tau, std::int32_t* shrunk, bool& fresh) {
  const std::int64_t batch = task.problem.batch;
  T step = tau[item];
  bool plus = false, minus = false, smaller = false;
  if (kind == T(0)) {
    if (sides & kQpLower) plus = resolve_side(g, work, task, item, true, step, rho, fresh);
    if (sides & kQpUpper) minus = resolve_side(g, work, task, item, false, step, rho, fresh);
    if (!plus && !minus && sides == kQpLower)
      minus = resolve_side(g, work, task, item, false, step, rho, fresh);
    if (!plus && !minus && sides == kQpUpper)
      plus = resolve_side(g, work, task, item, true, step, rho, fresh);
    for (int round = 0; round < kShrinkRounds && !plus && !minus; ++round) {
      step *= T(0.1);
      smaller = true;
      if (sides & kQpLower) plus = resolve_side(g, work, task, item, true, step, rho, fresh);
      if (sides & kQpUpper) minus = resolve_side(g, work, task, item, false, step, rho, fresh);
    }
  }
  g.sync();
  if (g.lane() == 0) {
    tau[item] = step;
    shrunk[item] = smaller ? 1 : 0;
    task.report.status[item] = plus ? kQpOk : kQpMaxIterations;
    task.report.status[batch + item] = minus ? kQpOk : kQpMaxIterations;
  }
  g.sync();
}

LPGD_END_NAMESPACE
