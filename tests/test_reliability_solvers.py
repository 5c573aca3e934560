"""Hard programs with known answers, true gradients, flat memory: the quick half of each."""

from __future__ import annotations

import warnings

import pytest
import torch

from lpgd_native import LPGD, Status, solve_lp, solve_qp
from reliability import gradients, leaks, torture
from reliability.operations import operations

families = pytest.mark.parametrize("family", torture.FAMILIES, ids=lambda f: f.name)

# of solves again that found one side alone: no matter here
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@families
def test_hard_programs_are_answered(family):
    known = family.build(40 if family.name != "1 % infeasible" else 600)
    x, said = torture.ours(known[0])
    right, wrong = torture.answered(known, x, said)
    assert not (wrong & (said != Status.OK)).any()  # no proof of what is not so
    if not family.may_fail:
        assert right.all()
        assert torture.broken_promises(known[0]) == 0
    assert torture.neighbours(known[0], items=4) == 0


@pytest.mark.parametrize("family", torture.FAMILIES[::3], ids=lambda f: f.name)
def test_gradients_of_hard_programs_are_finite(family):
    assert torture.finite_gradients(family.build(20)[0])


@pytest.mark.slow
def test_thousands_of_items_of_which_one_in_a_hundred_is_infeasible():
    known = torture.sprinkled(5000)
    x, said = torture.ours(known[0])
    right, _ = torture.answered(known, x, said)
    assert right.all()
    assert torture.finite_gradients(known[0])


@pytest.mark.parametrize(
    "operation", [op for op in operations() if gradients.has_differences(op)][::3],
    ids=lambda op: op.name,
)  # fmt: skip
def test_derivatives_by_differences(operation):
    worst, skipped = gradients.by_differences(operation, 20)
    assert worst < gradients.limit(operation.name)
    assert skipped < 0.1


@pytest.mark.parametrize(("method", "linear"), [("ipm", False), ("ipm", True), ("highs", True)])
@pytest.mark.parametrize("strategy", gradients.STRATEGIES, ids=repr)
def test_lpgd_is_what_its_definition_says(strategy, method, linear):
    double, single = gradients.by_definition(strategy, method, linear, 20)
    assert double < 1e-6
    assert single < 0.05


@pytest.mark.slow
def test_every_derivative():
    for name, errors in gradients.truth(200).items():
        assert errors.double < gradients.limit(name), name


CALLS = leaks.calls()


@pytest.mark.parametrize("name", list(CALLS)[::5])
def test_memory_stays_flat(name):
    assert leaks.growth(CALLS[name], 400, 100) < leaks.LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_memory_stays_flat_over_ten_thousand_calls(name):
    assert leaks.growth(CALLS[name], 10_000, 1_000) < leaks.LIMIT


def test_relative_steps_do_not_depend_on_the_batch():
    """The norms of a batch's loss gradients were summed in an order that its size decided."""
    generator = torch.Generator().manual_seed(0)
    data = torture.known_qp(24, 6, 5, 2)[0]
    g = torch.randn(24, 6, dtype=torch.float64, generator=generator)

    def grads(part: slice) -> list[torch.Tensor]:
        leaf = data.q[part].clone().requires_grad_()
        rest = data.map(lambda t: t[part])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            x = solve_qp(rest.P, leaf, *rest[2:], gradient=LPGD(0.5, relative=True)).x
            return [torch.autograd.grad((g[part] * x).sum(), leaf)[0]]

    (whole,) = grads(slice(0, 24))
    for k in range(24):
        (alone,) = grads(slice(k, k + 1))
        assert torch.equal(whole[k : k + 1], alone)


def test_a_float32_lp_beside_a_tie_is_optimal_but_elsewhere():
    """An edge that costs less than float32's tolerance: any of its points is an answer."""
    data = gradients.random_lp(21, 300, n=6, m=5, p=2)
    g = torch.randn(300, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(22))
    q = data.q[5] + 0.3 * g[5]
    item = data.item(5)
    double = solve_lp(q, *item[2:], method="ipm").x
    single = [
        solve_lp(q.float(), *item.to(torch.float32)[2:], method=how).x.double()
        for how in ("ipm", "highs")
    ]
    assert (single[0] - double).abs().max() > 0.1
    assert abs(float(q @ (single[0] - double))) < 1e-4 * (1 + abs(float(q @ double)))
    assert (single[1] - double).abs().max() < 1e-4
