"""The strategies as one family: identities, limits, and what each does on oracles and programs."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lpgd_native import (
    IMLE,
    LPGD,
    Blackbox,
    CombOpt,
    DirectLoss,
    Identity,
    Implicit,
    LPOracle,
    OracleLayer,
    Perturbed,
    QPOracle,
    Smoothed,
    solve_lp,
    solve_qp,
)
from lpgd_native._strategies.noise import Noise, _draw
from lpgd_native.status import GradientStatus
from strategy_oracles import F64, Matrices, Vertices, choose, costs, cube, permutations, polytope


def vjp(oracle, strategy, c, g, **instance) -> torch.Tensor:
    """What comes back to the costs for the loss gradient g."""
    c = c.detach().clone().requires_grad_()
    x = OracleLayer(oracle, strategy)(c, **instance).x
    (grad,) = torch.autograd.grad(x, c, g)
    return grad


C, G = costs(40, 5), costs(40, 5, seed=1)
SET = Vertices(polytope())


def at(c: torch.Tensor) -> torch.Tensor:
    return SET.solve(c).x


# the family


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("lam", [0.3, 2.0, 50.0])
def test_blackbox_is_the_lower_side(lam, relative):
    left = vjp(SET, Blackbox(lam, relative=relative), C, G)
    right = vjp(SET, LPGD(lam, envelope="lower", relative=relative), C, G)
    assert torch.equal(left, right)
    if not relative:
        torch.testing.assert_close(left, (at(C + lam * G) - at(C)) / lam)
    assert left.any()


@pytest.mark.parametrize("tau", [0.1, 1.0, 10.0])
def test_sides_are_the_formulas_and_the_average_is_their_mean(tau):
    lower, upper, average = (
        vjp(SET, LPGD(tau, envelope=e), C, G) for e in ("lower", "upper", "average")
    )
    torch.testing.assert_close(lower, (at(C + tau * G) - at(C)) / tau)
    torch.testing.assert_close(upper, (at(C) - at(C - tau * G)) / tau)
    torch.testing.assert_close(average, (lower + upper) / 2)


def test_a_small_tau_gives_exactly_zero_and_a_large_one_the_minimiser_of_the_loss():
    assert not vjp(SET, LPGD(1e-9), C, G).any()
    tau = 1e9
    torch.testing.assert_close(at(C) + tau * vjp(SET, LPGD(tau, envelope="lower"), C, G), at(G))
    torch.testing.assert_close(at(C) - tau * vjp(SET, LPGD(tau, envelope="upper"), C, G), at(-G))


@settings(max_examples=40, deadline=None)
@given(
    tau=st.floats(1e-3, 1e3),
    factor=st.floats(1e-4, 1e4),
    envelope=st.sampled_from(["lower", "upper", "average"]),
    seed=st.integers(0, 10**6),
)
def test_only_tau_times_the_gradient_matters(tau, factor, envelope, seed):
    c, g = costs(8, 5, seed), costs(8, 5, seed + 1)
    left = vjp(SET, LPGD(tau, envelope=envelope), c, factor * g)
    right = vjp(SET, LPGD(tau * factor, envelope=envelope), c, g)
    torch.testing.assert_close(left, factor * right, rtol=1e-9, atol=1e-12)


def test_relative_tau_is_tau_over_the_norm():
    one = vjp(SET, LPGD(2.0, relative=True), C, G)
    for k in range(4):
        tau = 2.0 / float(G[k].norm())
        torch.testing.assert_close(one[k], vjp(SET, LPGD(tau), C[k], G[k]))


@pytest.mark.parametrize("shape", [(40,), (1,), ()])
def test_tau_of_each_item(shape):
    tau = torch.rand(shape, dtype=F64, generator=torch.Generator().manual_seed(5)) + 0.1
    whole = vjp(SET, LPGD(tau), C, G)
    every = tau.expand(40)
    for k in range(0, 40, 7):
        torch.testing.assert_close(whole[k], vjp(SET, LPGD(float(every[k])), C[k], G[k]))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse invariant checks are:UserWarning")
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("envelope", ["lower", "upper", "average"])
@pytest.mark.parametrize("form", ["lp", "qp", "sparse"])
def test_tau_of_each_item_in_programs(form, envelope, relative):
    n, batch = 4, (2, 3)
    c = costs(6, n).reshape(*batch, n)
    g = costs(6, n, seed=2).reshape(*batch, n)
    tau = torch.tensor([[0.5], [8.0]], dtype=F64)
    ones = torch.ones(n, dtype=F64)

    def grad(c, g, tau):
        c = c.clone().requires_grad_()
        options = {"lb": -ones, "ub": ones, "gradient": LPGD(tau, 0.01, envelope, relative, 0.02)}
        if form == "qp":
            x = solve_qp(torch.eye(n, dtype=F64), c, **options).x
        elif form == "lp":
            x = solve_lp(c, **options).x
        else:
            rows = torch.eye(n, dtype=F64).to_sparse_csr()
            x = solve_lp(c, rows, 2 * ones, **options, eps=1e-10).x
        return torch.autograd.grad(x, c, g)[0]

    whole = grad(c, g, tau)
    tolerance = 1e-6 if form == "sparse" else 1e-10
    for i in range(2):
        for j in range(3):
            alone = grad(c[i, j], g[i, j], float(tau[i, 0]))
            torch.testing.assert_close(whole[i, j], alone, rtol=tolerance, atol=tolerance)
    assert whole.any()


def test_tau_of_each_item_under_vmap_and_compile():
    n = 3
    c, ones = costs(4, n), torch.ones(n, dtype=F64)
    tau = torch.tensor([0.2, 0.5, 1.0, 2.0], dtype=F64)
    eye = torch.eye(n, dtype=F64)

    def loss(c):
        return solve_qp(eye, c, lb=-ones, ub=ones, gradient=LPGD(tau)).x.square().sum()

    expected = torch.func.grad(loss)(c)
    many = torch.stack([c, 2 * c])
    mapped = torch.func.vmap(torch.func.grad(loss))(many)
    torch.testing.assert_close(mapped[0], expected)
    torch.testing.assert_close(mapped[1], torch.func.grad(loss)(2 * c))


def test_blackbox_and_smoothed_in_programs():
    n = 4
    ones = torch.ones(n, dtype=F64)
    c, g = costs(6, n), costs(6, n, seed=1)

    def grad(solve, gradient):
        leaf = c.clone().requires_grad_()
        x = solve(leaf, gradient).x
        return x, torch.autograd.grad(x, leaf, g)[0]

    def lp(c, gradient):
        return solve_lp(c, lb=-ones, ub=ones, gradient=gradient)

    left, right = grad(lp, Blackbox(2.0)), grad(lp, LPGD(2.0, envelope="lower"))
    assert torch.equal(left[1], right[1])
    eye = torch.eye(n, dtype=F64)
    left = grad(lp, Smoothed(0.7))
    right = grad(lambda c, s: solve_qp(0.7 * eye, c, lb=-ones, ub=ones, gradient=s), Implicit())
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b)
    # the closed form: the clipped -c / mu, with slope -1/mu inside
    torch.testing.assert_close(left[0], (-c / 0.7).clamp(-1, 1))
    torch.testing.assert_close(left[1], torch.where((c / 0.7).abs() < 1, -g / 0.7, 0.0))


# adaptive tau


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("make", [LPGD, lambda tau, share: IMLE(tau, share=share, samples=2)])
def test_auto_tau_reaches_its_share(make, share):
    strategy = make(tau="auto", share=share)
    layer = OracleLayer(SET, strategy)
    seen = []
    for step in range(60):
        c = costs(64, 5, seed=10 + step).requires_grad_()
        x = layer(c).x
        (grad,) = torch.autograd.grad(x, c, costs(64, 5, seed=1000 + step))
        seen.append(float((grad != 0).any(-1).double().mean()))
    average = sum(seen[30:]) / 30
    if isinstance(strategy, LPGD):
        assert average == pytest.approx(share, abs=0.06)
    else:  # of items with two samples each, more move than of the samples
        assert average > share - 0.03


def test_auto_tau_in_a_linear_program_is_that_of_the_oracle():
    ones = torch.ones(4, dtype=F64)
    program, layer = LPGD("auto"), OracleLayer(Vertices(2 * cube(4) - 1), LPGD("auto"))
    for step in range(20):
        c, g = costs(32, 4, seed=step).requires_grad_(), costs(32, 4, seed=100 + step)
        left = torch.autograd.grad(solve_lp(c, lb=-ones, ub=ones, gradient=program).x, c, g)[0]
        right = torch.autograd.grad(layer(c).x, c, g)[0]
        torch.testing.assert_close(left, right, rtol=1e-7, atol=1e-7)
    assert program.auto_state.value == pytest.approx(layer.gradient.auto_state.value)
    assert program.auto_state.value != pytest.approx(0.1)


def test_auto_tau_is_deterministic_and_travels_in_pickles_and_state_dicts():
    def trained(layer, steps):
        for step in steps:
            c = costs(16, 5, seed=step).requires_grad_()
            layer(c).x.square().sum().backward()
        return layer.gradient.auto_state.value

    first = OracleLayer(Vertices(polytope()), LPGD("auto"))
    trained(first, range(5))
    copy = pickle.loads(pickle.dumps(first))
    loaded = OracleLayer(Vertices(polytope()), LPGD("auto"))
    loaded.load_state_dict(first.state_dict())
    value = trained(first, range(5, 10))
    assert trained(copy, range(5, 10)) == trained(loaded, range(5, 10)) == value


def test_auto_tau_is_refused_where_every_solution_moves():
    c = costs(2, 3)
    with pytest.raises(ValueError, match=r"solve_qp: tau=.auto. steers the share"):
        solve_qp(torch.eye(3, dtype=F64), c, gradient=LPGD("auto"))


# identity


def test_identity_and_its_projections():
    assert torch.equal(vjp(SET, Identity(), C, G), -G)
    plane = vjp(SET, Identity("plane"), C, G)
    torch.testing.assert_close(plane, -(G - G.mean(-1, keepdim=True)))
    sphere = vjp(SET, Identity("sphere"), C, G)
    along = C / C.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(sphere, -(G - (G * along).sum(-1, keepdim=True) * along))
    # of c -> c / ||c||, whose Jacobian is the same projection over ||c||
    leaf = C.clone().requires_grad_()
    (chain,) = torch.autograd.grad(leaf / leaf.norm(dim=-1, keepdim=True), leaf, -G)
    torch.testing.assert_close(sphere, chain * C.norm(dim=-1, keepdim=True))
    both = vjp(SET, Identity("both"), C, G)
    centred = C - C.mean(-1, keepdim=True)
    torch.testing.assert_close(both.sum(-1), torch.zeros(40, dtype=F64), atol=1e-12, rtol=0)
    torch.testing.assert_close((both * centred).sum(-1), both.sum(-1), atol=1e-12, rtol=0)


def test_identity_on_matrices_and_at_zero_costs():
    oracle = Matrices(permutations(3))
    c, g = costs(4, 9).reshape(4, 3, 3), costs(4, 9, seed=1).reshape(4, 3, 3)
    plane = vjp(oracle, Identity("plane"), c, g)
    torch.testing.assert_close(plane, g.mean((-1, -2), keepdim=True) - g)
    assert torch.equal(vjp(oracle, Identity("sphere"), torch.zeros_like(c), g), -g)


def test_identity_solves_nothing_again():
    oracle = Vertices(polytope())
    vjp(oracle, Identity(), C, G)
    assert oracle.calls == 1


# direct loss


@pytest.mark.parametrize("envelope", ["lower", "upper", "average"])
def test_direct_loss_of_hamming_is_lpgd_of_its_slope(envelope):
    """The Hamming loss of 0/1 vectors is linear, so linearising it changes nothing."""
    oracle, target = Vertices(choose(5, 2)), choose(5, 2)[:8]
    c = costs(8, 5)
    slope = 1 - 2 * target
    left = vjp(oracle, DirectLoss(0.7, envelope), c, 3 * slope, target=target)
    right = vjp(oracle, LPGD(0.7, envelope=envelope), c, slope)
    torch.testing.assert_close(left, 3 * right)
    assert left.any()


def test_direct_loss_by_a_function():
    points = polytope()
    loss = torch.cdist(points, points[:1]).squeeze(-1)  # not linear in x

    def augmented(c, weight, target):
        values = c @ points.T + weight * loss
        x = points[values.argmin(-1)]
        return SET.solve(c)._replace(x=x)

    c = costs(20, 5)
    got = vjp(SET, DirectLoss(2.0, "average", augmented), c, G[:20], target=points[:1])
    ends = [points[(c @ points.T + s * 2.0 * loss).argmin(-1)] for s in (1, -1)]
    torch.testing.assert_close(got, (ends[0] - ends[1]) / 4.0)


def test_direct_loss_of_squares_in_a_quadratic_program():
    n = 4
    ones, eye = torch.ones(n, dtype=F64), torch.eye(n, dtype=F64)
    oracle = QPOracle(eye, lb=-ones, ub=ones)
    c, target = costs(6, n), 0.5 * costs(6, n, seed=1).clamp(-1, 1)
    x = solve_qp(eye, c, lb=-ones, ub=ones).x
    got = vjp(oracle, DirectLoss(0.3, loss="squared"), c, x - target, target=target)
    moved = solve_qp(1.3 * eye, c - 0.3 * target, lb=-ones, ub=ones).x
    torch.testing.assert_close(got, (moved - x) / 0.3)


# noise


def test_perturbed_on_the_simplex_is_softmax():
    n, sigma = 4, 0.8
    oracle = Vertices(torch.eye(n, dtype=F64))
    c, g = costs(1, n)[0], costs(1, n, seed=2)[0]
    leaf = c.clone().requires_grad_()
    soft = torch.softmax(-leaf / sigma, -1)
    (exact,) = torch.autograd.grad(soft, leaf, g)
    strategy = Perturbed(sigma, samples=40_000, noise="gumbel")
    leaf = c.clone().requires_grad_()
    x = OracleLayer(oracle, strategy)(leaf).x
    (got,) = torch.autograd.grad(x, leaf, g)
    torch.testing.assert_close(x, soft, atol=0.01, rtol=0)
    torch.testing.assert_close(got, exact, atol=0.03, rtol=0)


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("noise", ["gaussian", "gumbel"])
def test_perturbed_gradient_is_the_derivative_of_the_smoothed_solution(noise, antithetic):
    """Central differences of the mean with the same noise, of a set without symmetry."""
    sigma, samples = 0.7, 100_000
    oracle = Vertices(polytope(n=3))
    c, g, move = (costs(1, 3, seed=k)[0] for k in (6, 56, 96))
    c = 0.3 * c
    strategy = Perturbed(sigma, samples, noise, antithetic)
    got = float((vjp(oracle, strategy, c, g) * move).sum())
    z, _ = Perturbed(sigma, samples, noise, antithetic, seed=1).draw(c)
    h = 0.1
    ends = [oracle.solve(c + s * h * move + sigma * z).x.mean(0) @ g for s in (1, -1)]
    slope = float(ends[0] - ends[1]) / (2 * h)
    assert abs(slope) > 1.0
    assert got == pytest.approx(slope, rel=0.05)


@pytest.mark.parametrize("noise", ["gaussian", "gumbel"])
@pytest.mark.parametrize("antithetic", [False, True])
def test_the_baseline_takes_out_what_all_samples_share(antithetic, noise):
    """Moving the whole set leaves the minimiser where it is, and the gradient as well."""
    g, far = costs(1, 5, seed=2)[0], 1000 * costs(1, 5, seed=3)[0]
    strategy = [Perturbed(1.0, 8, noise, antithetic) for _ in range(2)]
    here = vjp(SET, strategy[0], C, g.expand_as(C))
    there = vjp(Vertices(polytope() + far), strategy[1], C, g.expand_as(C))
    torch.testing.assert_close(here, there, rtol=1e-8, atol=1e-9)
    assert here.any()


@pytest.mark.parametrize(
    "strategy",
    [
        lambda seed: Perturbed(samples=4, seed=seed),
        lambda seed: IMLE(samples=3, seed=seed),
        lambda seed: IMLE(samples=2, noise="sum_of_gamma", k=2, seed=seed),
        lambda seed: IMLE(samples=2, noise="gaussian", antithetic=True, seed=seed),
    ],
)
def test_noise_comes_from_the_seed_alone(strategy):
    def run(layer, calls):
        out = []
        for _ in range(calls):
            c = C.clone().requires_grad_()
            x = layer(c).x
            out += [x.detach(), torch.autograd.grad(x, c, G)[0]]
        return out

    layer = OracleLayer(SET, strategy(3))
    first = run(layer, 2)
    torch.manual_seed(99)
    again = run(OracleLayer(SET, strategy(3)), 2)
    other = run(OracleLayer(SET, strategy(4)), 2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[2])  # new noise in every call
    copy = pickle.loads(pickle.dumps(layer))
    loaded = OracleLayer(SET, strategy(3))
    loaded.load_state_dict(layer.state_dict())
    third = run(layer, 1)
    for twin in (copy, loaded):
        assert all(torch.equal(a, b) for a, b in zip(third, run(twin, 1), strict=True))


def test_a_generator_in_place_of_the_seed():
    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return Perturbed(generator=generator).draw(C)[0]

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize("noise", ["gumbel", "gaussian", "sum_of_gamma"])
def test_noise_has_mean_zero(noise):
    draw, _ = _draw(noise, 20_000, False, C[0], Noise(2).next(None), 3, 10)
    assert draw.mean().abs() < 0.02


def test_the_sum_of_gammas_of_k_entries_is_about_gumbel():
    """Lemma 1: k of them add up to a Gumbel variable; its variance is pi^2 / 6."""
    like = torch.zeros(4, dtype=F64)
    z, _ = _draw("sum_of_gamma", 50_000, False, like, Noise(0).next(None), 4, 50)
    assert float(z.sum(-1).var()) == pytest.approx(torch.pi**2 / 6, rel=0.03)
    assert float((z.sum(-1) ** 3).mean()) < 0  # minus a Gumbel variable: skewed down


@pytest.mark.parametrize("envelope", ["lower", "upper", "average"])
def test_imle_is_the_mean_of_lpgd_at_noisy_costs(envelope):
    strategy = IMLE(0.8, 0.5, samples=3, envelope=envelope)
    got = vjp(SET, strategy, C, G)
    z, _ = _draw("gumbel", 3, False, C, Noise(0).next(None))
    one = [vjp(SET, LPGD(0.8, envelope=envelope), C + 0.5 * noise, G) for noise in z]
    torch.testing.assert_close(got, torch.stack(one).mean(0))
    assert got.any()


# smoothing


def test_quadratic_smoothing_tends_to_the_solution():
    n = 4
    oracle = LPOracle(lb=-torch.ones(n, dtype=F64), ub=torch.ones(n, dtype=F64))
    c = costs(5, n)
    x = OracleLayer(oracle, Smoothed(1e-6))(c).x
    torch.testing.assert_close(x, oracle.solve(c).x, atol=1e-6, rtol=0)


def test_entropic_smoothing_on_the_simplex_is_softmax():
    n, mu = 5, 0.3
    row, zero = torch.ones(1, n, dtype=F64), torch.zeros(n, dtype=F64)
    oracle = LPOracle(A=row, b=torch.tensor([2.0], dtype=F64), lb=zero)
    c = C[:6].clone().requires_grad_()
    x = OracleLayer(oracle, Smoothed(mu, "entropic"))(c).x
    expected = 2 * torch.softmax(-c / mu, -1)
    torch.testing.assert_close(x, expected)
    g = G[:6]
    left, right = (torch.autograd.grad(v, c, g, retain_graph=True)[0] for v in (x, expected))
    torch.testing.assert_close(left, right)


@pytest.mark.parametrize("mu", [2.0, 0.1, 0.01])
def test_entropic_smoothing_of_assignments_has_its_optimality_conditions(mu):
    n = 4
    rows = torch.zeros(2 * n, n * n, dtype=F64)
    for i in range(n):
        rows[i, i * n : (i + 1) * n] = 1
        rows[n + i, i::n] = 1
    oracle = LPOracle(A=rows, b=torch.ones(2 * n, dtype=F64), lb=torch.zeros(n * n, dtype=F64))
    c = costs(3, n * n).requires_grad_()
    out = OracleLayer(oracle, Smoothed(mu, "entropic"))(c)
    assert not out.status.any()
    torch.testing.assert_close(out.x @ rows.T, torch.ones(3, 2 * n, dtype=F64))
    # c + mu log x is in the range of A': its double differences vanish
    pull = (c + mu * out.x.log()).reshape(3, n, n).detach()
    pull = pull - pull.mean(-1, keepdim=True)
    pull = pull - pull.mean(-2, keepdim=True)
    assert pull.abs().max() < 1e-6


def test_entropic_smoothing_has_first_and_second_derivatives():
    rows = torch.tensor([[1.0, 1, 1, 0], [0, 1, 2, 1]], dtype=F64)
    zero = torch.zeros(4, dtype=F64)
    oracle = LPOracle(A=rows, lb=zero)
    b = torch.tensor([1.0, 1.5], dtype=F64).requires_grad_()
    layer = OracleLayer(oracle, Smoothed(0.5, "entropic"))
    c = costs(2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda c, b: layer(c, b=b).x, (c, b))
    assert torch.autograd.gradgradcheck(lambda c, b: layer(c, b=b).x, (c, b))


# programs as oracles


@pytest.mark.parametrize(
    "strategy",
    [Implicit(), LPGD(0.3), LPGD(0.2, rho=0.1, envelope="lower"), Blackbox(0.5), Smoothed(0.4)],
    ids=lambda s: type(s).__name__,
)
def test_program_oracles_hand_over_to_the_solver(strategy):
    n = 4
    P, ones = torch.eye(n, dtype=F64), torch.ones(n, dtype=F64)
    A, b = torch.ones(1, n, dtype=F64), torch.ones(1, dtype=F64)
    leaves = [t.clone().requires_grad_() for t in (costs(3, n), A, b, ones)]
    c, A, b, ub = leaves
    out = OracleLayer(QPOracle(P, lb=-ones), strategy)(c, A=A, b=b, ub=ub)
    x = solve_qp(P, c, None, None, A, b, -ones, ub, gradient=strategy).x
    g = costs(3, n, seed=1)
    assert torch.equal(out.x, x)
    value = 0.5 * x.square().sum(-1) + (c * x).sum(-1)
    torch.testing.assert_close(out.objective, value.detach())
    for a, b in zip(*(torch.autograd.grad(v, leaves, g) for v in (out.x, x)), strict=True):
        assert torch.equal(a, b)


def test_program_oracles_serve_the_other_strategies():
    n = 4
    oracle = LPOracle(lb=torch.zeros(n, dtype=F64), ub=torch.ones(n, dtype=F64))
    listed = Vertices(cube(n))
    c, g = costs(5, n), costs(5, n, seed=1)
    for make in (
        lambda: Identity("plane"),
        lambda: Perturbed(samples=6),
        lambda: IMLE(samples=2, envelope="average"),
        lambda: LPGD(0.7),
        lambda: Blackbox(2.0),
    ):
        torch.testing.assert_close(
            vjp(oracle, make(), c, g), vjp(listed, make(), c, g), atol=1e-9, rtol=1e-9
        )


# what can't be served


@pytest.mark.parametrize(
    ("strategy", "text"),
    [
        (Implicit(), "Implicit.. differentiates the optimality conditions, which a black box"),
        (LPGD(0.1, rho=0.1), "LPGD with rho or rho_over_tau solves a quadratic problem"),
        (LPGD(0.1, rho_over_tau=0.1), "LPGD with rho or rho_over_tau solves a quadratic problem"),
        (Smoothed(), "Smoothed.kind='quadratic'. adds a term"),
        (Smoothed(kind="entropic"), "Smoothed.kind='entropic'. adds a term"),
        (DirectLoss(loss="squared"), "solves a quadratic problem"),
    ],
    ids=str,
)
def test_a_strategy_that_can_not_serve_a_black_box_says_so_at_once(strategy, text):
    with pytest.raises(ValueError, match=f"OracleLayer: .*{text}"):
        OracleLayer(SET, strategy)


def test_strategies_that_programs_refuse():
    c = costs(2, 3)
    with pytest.raises(ValueError, match=r"solve_lp: Perturbed is a strategy for oracles: use Ora"):
        solve_lp(c, lb=-c[0].abs(), ub=c[0].abs(), gradient=Perturbed())
    with pytest.raises(ValueError, match=r"solve_qp: Smoothed.kind=.entropic.. is not a quadratic"):
        solve_qp(None, c, gradient=Smoothed(kind="entropic"))
    mask = torch.ones(3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"solve_lp: an integer program can't be smoothed"):
        solve_lp(c, integrality=mask, gradient=Smoothed())
    with pytest.raises(ValueError, match="OracleLayer: an integer program has no derivative"):
        OracleLayer(LPOracle(integrality=mask), Implicit())
    with pytest.raises(ValueError, match="OracleLayer: CombOpt needs costs that are vectors"):
        OracleLayer(Matrices(permutations(2)), CombOpt())


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Blackbox(0.0), ValueError, "Blackbox: lam must be finite and positive, got 0.0"),
        (lambda: Blackbox("1"), TypeError, "Blackbox: lam must be a number, got str"),
        (lambda: Identity("ball"), ValueError, "Identity: projection must be .* got 'ball'"),
        (lambda: DirectLoss(-1.0), ValueError, "DirectLoss: tau must be finite and positive"),
        (lambda: DirectLoss(loss="l1"), ValueError, "DirectLoss: loss must be .* got 'l1'"),
        (lambda: DirectLoss(envelope="upper", loss="squared"), ValueError, "is not convex"),
        (lambda: Perturbed(0.0), ValueError, "Perturbed: sigma must be finite and positive"),
        (lambda: Perturbed(samples=0), ValueError, "Perturbed: samples must be at least 1, got 0"),
        (lambda: Perturbed(samples=3), ValueError, "Perturbed: antithetic noise comes in pairs"),
        (lambda: Perturbed(samples=2.0), TypeError, "Perturbed: samples must be a whole number"),
        (lambda: Perturbed(noise="cauchy"), ValueError, "Perturbed: noise must be .* got 'cauchy'"),
        (lambda: Perturbed(seed=-1), ValueError, "Perturbed: seed must be at least 0"),
        (lambda: Perturbed(seed=None), TypeError, "Perturbed: seed must be a whole number"),
        (lambda: Perturbed(generator=1), TypeError, "Perturbed: generator must be a torch.Gener"),
        (lambda: IMLE(tau=0), ValueError, "IMLE: tau must be finite and positive, got 0"),
        (lambda: IMLE(k=0), ValueError, "IMLE: k must be at least 1, got 0"),
        (
            lambda: IMLE(samples=2, noise="sum_of_gamma", antithetic=True),
            ValueError,
            "IMLE: antithetic=True needs noise",
        ),
        (lambda: Smoothed(0.0), ValueError, "Smoothed: mu must be finite and positive"),
        (lambda: Smoothed(kind="log"), ValueError, "Smoothed: kind must be .* got 'log'"),
        (lambda: CombOpt(-0.1), ValueError, "CombOpt: tau must be finite and nonnegative"),
        (lambda: CombOpt(basis="all"), ValueError, "CombOpt: basis must be .* got 'all'"),
    ],
)
def test_bad_settings(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_tau_that_does_not_fit_the_batch():
    with pytest.raises(
        ValueError, match=r"LPGD: tau must broadcast to the batch \[40\], got \[3\]"
    ):
        vjp(SET, LPGD(torch.ones(3)), C, G)
    with pytest.raises(ValueError, match=r"solve_lp: tau of LPGD must broadcast to the batch \[40"):
        solve_lp(C, lb=C - 1, ub=C + 1, gradient=LPGD(torch.ones(3)))


def test_strategies_compare_and_hash():
    tau = torch.tensor([0.1, 0.2])
    assert LPGD(tau) == LPGD(tau.clone())
    assert LPGD(tau) != LPGD(2 * tau)
    assert LPGD(0.1) != LPGD(0.2)
    assert hash(LPGD(tau)) == hash(LPGD(tau.clone()))
    assert Blackbox(1.0) == Blackbox(1.0) != Blackbox(2.0)
    assert LPGD(0.1) != Blackbox(0.1)


# perturbed problems without a solution


def test_a_side_without_solution_falls_back():
    """Costs beyond the limit have none: other side, smaller tau, zero, and never a nan."""
    oracle = Vertices(polytope(), limit=10.0)
    c = torch.zeros(4, 5, dtype=F64)
    c[:, 0] = torch.tensor([0.5, 8.0, 9.9999, 9.9999])
    g = torch.zeros_like(c)
    g[0, 1] = 1.0  # both sides
    g[1, 0] = 1.0  # c + 3 g is out, c - 3 g is in
    g[2, 1] = 20.0  # out on both sides, until tau is ten times smaller
    g[3, 1] = 1e6  # out at any tau tried
    layer = OracleLayer(oracle, LPGD(3.0))
    leaf = c.clone().requires_grad_()
    x = layer(leaf).x
    with pytest.warns(
        RuntimeWarning, match="1 used the other side.*1 used a smaller.*1 got a zero"
    ):
        (grad,) = torch.autograd.grad(x, leaf, g)
    expected = [
        GradientStatus.OK,
        GradientStatus.OTHER_SIDE,
        GradientStatus.SHRUNK,
        GradientStatus.ZERO,
    ]
    assert layer.gradient_status.tolist() == expected

    def moved(k, tau):
        return oracle.solve(c[k] + tau * g[k]).x

    torch.testing.assert_close(grad[0], (moved(0, 3.0) - moved(0, -3.0)) / 6)
    torch.testing.assert_close(grad[1], (x[1] - moved(1, -3.0)) / 3)
    torch.testing.assert_close(grad[2], (moved(2, 0.3) - moved(2, -0.3)) / 0.6)
    assert not grad[3].any()


@pytest.mark.parametrize("envelope", ["lower", "upper"])
def test_one_side_alone_falls_back_to_the_other(envelope):
    oracle = Vertices(polytope(), limit=10.0)
    sign = 1.0 if envelope == "lower" else -1.0
    c = torch.zeros(1, 5, dtype=F64)
    c[0, 0] = 8.0
    g = torch.zeros_like(c)
    g[0, 0] = 3.0 * sign
    layer = OracleLayer(oracle, LPGD(1.0, envelope=envelope))
    leaf = c.requires_grad_()
    x = layer(leaf).x
    with pytest.warns(RuntimeWarning, match="1 used the other side"):
        (grad,) = torch.autograd.grad(x, leaf, g)
    other = oracle.solve(c.detach() - sign * g).x
    torch.testing.assert_close(grad, sign * (x.detach() - other))


def test_a_failed_item_has_no_say_in_auto_tau():
    """Of four items, two infeasible: the share is that of the other two."""
    strategy = LPGD("auto", share=0.5)
    lb = torch.zeros(4, 3, dtype=F64)
    lb[2:] = 2.0  # above ub
    c = costs(4, 3).requires_grad_()
    x = solve_lp(c, lb=lb, ub=torch.ones(3, dtype=F64), gradient=strategy).x
    strategy.auto_state.value = 1e5  # moves whatever can
    torch.autograd.grad(x, c, -c.detach().sign())
    assert strategy.auto_state.value < 1e5


def test_the_objective_of_a_quadratic_program_has_its_quadratic_term():
    oracle = QPOracle(2 * torch.eye(3, dtype=F64))
    c = costs(4, 3)
    out = OracleLayer(oracle, Identity())(c)
    torch.testing.assert_close(out.objective, -0.25 * c.square().sum(-1))
    assert torch.equal(out.objective, OracleLayer(oracle, LPGD())(c).objective)
