"""Layers of cvxpy problems: values against cvxpy with Clarabel, gradients against differences and
against cvxpylayers with diffcp, for our layer and for our solver inside cvxpylayers.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lpgd_native import LPGD, Implicit, SolverError, Status, solve_qp

cp = pytest.importorskip("cvxpy")
pytest.importorskip("cvxpylayers")
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*Sparse CSR tensor support is in beta state.*:UserWarning",
    "ignore:Converting A to a CSC:UserWarning",
    "ignore:.*__array__ implementation doesn't accept a copy keyword.*:DeprecationWarning",
)

from cvxpylayers.torch import CvxpyLayer as TheirLayer  # noqa: E402

import lpgd_native.cvxpy as ours  # noqa: E402
from cvxpy_cases import CASES, Case, randn, relu  # noqa: E402
from lpgd_native.cvxpy import _affine  # noqa: E402
from transforms import compiles, forward_mode  # noqa: E402

by_name = {case.name: case for case in CASES}
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def layers(case: Case, **settings: Any) -> dict[str, Any]:
    """Our layer, and cvxpylayers' with our solver where it takes the problem."""
    made = {"ours": ours.CvxpyLayer(*case.make(), **settings)}
    if case.name != "leaves":  # cvxpylayers 1.2 refuses diag variables
        made["plug-in"] = TheirLayer(*case.make(), solver=ours.solver(**settings))
    return made


def expected(case: Case, values: list[Tensor], batch: int) -> list[np.ndarray]:
    """cvxpy's own solution, item by item."""
    problem, parameters, variables = case.make()
    out: list[list[np.ndarray]] = [[] for _ in variables]
    for item in range(batch):
        for parameter, value in zip(parameters, values, strict=True):
            batched = value.dim() > len(parameter.shape)
            parameter.value = (value[item] if batched else value).numpy()
        problem.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
        for rows, variable in zip(out, variables, strict=True):
            value = variable.value
            rows.append(value.toarray() if hasattr(value, "toarray") else np.asarray(value))
    return [np.stack(rows) for rows in out]


@every
def test_value(case: Case) -> None:
    values = case.draw(6)
    wanted = expected(case, values, 6)
    for kind, layer in layers(case).items():
        found = layer(*values)
        assert len(found) == len(wanted)
        for left, right in zip(found, wanted, strict=True):
            assert left.shape == right.shape, kind
            np.testing.assert_allclose(left.detach(), right, atol=2e-6, err_msg=kind)


@every
def test_one_problem_has_no_batch_dimension(case: Case) -> None:
    values = case.draw(3)
    shapes = [len(p.shape) for p in case.make()[1]]
    single = [v[1] if v.dim() > rank else v for v, rank in zip(values, shapes, strict=True)]
    for layer in layers(case).values():
        for one, many in zip(layer(*single), layer(*values), strict=True):
            torch.testing.assert_close(one, many[1], atol=1e-8, rtol=1e-8)


@every
def test_gradient_against_differences(case: Case) -> None:
    values = case.draw(2)
    for layer in layers(case, gradient=Implicit()).values():
        weights = [torch.randn_like(v) for v in layer(*values)]

        def loss(*given: Tensor, layer: Any = layer, weights: list[Tensor] = weights) -> Tensor:
            if case.name == "quadratic form":  # a step keeps it symmetric
                given = (0.5 * (given[0] + given[0].mT), *given[1:])
            if case.name == "leaves":
                given = (*given[:2], 0.5 * (given[2] + given[2].mT))
            found = layer(*given)
            return sum((w * v).sum() for w, v in zip(weights, found, strict=True))

        moved = [v.clone().requires_grad_() for v in values]
        assert torch.autograd.gradcheck(loss, moved, eps=1e-6, atol=1e-4, rtol=1e-3, fast_mode=True)


@pytest.mark.parametrize("case", [c for c in CASES if c.diffcp], ids=lambda case: case.name)
def test_gradient_against_diffcp(case: Case) -> None:
    values = case.draw(4)
    theirs = TheirLayer(*case.make())
    tight = {"solve_method": "Clarabel", "mode": "dense"}
    tight |= {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}

    def gradients(layer: Any, **arguments: Any) -> tuple[Tensor, ...]:
        moved = [v.clone().requires_grad_() for v in values]
        x = layer(*moved, **arguments)[0]
        return torch.autograd.grad(
            (x * torch.arange(1.0, x[0].numel() + 1).view_as(x[0])).sum(), moved
        )

    reference = gradients(theirs, solver_args=tight)
    for layer in layers(case, gradient=Implicit()).values():
        for left, right in zip(gradients(layer), reference, strict=True):
            torch.testing.assert_close(left, right, atol=2e-3, rtol=2e-3)


def test_nonnegativity_is_not_dropped() -> None:
    """Seen elsewhere: `x >= 0` lost on the way to the solver, and the layer is the identity."""
    a = torch.tensor([-1.0, 2.0, -3.0, 0.5, 0.0], dtype=torch.float64)
    for layer in layers(by_name["relu"]).values():
        torch.testing.assert_close(layer(a)[0], a.clamp(min=0), atol=1e-9, rtol=0)
    x, b = cp.Variable(5, nonneg=True), cp.Parameter(5)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - b)))
    for layer in (
        ours.CvxpyLayer(problem, [b], [x]),
        TheirLayer(problem, [b], [x], solver=ours.solver()),
    ):
        torch.testing.assert_close(layer(a)[0], a.clamp(min=0), atol=1e-9, rtol=0)


def linear_program() -> tuple[Any, list[Any], list[Any]]:
    x, c, low = cp.Variable(4), cp.Parameter(4), cp.Parameter(4)
    return cp.Problem(cp.Minimize(c @ x), [cp.sum(x) == 1, x >= low]), [c, low], [x]


def test_a_linear_program_has_a_gradient_by_lpgd() -> None:
    c, low = 0.3 * randn(5, 4), torch.zeros(4, dtype=torch.float64)
    for kind in ("ours", "plug-in"):
        for gradient, moved in ((None, True), (LPGD(tau=5.0), True), (Implicit(), False)):
            layer = (
                ours.CvxpyLayer(*linear_program(), gradient=gradient)
                if kind == "ours"
                else TheirLayer(*linear_program(), solver=ours.solver(gradient))
            )
            costs = c.clone().requires_grad_()
            (x,) = layer(costs, low)
            torch.testing.assert_close(x.argmax(-1), c.argmin(-1))
            (x * randn(5, 4, seed=3)).sum().backward()
            assert costs.grad is not None
            taught = (costs.grad.abs().sum(-1) > 1e-3).double().mean()
            assert taught > 0.5 if moved else taught == 0, (kind, gradient)


def test_lpgd_is_that_of_its_definition() -> None:
    """The lower envelope: the difference of the solutions at c + tau g and at c, over tau."""
    c, low = 0.3 * randn(5, 4), torch.zeros(4, dtype=torch.float64)
    g, tau = randn(5, 4, seed=3), 0.7
    plain = ours.CvxpyLayer(*linear_program())
    wanted = (plain(c + tau * g, low)[0] - plain(c, low)[0]) / tau
    costs = c.clone().requires_grad_()
    layer = ours.CvxpyLayer(*linear_program(), gradient=LPGD(tau, envelope="lower"))
    (found,) = torch.autograd.grad(layer(costs, low)[0], costs, g)
    torch.testing.assert_close(found, wanted, atol=1e-8, rtol=0)


@pytest.mark.parametrize("envelope", ["lower", "upper", "average"])
def test_lpgd_is_the_same_with_variables_put_in(envelope: Any) -> None:
    """Of A and b in sum_squares(A x - b): as with t = A x - b as variables of the program."""
    x, A, b = cp.Variable(3), cp.Parameter((4, 3)), cp.Parameter(4)
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(A @ x - b)), [x >= 0])
    strategy = LPGD(0.4, envelope=envelope)
    layer = ours.CvxpyLayer(problem, [A, b], [x], gradient=strategy)
    assert layer._program.parts["M"] is not None
    values = [randn(2, 4, 3, seed=30), randn(2, 4, seed=31)]
    weights = randn(2, 3, seed=32)
    moved = [v.clone().requires_grad_() for v in values]
    found = torch.autograd.grad(layer(*moved)[0], moved, weights)

    again = [v.clone().requires_grad_() for v in values]
    minus = -torch.eye(4, dtype=torch.float64).expand(2, 4, 4)
    P = torch.diag(torch.tensor([0.0] * 3 + [1.0] * 4, dtype=torch.float64))
    lb = torch.tensor([0.0] * 3 + [-torch.inf] * 4, dtype=torch.float64)
    rows = torch.cat([again[0], minus], -1)
    q = torch.zeros(7, dtype=torch.float64)
    long = solve_qp(P, q, A=rows, b=again[1], lb=lb, gradient=strategy)
    wanted = torch.autograd.grad(long.x[:, :3], again, weights)
    for left, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(left, right, atol=1e-7, rtol=1e-7)


def test_an_infeasible_item_leaves_its_neighbours_alone() -> None:
    c, low = randn(3, 4), torch.zeros(3, 4, dtype=torch.float64)
    low[1] = 1.0  # sum(x) = 1 with all x >= 1
    layer = ours.CvxpyLayer(*linear_program())
    moved = c.clone().requires_grad_()
    (x,), found = layer.solve(moved, low)
    assert found.status.tolist() == [Status.OK, Status.PRIMAL_INFEASIBLE, Status.OK]
    x.square().sum().backward()
    assert moved.grad is not None
    assert torch.equal(moved.grad[1], torch.zeros(4, dtype=torch.float64))
    alone = c[[0, 2]].clone().requires_grad_()
    (y,) = layer(alone, low[[0, 2]])
    assert torch.equal(x[[0, 2]], y)
    y.square().sum().backward()
    torch.testing.assert_close(moved.grad[[0, 2]], alone.grad)
    solver = ours.solver()
    plugged = TheirLayer(*linear_program(), solver=solver)
    torch.testing.assert_close(plugged(c, low)[0][[0, 2]], y.detach())
    assert solver.last.status.tolist() == [0, 2, 0]
    with pytest.raises(SolverError, match="1 of 3 items failed"):
        layer(c, low, solver_args={"throw": True})


def test_shared_parameters_share_their_matrices() -> None:
    """What the batch shares is not copied for each item; its gradient is the sum."""
    case = by_name["sudoku"]
    values = case.draw(7)
    for layer in layers(case).values():
        shared = values[0].clone().requires_grad_()
        copied = values[0].expand(7, 6, 16).clone().requires_grad_()
        (x,) = layer(shared, *values[1:])
        (y,) = layer(copied, values[1].expand(7, 6), values[2])
        torch.testing.assert_close(x, y)
        weights = torch.randn_like(x)
        (x * weights).sum().backward()
        (y * weights).sum().backward()
        assert shared.grad is not None
        assert copied.grad is not None
        torch.testing.assert_close(shared.grad, copied.grad.sum(0), atol=1e-7, rtol=1e-6)
    layer = ours.CvxpyLayer(*case.make())
    parts = layer._parts(values, layer._checked(values), (7,))
    blocks = layer._program.assemble(parts)
    assert blocks["A"].shape == (6, 16)
    assert blocks["q"].shape == (7, 16)
    assert blocks["G"] is None  # z >= 0 are bounds


@pytest.mark.parametrize("form", ["gather", "part", "dense", "sum"])
def test_affine_maps(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way an array is made from parameters gives what numpy gives, and its gradient."""
    rng = np.random.default_rng(0)
    positions = {"gather": 6, "part": 4}.get(form, 6)
    position = rng.permutation(6)[:positions]
    if form in ("dense", "sum"):
        position = rng.integers(0, 6, 15)
    monkeypatch.setattr(_affine, "_MOST_DENSE", 0 if form == "sum" else 1 << 16)
    column = rng.integers(0, 5, position.size)
    coef = rng.normal(size=position.size)
    base = rng.normal(size=6)
    made = _affine.Affine((2, 3), base, position, column, coef, 5)
    p = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    wanted = np.tile(base, (4, 1))
    for k, c, w in zip(position, column, coef, strict=True):
        wanted[:, k] += w * p.detach().numpy()[:, c]
    np.testing.assert_allclose(made(p).detach(), wanted.reshape(4, 2, 3))
    assert made(p[0]).shape == (2, 3)
    assert torch.autograd.gradcheck(made, p)
    assert made(p.float()).dtype == torch.float32


def test_problems_at_the_edge() -> None:
    """No parameters; no constraints; nothing but equalities; a vertex by the simplex method."""
    x = cp.Variable(2)
    fixed = cp.Problem(cp.Minimize(cp.sum_squares(x - np.array([1.0, -1.0]))), [x >= 0])
    (value,) = ours.CvxpyLayer(fixed, [], [x])()
    np.testing.assert_allclose(value, [1, 0], atol=1e-9)
    a = cp.Parameter(2)
    target = randn(3, 2)
    for constraints, wanted in (([], target), ([x[0] == x[1]], target.mean(-1, keepdim=True))):
        problem = cp.Problem(cp.Minimize(cp.sum_squares(x - a)), constraints)
        for layer in (
            ours.CvxpyLayer(problem, [a], [x]),
            TheirLayer(problem, [a], [x], solver=ours.solver()),
        ):
            torch.testing.assert_close(layer(target)[0], wanted.expand(3, 2), atol=1e-9, rtol=0)
    c, low = randn(3, 4), torch.zeros(4, dtype=torch.float64)
    vertex = ours.CvxpyLayer(*linear_program(), method="highs")(c, low)[0]
    torch.testing.assert_close(vertex, ours.CvxpyLayer(*linear_program())(c, low)[0])


def test_several_batch_dimensions_broadcast() -> None:
    layer = ours.CvxpyLayer(*linear_program())
    c, low = randn(2, 1, 4), -torch.rand(3, 4, dtype=torch.float64)
    (x,), found = layer.solve(c, low)
    assert x.shape == (2, 3, 4)
    assert found.status.shape == (2, 3)
    torch.testing.assert_close(x[1, 2], layer(c[1, 0], low[2])[0])


def test_float32_stays_float32() -> None:
    case = by_name["markowitz"]
    values = case.draw(4)
    for layer in layers(case).values():
        single = [v.float().requires_grad_() for v in values]
        x = layer(*single)[0]
        assert x.dtype == torch.float32
        torch.testing.assert_close(x.double(), layer(*values)[0], atol=1e-3, rtol=1e-3)
        x.square().sum().backward()
        assert all(v.grad is not None and v.grad.dtype == torch.float32 for v in single)


@forward_mode
def test_transforms() -> None:
    layer = ours.CvxpyLayer(*relu())
    a = randn(4, 5)
    weights = torch.arange(5.0, dtype=torch.float64)

    def loss(v: Tensor) -> Tensor:
        return (layer(v)[0] * weights).sum()

    wanted = (a > 0) * weights
    torch.testing.assert_close(torch.func.grad(loss)(a), wanted)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(a), wanted)
    _, tangent = torch.func.jvp(lambda v: layer(v)[0], (a,), (torch.ones_like(a),))
    torch.testing.assert_close(tangent, (a > 0).double(), atol=1e-7, rtol=0)


@compiles
def test_compiles_in_one_graph() -> None:
    layer = ours.CvxpyLayer(*by_name["markowitz"].make())
    values = by_name["markowitz"].draw(3)
    compiled = torch.compile(lambda *v: layer(*v)[0], fullgraph=True, backend="aot_eager")
    moved = [v.clone().requires_grad_() for v in values]
    x = compiled(*moved)
    torch.testing.assert_close(x, layer(*values)[0])
    x.square().sum().backward()
    again = [v.clone().requires_grad_() for v in values]
    layer(*again)[0].square().sum().backward()
    for left, right in zip(moved, again, strict=True):
        torch.testing.assert_close(left.grad, right.grad)


def test_copies_and_pickles() -> None:
    """Ours; cvxpylayers' own layer holds sparse buffers, which torch does not copy."""
    case = by_name["markowitz"]
    layer = ours.CvxpyLayer(*case.make())
    values = case.draw(2)
    wanted = layer(*values)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        for left, right in zip(other(*values), wanted, strict=True):
            assert torch.equal(left, right)
    restored = pickle.loads(pickle.dumps(ours.solver(LPGD(tau=0.3))))
    assert restored.settings.gradient == LPGD(tau=0.3)


def test_warm_start() -> None:
    case = by_name["mpc"]
    layer, values = ours.CvxpyLayer(*case.make()), case.draw(5)
    first = layer(*values, warm_start=True)
    near = [values[0] + 1e-3, *values[1:]]
    for left, right in zip(layer(*near, warm_start=True), layer(*near), strict=True):
        torch.testing.assert_close(left, right, atol=1e-7, rtol=1e-7)
    (_, _), cold = layer.solve(*values)
    (_, _), warm = layer.solve(*values, warm_start=cold)
    assert int(warm.iterations.sum()) < int(cold.iterations.sum())
    assert first[0].shape == (5, 5, 1)


def test_settings_of_the_solver_object_and_of_a_call() -> None:
    a = randn(3, 5)
    layer = ours.CvxpyLayer(*relu(), solver=ours.solver(LPGD(tau=0.2), max_iter=50))
    assert layer.settings.gradient == LPGD(tau=0.2)
    assert layer.settings.max_iter == 50
    (_, _), found = layer.solve(a, solver_args={"max_iter": 1, "eps": 1e-12})
    assert int(found.iterations.max()) <= 1
    with pytest.raises(ValueError, match="unknown solver argument 'acceleration'"):
        layer(a, solver_args={"acceleration": 2})
    plugged = TheirLayer(*relu(), solver=ours.solver())
    with pytest.raises(ValueError, match="unknown solver argument"):
        plugged(a, solver_args={"acceleration": 2})
    with pytest.raises(ValueError, match="to the solver or to the layer"):
        ours.CvxpyLayer(*relu(), solver=ours.solver(), eps=1e-3)
    with pytest.raises(ValueError, match="solver must be None or"):
        ours.CvxpyLayer(*relu(), solver="SCS")
    one = ours.solver()
    TheirLayer(*relu(), solver=one)
    with pytest.raises(ValueError, match="has a layer already"):
        TheirLayer(*relu(), solver=one)


def refused() -> list[Any]:
    x, a, t = cp.Variable(3, name="x"), cp.Parameter(3, name="a"), cp.Variable(name="t")
    ball = cp.norm(x, 2) <= 1
    square = cp.sum_squares(x - a)
    whole = cp.Variable(3, integer=True, name="k")
    return [
        ((cp.Problem(cp.Minimize(square), [ball]), [a], [x]), rf"{ball}.*second-order cone"),
        ((cp.Problem(cp.Minimize(cp.norm(x - a, 2))), [a], [x]), "objective.*second-order cone"),
        ((cp.Problem(cp.Minimize(t), [cp.sum_squares(x - a) <= t]), [a], [x]), "second-order"),
        ((cp.Problem(cp.Minimize(square - cp.sum(cp.log(x)))), [a], [x]), "exponential cone"),
        ((cp.Problem(cp.Minimize(cp.sum_squares(whole - a))), [a], [whole]), "k is integer"),
        ((cp.Problem(cp.Minimize(cp.sum_squares(x - a)), [x >= 0]), [], [x]), "parameters must be"),
        ((cp.Problem(cp.Minimize(cp.sum_squares(x - a))), [a], [t]), "variables must be"),
        (
            (cp.Problem(cp.Minimize(cp.sum((a @ a) * x)), [x >= 0]), [a], [x]),
            "disciplined parametrised",
        ),
    ]


@pytest.mark.parametrize("number", range(8))
def test_what_cannot_be_solved_is_named(number: int) -> None:
    arguments, message = refused()[number]
    message = message.replace("(", r"\(").replace(")", r"\)").replace("+", r"\+")
    with pytest.raises(ValueError, match=message):
        ours.CvxpyLayer(*arguments)
    if number < 4:
        with pytest.raises(ValueError, match=message):
            TheirLayer(*arguments, solver=ours.solver())


def test_bad_parameters_name_themselves() -> None:
    layer = ours.CvxpyLayer(*linear_program())
    c, low = randn(2, 4), randn(3, 4)
    with pytest.raises(ValueError, match="tensor for each parameter"):
        layer(c)
    with pytest.raises(ValueError, match=r"must be \['...', 4\], got \[5\]"):
        layer(randn(5), low)
    with pytest.raises(ValueError, match="don't broadcast"):
        layer(c, low)
    with pytest.raises(TypeError, match="float32 or all float64"):
        layer(c, low[:2].float())
    with pytest.raises(TypeError, match=r"must be a torch\.Tensor"):
        layer(c, [0.0])
    with pytest.raises(ValueError, match="gp=True"):
        ours.CvxpyLayer(*linear_program(), gp=True)


def test_without_cvxpy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from lpgd_native.cvxpy import _require

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="cvxpy")

    monkeypatch.setattr(_require.importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lpgd-native\[cvxpy\]'"):
        _require.require("cvxpy")


def test_learning_a_portfolio_policy() -> None:
    """Markowitz tuning: the price of trading and the risk factor are learned from decisions."""
    case = by_name["markowitz"]
    mu, factor, before, price = case.draw(32)
    layer = ours.CvxpyLayer(*case.make())
    with torch.no_grad():
        wanted = layer(mu, factor, before, price)[0]
    raw = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.1)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        w = layer(mu, factor, before, raw.exp())[0]
        loss = (w - wanted).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 1e-2 * losses[0]
    assert float(raw.detach().exp()) == pytest.approx(0.05, rel=0.2)
