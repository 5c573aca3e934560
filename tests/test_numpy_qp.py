"""solve_qp_numpy: the same kernels, no tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cases import parametrize_cases, random_qp
from lpgd_native import Status, solve_qp, solve_qp_numpy


def arrays(data):
    return [None if t is None else t.numpy() for t in data]


@parametrize_cases()
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_agrees_with_torch_to_the_last_bit(case, dtype):
    data = case.build().to(dtype)
    left, right = solve_qp_numpy(*arrays(data)), solve_qp(*data)
    assert left._fields == right._fields
    for a, b in zip(left, right, strict=True):
        assert isinstance(a, np.ndarray)
        assert a.shape == b.shape
        assert a.dtype == b.numpy().dtype
        np.testing.assert_array_equal(a, b.numpy())


def test_statuses():
    data = random_qp(110, 5, n=4, m=2, lower=True, upper=True)
    q, lb = data.q.clone(), data.lb.clone()
    q[1, 0], lb[3, 0] = torch.nan, data.ub[3, 0] + 1
    s = solve_qp_numpy(*arrays(data._replace(q=q, lb=lb)))
    assert s.status.tolist() == [
        Status.OK,
        Status.NUMERICAL_ERROR,
        Status.OK,
        Status.PRIMAL_INFEASIBLE,
        Status.OK,
    ]
    assert np.isfinite(s.x).all()


def test_threads_do_not_matter():
    data = arrays(random_qp(111, 150, n=8, m=8, p=3))
    one = solve_qp_numpy(*data, num_threads=1)
    for threads in (2, 5, 64):
        for a, b in zip(one, solve_qp_numpy(*data, num_threads=threads), strict=True):
            np.testing.assert_array_equal(a, b)


def test_views_are_read_right_and_nothing_is_written():
    data = arrays(random_qp(112, 3, n=4, m=3, p=1, lower=True, upper=True))
    views = [np.asfortranarray(a) for a in data]
    views[1] = np.repeat(data[1], 2, axis=-1)[..., ::2]
    views[6] = data[6][::-1][::-1]
    for a in views:
        a.setflags(write=False)
    for a, b in zip(solve_qp_numpy(*data), solve_qp_numpy(*views), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("batch", [(0,), (2, 0)])
def test_an_empty_batch(batch):
    q = np.zeros((*batch, 3))
    s = solve_qp_numpy(np.eye(3), q, lb=q - 1, ub=q + 1)
    assert s.x.shape == s.z_lb.shape == s.z_ub.shape == (*batch, 3)
    assert s.status.shape == s.gap.shape == batch


def test_a_number_bounds_all_variables():
    P, q, G, h, A, b, _, _ = arrays(random_qp(114, 4, n=5, m=3, p=1))
    full = np.full(5, 2.0), np.full(5, -1.0)
    left = solve_qp_numpy(P, q, G, h, A, b, -1.0, 2)
    for a, b_ in zip(left, solve_qp_numpy(P, q, G, h, A, b, full[1], full[0]), strict=True):
        np.testing.assert_array_equal(a, b_)
    with pytest.raises(TypeError, match="h must be a numpy array, got float"):
        solve_qp_numpy(P, q, G, 1.0)


def test_settings():
    data = arrays(random_qp(113, 4, n=20, m=20, p=5))
    short = solve_qp_numpy(*data, max_iter=1)
    assert (short.iterations <= 1).all()
    assert (short.status == Status.MAX_ITERATIONS).any()
    data = arrays(random_qp(113, 4, n=20, m=20, lower=True, upper=True)._replace(P=None))
    assert (solve_qp_numpy(*data, eps=1e-2).iterations < solve_qp_numpy(*data).iterations).all()
