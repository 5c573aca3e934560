"""OracleLayer and FunctionOracle: what is solved when, failures, transforms, pools, bad input."""

from __future__ import annotations

import copy
import io
import pickle
import time

import numpy as np
import pytest
import torch
from torch import nn

import lpgd_native
from lpgd_native import (
    IMLE,
    LPGD,
    Blackbox,
    FunctionOracle,
    Identity,
    LPOracle,
    OracleLayer,
    Perturbed,
    SolverError,
    Status,
)
from lpgd_native.oracles import Knapsack, Oracle
from strategy_oracles import F64, Matrices, Vertices, choose, costs, permutations, polytope
from transforms import compiles, forward_mode

C, G = costs(12, 5), costs(12, 5, seed=1)
POINTS = polytope().numpy()


def best(c, points=POINTS):
    """One item, numpy."""
    return points[(points @ c).argmin()]


def best_of_all(c):
    return POINTS[(c @ POINTS.T).argmin(-1)]


def best_in_torch(c):
    points = polytope().to(c)
    return points[(points @ c).argmin()]


def scaled(c, weights, power=1):
    """With an instance: the weights count each entry."""
    return POINTS[(POINTS @ (c * weights**power)).argmin()]


def scaled_batch(c, weights, power=1):
    return POINTS[((c * weights**power) @ POINTS.T).argmin(-1)]


def picky(c):
    """Raises for some costs, and has no solution for others."""
    if c[0] > 1.0:
        raise RuntimeError("too dear")
    return None if c[0] < -1.0 else best(c)


def picky_batch(c):
    if (c[:, 0] > 1.0).any():
        raise RuntimeError("too dear")
    return best_of_all(c), np.where(c[:, 0] < -1.0, int(Status.PRIMAL_INFEASIBLE), 0)


def both(layer, c=C, g=G, **instance):
    c = c.detach().clone().requires_grad_()
    x = layer(c, **instance).x
    return x.detach(), torch.autograd.grad(x, c, g)[0]


EXPECTED = both(OracleLayer(Vertices(polytope()), Blackbox(2.0)))

# what is asked of the oracle


@pytest.mark.parametrize(
    ("strategy", "forward", "backward"),
    [
        (LPGD(1.0), 12, 24),
        (LPGD(1.0, envelope="upper"), 12, 12),
        (Blackbox(1.0), 12, 12),
        (Identity(), 12, 0),
        (Perturbed(samples=6), 72, 0),
        (IMLE(samples=3, envelope="average"), 36, 72),
    ],
    ids=lambda v: type(v).__name__,
)
def test_all_that_is_needed_comes_in_one_batch(strategy, forward, backward):
    oracle = Vertices(polytope())
    c = C.clone().requires_grad_()
    x = OracleLayer(oracle, strategy)(c).x
    assert (oracle.calls, oracle.items) == (1, forward)
    oracle.calls = oracle.items = 0
    torch.autograd.grad(x, c, G)
    assert (oracle.calls, oracle.items) == (bool(backward), backward)


@pytest.mark.parametrize("strategy", [LPGD(1.0), Blackbox(1.0), IMLE(samples=2)], ids=str)
def test_nothing_is_solved_where_no_gradient_arrives(strategy):
    oracle = Vertices(polytope())
    c = C.clone().requires_grad_()
    x = OracleLayer(oracle, strategy)(c).x
    oracle.calls = oracle.items = 0
    (grad,) = torch.autograd.grad(x, c, torch.zeros_like(c), retain_graph=True)
    assert not grad.any()
    assert oracle.calls == 0
    some = torch.zeros_like(G)
    some[[2, 7]] = G[[2, 7]]
    (grad,) = torch.autograd.grad(x, c, some, retain_graph=True)
    one_item = oracle.items / 2
    assert oracle.calls == 1
    assert one_item < 12 * 2 / 3
    whole = torch.autograd.grad(x, c, G)[0]
    assert torch.equal(grad[[2, 7]], whole[[2, 7]])
    assert not grad[[0, 1, 3, 4, 5, 6, 8, 9, 10, 11]].any()


def test_no_solve_again_without_a_graph():
    oracle = Vertices(polytope())
    layer = OracleLayer(oracle)
    with torch.no_grad():
        assert not layer(C.clone().requires_grad_()).x.requires_grad
    assert not layer(C).x.requires_grad
    assert oracle.calls == 2


def test_default_gradient_is_that_of_solve_lp():
    assert OracleLayer(Vertices(polytope())).gradient == LPGD(tau=1.0, relative=True)


def test_objective_and_status():
    out = OracleLayer(Vertices(polytope()))(C.clone().requires_grad_())
    torch.testing.assert_close(out.objective, (C * out.x.detach()).sum(-1))
    assert not out.objective.requires_grad
    assert out.status.dtype == torch.int32
    assert isinstance(Vertices(polytope()), Oracle)


@pytest.mark.parametrize("shape", [(), (12,), (3, 4), (2, 1, 6), (0,)])
@pytest.mark.parametrize(
    "strategy", [LPGD(2.0), Perturbed(samples=4), IMLE(samples=2), Identity("both")], ids=str
)
def test_any_batch(strategy, shape):
    count = int(np.prod(shape))
    c, g = C[:count].reshape(*shape, 5), G[:count].reshape(*shape, 5)
    x, grad = both(OracleLayer(Vertices(polytope()), copy.deepcopy(strategy)), c, g)
    flat = both(OracleLayer(Vertices(polytope()), copy.deepcopy(strategy)), C[:count], G[:count])
    assert torch.equal(x, flat[0].reshape(x.shape))
    torch.testing.assert_close(grad, flat[1].reshape(x.shape))


def test_matrices():
    oracle = Matrices(permutations(3))
    c, g = costs(4, 9).reshape(4, 3, 3), costs(4, 9, seed=1).reshape(4, 3, 3)
    for strategy in (LPGD(1.0), Perturbed(samples=4), IMLE(samples=3), Blackbox(2.0, True)):
        flat = Vertices(permutations(3))
        left = both(OracleLayer(oracle, copy.deepcopy(strategy)), c, g)
        right = both(OracleLayer(flat, copy.deepcopy(strategy)), c.flatten(1), g.flatten(1))
        for a, b in zip(left, right, strict=True):
            torch.testing.assert_close(a.flatten(1), b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes(dtype):
    x, grad = both(OracleLayer(best, Blackbox(2.0)), C.to(dtype), G.to(dtype))
    assert x.dtype == grad.dtype == dtype
    torch.testing.assert_close(x, EXPECTED[0].to(dtype))


def test_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert OracleLayer(best)(C.bfloat16()).x.dtype == torch.float32


# functions


FUNCTIONS = {
    "item": {"fn": best},
    "torch": {"fn": best_in_torch, "numpy": False},
    "batched": {"fn": best_of_all, "batched": True},
    "threads": {"fn": best, "workers": 3},
    "batched threads": {"fn": best_of_all, "batched": True, "workers": 2},
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_functions_as_oracles(kind):
    oracle = FunctionOracle(**FUNCTIONS[kind])
    for strategy in (Blackbox(2.0), LPGD(0.5), IMLE(samples=3), Perturbed(samples=4)):
        left = both(OracleLayer(oracle, copy.deepcopy(strategy)))
        right = both(OracleLayer(Vertices(polytope()), copy.deepcopy(strategy)))
        for a, b in zip(left, right, strict=True):
            torch.testing.assert_close(a, b)
    oracle.close()


@pytest.mark.slow  # each worker imports torch
def test_a_process_pool():
    oracle = FunctionOracle(best, workers=2, executor="process")
    try:
        for _ in range(2):
            for a, b in zip(both(OracleLayer(oracle, Blackbox(2.0))), EXPECTED, strict=True):
                torch.testing.assert_close(a, b)
    finally:
        oracle.close()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fn", [scaled, scaled_batch])
def test_an_instance(fn, workers):
    """Batched, shared, with leading dimensions of its own; other values go to fn as they are."""
    weights = torch.rand(12, 5, dtype=F64) + 0.1
    oracle = FunctionOracle(
        fn, batched=fn is scaled_batch, workers=workers, instance_dims={"weights": 1}
    )
    layer = OracleLayer(oracle, LPGD(0.7))
    x, grad = both(layer, weights=weights, power=2)
    some = G.clone()
    some[::2] = 0  # the others alone are solved again
    part = both(layer, g=some, weights=weights, power=2)[1]
    for k in range(12):
        one = FunctionOracle(lambda c, k=k: scaled(c, weights[k].numpy(), 2))
        alone = both(OracleLayer(one, LPGD(0.7)), C[k], G[k])
        torch.testing.assert_close(x[k], alone[0])
        torch.testing.assert_close(grad[k], alone[1])
        torch.testing.assert_close(part[k], alone[1] if k % 2 else 0 * alone[1])
    shared = both(layer, weights=weights[3])
    torch.testing.assert_close(shared[0][3], both(layer, C[3], G[3], weights=weights[3])[0])
    # one cost for many instances: its gradient is the sum
    c = C[0].clone().requires_grad_()
    out = layer(c, weights=weights).x
    assert out.shape == (12, 5)
    (total,) = torch.autograd.grad(out, c, G)
    every = both(layer, C[0].expand(12, 5), weights=weights)[1]
    torch.testing.assert_close(total, every.sum(0))
    oracle.close()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batched", [False, True])
def test_an_item_that_fails_is_alone(batched, workers):
    c = C.clone()
    c[:, 0] = torch.linspace(-1.5, 1.5, 12)
    oracle = FunctionOracle(picky_batch if batched else picky, batched=batched, workers=workers)
    layer = OracleLayer(oracle, Identity())
    leaf = c.clone().requires_grad_()
    told = r"fn raised for 2 of 12 items, first RuntimeError: too.*fn was given a .*5\]; event_dim"
    with pytest.warns(RuntimeWarning, match=told) as caught:
        out = layer(leaf)
    assert caught[0].filename == __file__
    infeasible, raised = c[:, 0] < -1, c[:, 0] > 1
    expected = torch.zeros(12, dtype=torch.int32)
    expected[infeasible] = int(Status.PRIMAL_INFEASIBLE)
    expected[raised] = int(Status.NUMERICAL_ERROR)
    assert torch.equal(out.status, expected)
    failed = infeasible | raised
    assert not out.x[failed].any()
    assert torch.isnan(out.objective).tolist() == failed.tolist()
    good = Vertices(polytope()).solve(c).x
    assert torch.equal(out.x[~failed], good[~failed])
    (grad,) = torch.autograd.grad(out.x, leaf, G)
    assert torch.equal(grad, torch.where(failed[:, None], 0.0, -G))
    assert isinstance(oracle.first_error, RuntimeError)
    oracle.close()


def test_throw_tells_the_items_and_the_first_error():
    layer = OracleLayer(picky, throw=True)
    c = C.clone()
    c[:, 0] = 0.0
    layer(c)
    c[4, 0] = 2.0
    with (
        pytest.warns(RuntimeWarning, match="fn raised for 1 of 12"),
        pytest.raises(
            SolverError, match=r"OracleLayer: 1 of 12 items failed: \[4\]: num"
        ) as caught,
    ):
        layer(c)
    assert caught.value.items == {(4,): Status.NUMERICAL_ERROR}
    assert str(caught.value.__cause__) == "too dear"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite(value):
    """In a cost: that item alone, without a call. In x: that item alone."""
    seen = []

    def fn(c):
        seen.append(c)
        return best(c) if c[1] < 5 else np.full(5, value)

    c = C.clone()
    c[2, 0] = value
    c[3, 1] = 9.0
    out = OracleLayer(fn, Identity())(c)
    assert len(seen) == 11
    assert out.status.tolist() == [0, 0, 4, 4] + 8 * [0]
    assert not out.x[2:4].any()


def test_a_loss_gradient_that_is_not_finite_is_handed_on_alone():
    g = G.clone()
    g[5, 1] = torch.nan
    _, grad = both(OracleLayer(best, Blackbox(2.0)), g=g)
    assert torch.isnan(grad[5]).all()
    rest = [k for k in range(12) if k != 5]
    torch.testing.assert_close(grad[rest], EXPECTED[1][rest])


def test_samples_without_solution_are_left_out_of_the_mean():
    oracle = Vertices(polytope(), limit=2.0)
    strategy = Perturbed(1.0, 8, seed=1)
    z, _ = copy.deepcopy(strategy).draw(C)
    samples = oracle.solve(C + z)
    ok = samples.status == 0
    assert 0 < ok.double().mean() < 1
    out = OracleLayer(oracle, strategy)(C.clone().requires_grad_())
    count = ok.sum(0)
    mean = samples.x.sum(0) / count.clamp(min=1).unsqueeze(-1)
    torch.testing.assert_close(out.x.detach(), mean)
    assert ((out.status == 0) == (count > 0)).all()
    assert out.x.isfinite().all()


class _Crash:
    def __call__(self, c):
        import os

        if c[0] > 1.0:
            os._exit(1)
        return best(c)


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_items_and_not_the_next_call():
    oracle = FunctionOracle(_Crash(), workers=1, executor="process")
    c = C.clone()
    c[:, 0] = 0.0
    c[11, 0] = 2.0
    try:
        with pytest.warns(RuntimeWarning, match="fn raised for"):
            out = oracle.solve(c)
        assert out.status[11] == Status.NUMERICAL_ERROR
        c[11, 0] = 0.0
        assert not oracle.solve(c).status.any()
    finally:
        oracle.close()


def test_threads_run_side_by_side():
    def slow(c):
        time.sleep(0.05)  # releases the GIL, as a solver does
        return best(c)

    with_pool = FunctionOracle(slow, workers=12)
    with_pool.solve(C)
    start = time.perf_counter()
    with_pool.solve(C)
    assert time.perf_counter() - start < 0.45  # 0.6 one after the other
    with_pool.close()


# transforms, copies


def test_func_grad_and_vmap():
    layer = OracleLayer(best_of_all_oracle(), LPGD(0.6))

    def loss(c):
        return (layer(c).x * torch.arange(5, dtype=F64)).sum()

    weights = torch.arange(5, dtype=F64).expand(12, 5)
    expected = both(layer, g=weights)[1]
    torch.testing.assert_close(torch.func.grad(loss)(C), expected)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(C), expected)
    nested = torch.func.vmap(torch.func.grad(loss), in_dims=1)(C.reshape(3, 4, 5))
    torch.testing.assert_close(nested, expected.reshape(3, 4, 5).transpose(0, 1))
    x = torch.func.vmap(lambda c: layer(c).x)(C)
    assert torch.equal(x, both(layer)[0])
    # rows of a Jacobian share the solution
    row = torch.func.jacrev(lambda c: layer(c).x)(C[0])
    one = [both(layer, C[0], e)[1] for e in torch.eye(5, dtype=F64)]
    torch.testing.assert_close(row, torch.stack(one))


def best_of_all_oracle():
    return FunctionOracle(best_of_all, batched=True)


def test_vmap_over_an_instance_says_that_it_is_not_there():
    layer = OracleLayer(FunctionOracle(scaled, instance_dims={"weights": 1}))
    with pytest.raises(NotImplementedError, match=r"vmap over weights, a tensor of the instance"):
        torch.func.vmap(lambda c, w: layer(c, weights=w).x)(C, C.abs())
    weights = torch.rand(5, dtype=F64)
    mapped = torch.func.vmap(lambda c: layer(c, weights=weights).x)(C)
    assert torch.equal(mapped, layer(C, weights=weights).x)


def test_second_derivatives_raise():
    c = C.clone().requires_grad_()
    (grad,) = torch.autograd.grad(OracleLayer(best)(c).x.square().sum(), c, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"OracleLayer: .*no double backward"):
        torch.autograd.grad(grad.sum(), c)


@forward_mode
def test_forward_mode_raises():
    with pytest.raises((RuntimeError, NotImplementedError), match=r"jvp|forward"):
        torch.func.jvp(lambda c: OracleLayer(best)(c).x, (C,), (G,))


@compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compile_breaks_the_graph_and_goes_on():
    layer = OracleLayer(best_of_all_oracle(), Blackbox(2.0))

    @torch.compile(backend="eager")
    def model(c):
        return layer(2 * c).x.sin()

    c = C.clone().requires_grad_()
    y = model(c)
    expected = layer(2 * c).x.sin()
    torch.testing.assert_close(y, expected)
    left, right = (torch.autograd.grad(v, c, G)[0] for v in (y, expected))
    torch.testing.assert_close(left, right)


@compiles
def test_tau_of_each_item_under_compile():
    tau = torch.tensor([0.2, 1.0], dtype=F64)
    ones = torch.ones(5, dtype=F64)

    def grad(run):
        c = C[:2].clone().requires_grad_()
        return torch.autograd.grad(run(c), c, G[:2])[0]

    def solve(c):
        return lpgd_native.solve_lp(c, lb=-ones, ub=ones, gradient=LPGD(tau)).x

    compiled = torch.compile(solve, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(grad(compiled), grad(solve))


@pytest.mark.parametrize(
    "oracle",
    [
        Vertices(polytope()),
        FunctionOracle(best, workers=2),
        LPOracle(lb=-torch.ones(5, dtype=F64), ub=torch.ones(5, dtype=F64)),
    ],
    ids=lambda o: type(o).__name__,
)
def test_pickles_copies_and_state_dicts(oracle):
    layer = OracleLayer(oracle, IMLE("auto", samples=2))
    both(layer)  # the pool is running
    twins = [pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)]
    fresh = OracleLayer(oracle, IMLE("auto", samples=2))
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    expected = both(layer)
    for twin in [*twins, fresh]:
        for a, b in zip(both(twin), expected, strict=True):
            assert torch.equal(a, b)


def test_a_program_moves_with_the_layer():
    oracle = LPOracle(lb=nn.Parameter(torch.zeros(3)), ub=torch.ones(3))
    layer = OracleLayer(oracle)
    assert [name for name, _ in layer.named_parameters()] == ["oracle.lb"]
    assert layer.double().oracle.ub.dtype == F64
    assert layer(C[:, :3]).x.dtype == F64


def test_names():
    assert lpgd_native.nn.OracleLayer is OracleLayer
    assert "FunctionOracle(best, event_dim=1)" in repr(OracleLayer(best))
    assert "Blackbox(lam=2.0" in repr(OracleLayer(best, Blackbox(2.0)))


# a model learns


def test_learns_through_a_black_box():
    """The weights of a ranking of two out of five, from the chosen ones."""
    oracle = Vertices(choose(5, 2))
    features = costs(128, 5, seed=8)
    target = oracle.solve(features @ costs(5, 5, seed=9)).x
    for strategy in (LPGD(1.0, relative=True), Blackbox(100.0), Identity("plane")):
        model = nn.Linear(5, 5, bias=False, dtype=F64)
        with torch.no_grad():
            model.weight.copy_(costs(5, 5, seed=10))
        layer = OracleLayer(oracle, strategy)
        optimizer = torch.optim.Adam(model.parameters(), 0.05)
        errors = []
        for _ in range(80):
            optimizer.zero_grad()
            loss = (layer(model(features)).x - target).square().sum(-1).mean()
            loss.backward()
            optimizer.step()
            errors.append(loss.item())
        assert min(errors[-10:]) < 0.3 * errors[0], strategy


# bad input


class Bare:
    """An oracle that returns x alone."""

    event_dim = 1

    def solve(self, c):
        return c


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: OracleLayer(3), TypeError, "OracleLayer: the oracle must have solve.* got int"),
        (lambda: OracleLayer(best, 0.1), TypeError, "OracleLayer: gradient must be a strategy of"),
        (lambda: FunctionOracle(3), TypeError, "FunctionOracle: fn must be a function, got int"),
        (lambda: FunctionOracle(best, 0), ValueError, "FunctionOracle: event_dim must be at least"),
        (lambda: FunctionOracle(best, workers=-1), ValueError, "FunctionOracle: workers must be"),
        (
            lambda: FunctionOracle(best, executor="mpi"),
            ValueError,
            "FunctionOracle: executor must be .* got 'mpi'",
        ),
        (lambda: OracleLayer(best)([1.0]), TypeError, "OracleLayer: c must be a torch.Tensor"),
        (
            lambda: OracleLayer(best)(C.int()),
            TypeError,
            "c must be float32 or float64, got torch.i",
        ),
        (lambda: OracleLayer(best)(C[0, 0]), ValueError, r"c must have the 1 dimension\(s\)"),
        (
            lambda: OracleLayer(lambda c: c[:2])(C),
            ValueError,
            r"fn must return x of the shape of a cost, \[5\], got \[2\]",
        ),
        (
            lambda: OracleLayer(lambda c: (c, c[:2]))(C),
            ValueError,
            "fn must return x as an array, a tensor or numbers, got tuple",
        ),
        (
            lambda: OracleLayer(Bare())(C),
            TypeError,
            r"Bare.solve must return an OracleSolution\(x, objective, status\), got Tensor",
        ),
        (
            lambda: OracleLayer(FunctionOracle(lambda c: c[:1], batched=True))(C),
            ValueError,
            r"fn must return x of the shape of the costs, \[12, 5\]",
        ),
        (
            lambda: OracleLayer(FunctionOracle(scaled, instance_dims={"weights": 1}))(
                C, weights=C[:5]
            ),
            ValueError,
            r"OracleLayer: batch dimensions don't broadcast: c \[12\], weights \[5\]",
        ),
        (
            lambda: OracleLayer(FunctionOracle(scaled, instance_dims={"weights": 1}))(
                C, weights=C.clone().requires_grad_()
            ),
            ValueError,
            "OracleLayer: LPGD has a gradient for the costs, but weights requires one",
        ),
        (
            lambda: OracleLayer(LPOracle(lb=C[0]), Identity())(C, upper=C),
            TypeError,
            "LPOracle: unknown block 'upper'",
        ),
        (lambda: LPOracle(lb="0"), TypeError, "LPOracle: lb must be a torch.Tensor, got str"),
        (
            lambda: OracleLayer(LPOracle(lb=C[0], ub=C[0] + 1), Identity())(C[:, :3]),
            ValueError,
            r"solve_lp: lb must be \[..., n\] with n = 3",
        ),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_an_oracle_that_returns_the_wrong_shape():
    class Wrong(Vertices):
        def solve(self, c):
            out = super().solve(c)
            return out._replace(x=out.x[..., :2])

    with pytest.raises(ValueError, match=r"Wrong: solutions must have the shape of the costs"):
        OracleLayer(Wrong(polytope()))(C)


def test_items_without_a_gradient_are_not_solved_again() -> None:
    """Instances of the knapsack and of HiGHS are picked item by item, shared or batched."""
    seen: list[int] = []

    class Counting(Knapsack):
        def solve(self, c, **instance):
            seen.append(c.shape[:-1].numel())
            return super().solve(c, **instance)

    weights, capacity = torch.randint(1, 6, (4, 1, 5)), torch.full((4, 1), 7.0)
    for instance in (
        {"weights": weights, "capacity": capacity},
        {"weights": weights[0, 0], "capacity": torch.tensor(7.0)},
    ):
        seen.clear()
        c = (-torch.rand(4, 5, dtype=torch.float64)).requires_grad_()
        layer = lpgd_native.OracleLayer(Counting(), gradient=lpgd_native.LPGD(tau=0.5))
        layer(c, **instance).x[1].sum().backward()
        assert seen == [4, 2]  # forward; both sides of the one item that the loss looks at
