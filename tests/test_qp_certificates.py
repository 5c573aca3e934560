"""Infeasible and unbounded items come with their proof: multipliers, or a ray (docs/math.md)."""

from __future__ import annotations

import pytest
import torch

from cases import Data
from lpgd_native import Status, solve_qp
from test_qp_status import GOOD, INFEASIBLE, UNBOUNDED, stack

# a contradiction in no finite number has no multipliers
PROVABLE = [name for name in INFEASIBLE if not name.endswith("inf")]


def _dot(bound: torch.Tensor, multiplier: torch.Tensor) -> torch.Tensor:
    """Infinite bounds have no multiplier."""
    return torch.where(bound.isfinite(), bound.nan_to_num(0, 0, 0) * multiplier, 0).sum(-1)


def proof_of_no_point(data: Data, s) -> dict[str, torch.Tensor]:
    """What a certificate promises, and how far it is missed."""
    combined = s.z_ub - s.z_lb
    value = _dot(data.ub, s.z_ub) - _dot(data.lb, s.z_lb)
    if data.G is not None:
        combined = combined + (data.G.mT @ s.z.unsqueeze(-1)).squeeze(-1)
        value = value + _dot(data.h, s.z)
    if data.A is not None:
        combined = combined + (data.A.mT @ s.y.unsqueeze(-1)).squeeze(-1)
        value = value + (data.b * s.y).sum(-1)
    least = torch.stack([t.amin(-1) for t in (s.z, s.z_lb, s.z_ub) if t.numel()]).amin(0)
    return {"combination": combined.abs().amax(-1), "value": (value + 1).abs(), "sign": -least}


def proof_of_no_bound(data: Data, s) -> dict[str, torch.Tensor]:
    def times(matrix):
        return (matrix @ s.x.unsqueeze(-1)).squeeze(-1)

    out = {"value": ((data.q * s.x).sum(-1) + 1).abs()}
    if data.P is not None:
        out["curvature"] = times(data.P).abs().amax(-1)
    if data.G is not None:
        out["rows"] = torch.where(data.h.isfinite(), times(data.G), 0).amax(-1)
    if data.A is not None:
        out["equalities"] = times(data.A).abs().amax(-1)
    out["lower"] = torch.where(data.lb.isfinite(), -s.x, 0).amax(-1)
    out["upper"] = torch.where(data.ub.isfinite(), s.x, 0).amax(-1)
    return out


def linear(items: list[Data], is_linear: bool) -> list[Data]:
    return [item._replace(P=None) if is_linear else item for item in items]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("is_linear", [False, True], ids=["QP", "LP"])
@pytest.mark.parametrize("name", PROVABLE)
def test_no_point(name, is_linear, dtype):
    items = linear([INFEASIBLE[name](item) for item in GOOD.items()], is_linear)
    data = stack(*items).to(dtype)
    s = solve_qp(*data)
    assert (s.status == Status.PRIMAL_INFEASIBLE).all()
    size = max(float(t.abs().max()) for t in (s.y, s.z, s.z_lb, s.z_ub))
    tolerance = (1e-6 if dtype == torch.float64 else 1e-4) * (1 + size)
    for what, miss in proof_of_no_point(data, s).items():
        assert float(miss.max()) <= tolerance, what


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("is_linear", [False, True], ids=["QP", "LP"])
@pytest.mark.parametrize("name", UNBOUNDED)
def test_no_bound(name, is_linear, unit):
    """In any unit of x: the ray has q'x = -1."""
    items = linear([UNBOUNDED[name](item) for item in GOOD.items()], is_linear)
    data = stack(*items)
    data = data._replace(
        P=None if data.P is None else data.P / unit**2,
        q=data.q / unit,
        G=data.G / unit,
        A=data.A / unit,
        lb=data.lb * unit,
        ub=data.ub * unit,
    )
    s = solve_qp(*data)
    assert (s.status == Status.DUAL_INFEASIBLE).all()
    size = float(s.x.abs().max()) / unit
    for what, miss in proof_of_no_bound(data, s).items():
        scale = {"value": 1.0, "lower": unit, "upper": unit}.get(
            what, 1.0 if "curv" not in what else 1 / unit
        )
        assert float(miss.max()) <= 1e-6 * (1 + size) * scale, what


def test_an_unbounded_lp_without_bounds():
    """min -x - 2y, x + y >= 1: any certificate is a ray."""
    data = Data(
        None,
        torch.tensor([-1.0, -2.0]).double(),
        torch.tensor([[-1.0, -1.0]]).double(),
        torch.tensor([-1.0]).double(),
        None,
        None,
        None,
        None,
    )
    s = solve_qp(*data)
    assert int(s.status) == Status.DUAL_INFEASIBLE
    assert float(data.q @ s.x) == pytest.approx(-1.0, abs=1e-12)
    assert float(data.G @ s.x) <= 1e-7
