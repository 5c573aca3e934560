// The QP's kernels as a worker of a GPU runs them, from the first item that it takes to its last.
#pragma once

#include "items.h"
#include "qp.h"
#include "qp_combine.h"
#include "qp_resolve.h"

LPGD_BEGIN_NAMESPACE

// Numbers of the matrix that is factored: what is read most.
LPGD_HOST_TOO std::size_t qp_factor_scalars(const QpDims& dims) {
  return static_cast<std::size_t>(dims.n) * static_cast<std::size_t>(dims.stride_n());
}

// The workspace in `fast` memory (null: there is none), all of it, or, with `slow` memory beside
// it, the factor alone.
template <class T>
LPGD_INLINE void place_work(QpWork<T>& work, const QpDims& dims, T* fast, T* slow) {
  work.bind(dims, slow != nullptr ? slow : fast);
  if (slow != nullptr && fast != nullptr) work.L = fast;
}

template <class T, class Group, class Counter>
LPGD_INLINE void solve_items(const Group& g, QpWork<T>& work, const QpTask<T>& task,
                             Counter& counter) {
  bool fresh = true;
  for_items(g, counter, task.problem.batch, [&](std::int64_t item) {
    solve_entries(g, work, task, item, 1, fresh);
    fresh = false;
  });
}

// What LPGD's perturbed solves are given beyond their task; the arrays have an entry an item.
template <class T>
struct QpResolve {
  QpCombine<T> combine;
  const std::int32_t* solved;
  int sides;
  T* kind;
  T* tau;  // in: the step, out: the step used
  const T* rho;
  std::int32_t* shrunk;
};

template <class T, class Group, class Counter>
LPGD_INLINE void resolve_items(const Group& g, QpWork<T>& work, const QpTask<T>& task,
                               const QpResolve<T>& how, Counter& counter) {
  const QpDims dims = work.dims;
  bool fresh = true;
  for_items(g, counter, task.problem.batch, [&](std::int64_t item) {
    const T upstream = upstream_kind(g, task.gradient, how.solved, item, dims.n, dims.p, dims.m,
                                     dims.n_lb, dims.n_ub);
    if (g.lane() == 0) how.kind[item] = upstream;
    resolve_item(g, work, task, item, how.sides, upstream, how.rho[item], how.tau, how.shrunk,
                 fresh);
    combine_item(g, how.combine, item);
    g.sync();
  });
}

template <class T, class Group, class Counter>
LPGD_INLINE void implicit_items(const Group& g, QpWork<T>& work, const QpImplicitTask<T>& task,
                                Counter& counter) {
  bool fresh = true;
  for_items(g, counter, task.problem.batch, [&](std::int64_t item) {
    implicit_entries(g, work, task, item, 1, fresh);
    fresh = false;
  });
}

LPGD_END_NAMESPACE
