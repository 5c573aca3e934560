"""The EIT operator: values against pyEIT, dense algebra and series; derivatives; physics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eit_cases import MODELS, conductivity, normal, reference_arguments, small_mesh
from lpgd_native import SolverError, Status, reference
from lpgd_native.operators import EIT, GaussNewton, Mesh
from transforms import compiles, forward_mode

pytestmark = pytest.mark.on_device

each = pytest.mark.parametrize("name", MODELS)
BUILT: dict[str, EIT] = {}


@pytest.fixture(scope="module")
def disc():
    return EIT()


# values


@pytest.mark.parametrize("name", ["point", "point_all", "opposite", "skip", "trigonometric"])
def test_voltages_and_jacobian_are_those_of_the_formula(name):
    operator = MODELS[name]()
    x = conductivity(operator, 3)
    arguments = reference_arguments(operator)
    expected = reference.eit_voltages(x, *arguments)
    torch.testing.assert_close(operator(x), expected, rtol=1e-11, atol=1e-12)
    jacobian = reference.eit_jacobian(x[:1], *arguments)
    torch.testing.assert_close(operator.jacobian(x[:1]), jacobian, rtol=1e-10, atol=1e-11)


@each
@forward_mode
@pytest.mark.parametrize("batch", [1, 2, 3, 17])
def test_sparse_and_dense_agree(name, batch):
    """Alone, and in packs that a batch fills or not."""
    operator, dense = MODELS[name](), MODELS[name](method="dense")
    x, dx = conductivity(operator, batch), normal(batch, *operator.domain, seed=1)
    dy = normal(batch, *operator.range, seed=2)
    for left, right in (
        (operator(x), dense(x)),
        (operator.vjp(x, dy), dense.vjp(x, dy)),
        (operator.jvp(x, dx), dense.jvp(x, dx)),
        (operator.jacobian(x), dense.jacobian(x)),
        (operator.gradient(x, dy), dense.gradient(x, dy)),
    ):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-11)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_voltages_and_jacobian_are_those_of_pyeit(disc):
    from pyeit.eit import fem, protocol
    from pyeit.mesh import PyEITMesh

    mesh = disc.mesh
    x = conductivity(disc, 2)
    inner = int(np.setdiff1d(np.arange(len(mesh.points)), mesh.boundary)[0])
    theirs = PyEITMesh(
        node=np.pad(mesh.points, ((0, 0), (0, 1))),
        element=mesh.triangles,
        perm=x[0].numpy(),
        el_pos=mesh.electrodes,
        ref_node=inner,
    )
    solver = fem.EITForward(theirs, protocol.create(16, dist_exc=1, step_meas=1, parser_meas="std"))
    for item in x:
        expected = torch.from_numpy(solver.solve_eit(item.numpy()))
        torch.testing.assert_close(disc(item), expected, rtol=1e-10, atol=1e-10)
    jacobian, _ = solver.compute_jac(x[1].numpy())
    # their "jac" is minus the derivative
    ours = disc.jacobian(x[1])
    torch.testing.assert_close(ours, -torch.from_numpy(jacobian), rtol=1e-10, atol=1e-10)


def complete_model_by_series(sigma, contact, currents, arcs, pieces=24, terms=6000):
    """Electrode potentials of the homogeneous unit disc.

    The current density is constant on `pieces` parts of each electrode (Galerkin); the boundary
    potential of cos(n t) is cos(n t)/(sigma n), and u + z j = U in the mean over each part.
    """
    count = len(arcs)
    edges = np.stack([np.linspace(a, b, pieces + 1) for a, b in arcs])
    low, high = edges[:, :-1].ravel(), edges[:, 1:].ravel()
    n = np.arange(1, terms + 1)[:, None]
    c = (np.sin(n * high) - np.sin(n * low)) / n
    s = -(np.cos(n * high) - np.cos(n * low)) / n
    matrix = (c / n).T @ c / (np.pi * sigma) + (s / n).T @ s / (np.pi * sigma)
    width = high - low
    owner = np.repeat(np.arange(count), pieces)
    matrix += np.diag(contact[owner] * width)
    onto = np.zeros((count * pieces, count))
    onto[np.arange(count * pieces), owner] = width
    whole = np.block([[matrix, -onto], [onto.T, np.zeros((count, count))]])
    right = np.concatenate([np.zeros((count * pieces, currents.shape[0])), currents.T])
    return np.linalg.lstsq(whole, right, rcond=None)[0][count * pieces :]


@pytest.mark.parametrize("contact", [0.1, 0.5])
def test_complete_electrode_model_against_a_series(contact):
    sigma, z = 1.7, np.linspace(1.0, 2.0, 16) * contact
    errors = {}
    for resolution in ("coarse", "fine"):
        operator = EIT(Mesh.disc(resolution), contact=torch.from_numpy(z), drop_driven=False)
        points = operator.mesh.points
        arcs = []
        for arc in operator.mesh.arcs:
            angles = np.unwrap(np.arctan2(points[arc, 1], points[arc, 0]))
            arcs.append((angles.min(), angles.max()))
        potentials = complete_model_by_series(sigma, z, operator.drives.numpy(), arcs)
        table = operator.measured.numpy() @ potentials
        expected = table[operator.pairs[:, 1], operator.pairs[:, 0]]
        values = operator(torch.full(operator.domain, sigma, dtype=torch.float64)).numpy()
        errors[resolution] = np.abs(values - expected).max() / np.abs(expected).max()
    assert errors["fine"] < 4e-3, errors  # the density is singular at the ends of electrodes
    assert errors["fine"] < errors["coarse"] / 3, errors


# derivatives


@each
def test_jacobian_against_finite_differences(name):
    operator = MODELS[name]()
    x, dx = conductivity(operator, 3), normal(3, *operator.domain, seed=1)
    eps = 1e-4
    difference = (operator(x + eps * dx) - operator(x - eps * dx)) / (2 * eps)
    forward = operator.jvp(x, dx)
    assert (forward - difference).abs().max() <= 1e-7 * difference.abs().max()
    product = (operator.jacobian(x) @ dx.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(product, forward, rtol=1e-11, atol=1e-12)


@each
def test_the_adjoint_is_that_of_the_derivative(name):
    operator = MODELS[name]()
    x, dx = conductivity(operator, 20), normal(20, *operator.domain, seed=1)
    dy = normal(20, *operator.range, seed=2)
    left = (operator.jvp(x, dx) * dy).sum(1)
    right = (dx * operator.vjp(x, dy)).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


@each
def test_first_and_second_derivatives_by_gradcheck(name):
    operator = MODELS[name](validate=False)
    x = conductivity(operator, 2).requires_grad_()
    y = normal(2, *operator.range)
    keep = torch.zeros_like(x)
    keep[:, :5] = 1  # gradcheck walks five of the entries

    def moved(part):
        return x.detach() * (1 - keep) + torch.nn.functional.pad(part, (0, x.shape[1] - 5))

    leaf = x.detach()[:, :5].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: operator(moved(p)), (leaf,))
    dy = normal(2, *operator.range, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, d: operator.vjp(moved(p), d)[:, :6], (leaf, dy))
    dx = normal(2, *operator.domain, seed=3)[:, :5].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, d: operator.jvp(moved(p), torch.nn.functional.pad(d, (0, x.shape[1] - 5))),
        (leaf, dx),
    )
    assert torch.autograd.gradcheck(
        lambda p: operator.gradient(moved(p), y, differentiable=True), (leaf,)
    )


def test_gradients_of_contact_impedances():
    operator = MODELS["complete"]()
    x = conductivity(operator, 2).requires_grad_()
    z = (0.2 + torch.rand(2, 6, dtype=torch.float64)).requires_grad_()
    leaf = x.detach()[:, :4].clone().requires_grad_()

    def run(part, z):
        return operator(torch.cat([part, x.detach()[:, 4:]], 1), z)

    assert torch.autograd.gradcheck(run, (leaf, z))
    # the operator's own contact is the default
    same = torch.full((6,), 0.3, dtype=torch.float64)
    assert torch.equal(operator(x), operator(x, same))


def test_gradient_is_that_of_the_data_term(disc):
    x = conductivity(disc, 3).requires_grad_()
    y = normal(3, *disc.range, seed=2)
    (expected,) = torch.autograd.grad(0.5 * (disc(x) - y).square().sum(), x)
    g = disc.gradient(x, y)
    torch.testing.assert_close(g, expected, rtol=1e-12, atol=1e-12)
    assert not g.requires_grad
    torch.testing.assert_close(disc.gradient(x, y, differentiable=True), expected)
    # y for all x, and x for all y
    assert torch.equal(disc.gradient(x, y[:1].expand(3, -1)), disc.gradient(x, y[0]))
    assert disc.gradient(x[0], y).shape == x.shape


def test_a_third_derivative_raises():
    operator = MODELS["point"]()
    x = conductivity(operator, 2).requires_grad_()
    (g,) = torch.autograd.grad(operator(x).square().sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="no third derivative"):
        h.sum().backward()


def test_minimum_sets_conductivities_and_their_derivative():
    operator = MODELS["point"](minimum=0.05)
    x = conductivity(operator, 3)
    x[1, 4], x[2, 0] = -3.0, 0.05
    held = x.clamp_min(0.05)
    free = MODELS["point"]()
    assert torch.equal(operator(x), free(held))
    dy = normal(3, *operator.range)
    g = operator.vjp(x, dy)
    assert float(g[1, 4]) == 0.0
    assert float(g[2, 0]) == float(free.vjp(held, dy)[2, 0]) != 0.0
    leaf = x.clone().requires_grad_()
    (auto,) = torch.autograd.grad((operator(leaf) * dy).sum(), leaf)
    assert torch.equal(auto, g)
    torch.testing.assert_close(
        (operator.jacobian(x).mT @ dy.unsqueeze(-1)).squeeze(-1), g, rtol=1e-11, atol=1e-12
    )
    assert torch.equal(operator.gradient(x, dy), operator.vjp(x, operator(x) - dy))


# physics


def test_reciprocity(disc):
    """Drives and measurements may be exchanged: half of the 208 voltages are independent."""
    x = conductivity(disc)
    assert disc.range == (208,)
    singular = torch.linalg.svdvals(disc.jacobian(x))
    assert int((singular > 1e-10 * singular[0]).sum()) == 104
    y = disc(x)
    place = {tuple(pair): k for k, pair in enumerate(disc.pairs.tolist())}
    other = torch.tensor([place[m, d] for d, m in disc.pairs.tolist()])
    torch.testing.assert_close(y, y[other], rtol=1e-11, atol=1e-13)


@each
def test_scaling(name):
    operator = MODELS[name]()
    x = conductivity(operator, 3)
    if operator.contact is None:
        torch.testing.assert_close(operator(3.0 * x), operator(x) / 3.0, rtol=1e-11, atol=1e-13)
    else:
        z = operator.contact
        torch.testing.assert_close(
            operator(3.0 * x, z / 3.0), operator(x) / 3.0, rtol=1e-11, atol=1e-13
        )
        # Euler: F is homogeneous of degree -1 in (x, 1/z)
        x.requires_grad_()
        z = z.clone().requires_grad_()
        y = operator(x, z)
        g_x, g_z = torch.autograd.grad(y.sum(), [x, z])
        total = (g_x * x).sum() - (g_z * z).sum()
        torch.testing.assert_close(total, -y.sum(), rtol=1e-10, atol=1e-11)


def test_the_order_of_voltages(disc):
    """y of drive k and measurement i is V_{i+1} - V_i, +1 entering at k and -1 at k + 1."""
    x = conductivity(disc)
    own = np.zeros((1, 16))
    own[0, [3, 4]] = 1, -1
    potential = EIT(drive=own, measure=np.eye(16) - 1 / 16, drop_driven=False)(
        x
    )  # V_i less the mean
    assert disc.pairs[39].tolist() == [3, 0]
    expected = potential[1] - potential[0]
    assert float(disc(x)[39]) == pytest.approx(float(expected), rel=1e-11)
    # current flows from + to -: potential falls
    assert potential.argmax() == 3
    assert potential.argmin() == 4


def test_patterns():
    sizes = {
        ("adjacent", "adjacent"): 16 * 13,
        ("opposite", "adjacent"): 16 * 12,
        ("skip-2", "adjacent"): 16 * 12,
        ("trigonometric", "trigonometric"): 225,
    }
    for (drive, measure), size in sizes.items():
        operator = EIT(drive=drive, measure=measure)
        assert operator.range == (size,)
        assert float(operator.drives.sum(1).abs().max()) < 1e-14
    assert torch.linalg.matrix_rank(EIT(drive="trigonometric").drives) == 15
    keep = np.zeros((16, 16), dtype=bool)
    keep[2, 7] = True
    assert EIT(keep=keep).pairs.tolist() == [[2, 7]]


# items


@pytest.mark.cpu_only("about the CPU's autocast")
def test_any_batch_dimensions_and_dtypes(disc):
    x = conductivity(disc, 2, 3)
    y = disc(x)
    assert y.shape == (2, 3, 208)
    torch.testing.assert_close(y.flatten(0, 1), disc(x.flatten(0, 1)), rtol=0, atol=0)
    torch.testing.assert_close(disc(x[0, 0]), y[0, 0], rtol=1e-11, atol=1e-13)
    assert disc(x[:0]).shape == (0, 3, 208)
    single = disc(x.float())
    assert single.dtype == torch.float32
    # computed in double: only the rounding of x and y is left
    torch.testing.assert_close(single, disc(x.float().double()).float(), rtol=0, atol=0)
    assert disc.gradient(x.float(), single).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert disc(x.bfloat16()).dtype == torch.float32
    with pytest.raises(TypeError, match=r"float32 or float64, got torch.bfloat16"):
        disc(x.bfloat16())
    assert disc.float().coefficients.dtype == torch.float64


def test_voltages_beyond_their_type_are_marked():
    """F(c sigma) = F(sigma) / c: a conductivity of 1e-42 gives voltages beyond 1e38."""
    operator = MODELS["point"](validate=False).float()
    x = torch.ones(3, *operator.domain)
    x[1] = 1e-42
    voltages, status = operator.solve(x)
    assert status.tolist() == [Status.OK, Status.NUMERICAL_ERROR, Status.OK]
    assert voltages[1].isnan().all()
    assert torch.equal(voltages[::2], operator(x[::2]))
    assert operator.double().solve(x.double()).status.tolist() == [Status.OK] * 3


def test_a_bad_item_marks_itself_alone():
    operator = MODELS["point"](validate=False)
    x = conductivity(operator, 11)
    dy, dx = normal(11, *operator.range), normal(11, *operator.domain)
    bad = x.clone()
    bad[2, 5] = torch.nan
    bad[3] = -bad[3]
    bad[7] = 0.0
    bad[8, 1] = torch.inf
    failed = torch.tensor([2, 3, 7, 8])
    rest = torch.tensor([i for i in range(11) if i not in failed.tolist()])
    voltages, status = operator.solve(bad)
    assert status[failed].tolist() == [Status.NUMERICAL_ERROR] * 4
    assert not status[rest].any()
    assert voltages[failed].isnan().all()
    results = {
        "forward": (voltages, operator(x)),
        "vjp": (operator.vjp(bad, dy), operator.vjp(x, dy)),
        "jvp": (operator.jvp(bad, dx), operator.jvp(x, dx)),
        "gradient": (operator.gradient(bad, dy), operator.gradient(x, dy)),
        "jacobian": (operator.jacobian(bad), operator.jacobian(x)),
    }
    for name, (left, right) in results.items():
        assert torch.equal(left[rest], right[rest]), name
        if name != "forward":
            assert not left[failed].any(), name
    with pytest.raises(SolverError, match=r"EIT: 4 of 11 items failed: \[2\]: numerical_error"):
        operator.solve(bad, throw=True)
    assert not operator.solve(x, throw=True).status.any()
    # positive, but of the small ones around the inner rings nothing is left beside the large ones
    apart = x.clone()
    apart[4, :24] = 1e25
    apart[4, 24:] = 1e-25
    assert operator.solve(apart).status.nonzero().tolist() == [[4]]
    dense = MODELS["point"](validate=False, method="dense").solve(bad)
    assert torch.equal(dense.status, status)


def test_gauss_newton_reconstructs(disc):
    from lpgd_native.experiments import eit_data

    x = eit_data.phantoms(disc.mesh, 10, inclusions=2, seed=1).double()
    y = disc(x)
    found = disc.gauss_newton(y, details=True)
    assert isinstance(found, GaussNewton)
    error = float((found.x - x).square().mean())
    assert 0.008 <= error <= 0.02
    assert float((x - 1).square().mean()) > 3 * error
    assert (found.residual < 1e-3).all()
    assert not found.status.any()
    # the same in the other of the dimensions
    few = EIT(disc.mesh, keep=np.arange(256).reshape(16, 16) % 7 == 0)
    one = few.gauss_newton(few(x[0]), iterations=2, regularisation=0.1)
    J = few.jacobian(torch.ones_like(x[0]))
    r = few(torch.ones_like(x[0])) - few(x[0])
    first = 1 - torch.linalg.solve(J.T @ J + 0.1 * torch.diag(J.square().sum(0) ** 0.25), J.T @ r)
    again = few.gauss_newton(few(x[0]), iterations=1, regularisation=0.1)
    torch.testing.assert_close(again, first, rtol=1e-8, atol=1e-9)
    assert not torch.equal(one, again)


def test_gauss_newton_items_go_their_own_way():
    operator = MODELS["trigonometric"]()
    x = conductivity(operator, 5)
    y = operator(x)
    alone = [operator.gauss_newton(y[i : i + 3])[0] for i in range(3)]
    spoilt = y.clone()
    spoilt[3, 0] = torch.nan
    found = operator.gauss_newton(spoilt, details=True)
    for i in range(3):
        torch.testing.assert_close(found.x[i], alone[i], rtol=1e-10, atol=1e-10)
    assert found.status.tolist() == [0, 0, 0, Status.NUMERICAL_ERROR, 0]
    assert torch.equal(found.x[3], torch.ones_like(found.x[3]))
    assert operator.gauss_newton(y[:0]).shape == (0, *operator.domain)
    assert operator.gauss_newton(y.float()).dtype == torch.float32
    assert (operator.gauss_newton(y, minimum=0.6) >= 0.6).all()


# transforms


def raw_inputs(operator):
    mesh = operator._mesh
    x = conductivity(operator, 3)
    dy, dw = normal(3, *operator.range), normal(3, *operator.domain)
    return {
        "eit_forward": (x, *mesh),
        "eit_vjp": (x, dy, *mesh),
        "eit_jvp": (x, dw, *mesh),
        "eit_curvature": (x, dy, dw, *mesh),
        "eit_gradient": (x, dy, *mesh),
        "eit_jacobian": (x, *mesh),
    }


@pytest.mark.parametrize("name", list(raw_inputs(MODELS["point"]())))
def test_opcheck(name):
    op = getattr(torch.ops.lpgd, name).default
    torch.library.opcheck(op, raw_inputs(MODELS["point"]())[name])


def test_raw_ops_check_what_memory_hangs_on():
    operator = MODELS["point"]()
    x, coefficients, plan, links, factor, *rest = raw_inputs(operator)["eit_forward"]
    drives, measured, pairs = rest

    def run(coefficients=coefficients, plan=plan, links=links, factor=factor, pairs=pairs):
        arrays = (coefficients, plan, links, factor, drives, measured, pairs)
        return torch.ops.lpgd.eit_forward(x, *arrays)

    def put(tensor, place, value):
        changed = tensor.clone()
        changed.view(-1)[place] = value
        return changed

    run()
    for change, text in (
        ({"plan": plan[:-1]}, "fits no mesh"),
        ({"plan": torch.cat([plan, plan[:1]])}, "fits no mesh"),
        ({"plan": plan[:0]}, "fits no mesh"),
        ({"plan": plan.long()}, "int32"),
        ({"plan": put(plan, 7, 10_000)}, "cell_link is out of range"),
        ({"plan": put(plan, -1, -1)}, "row_start must rise"),
        ({"links": put(links, 3, -1)}, "an unknown is out of range"),
        ({"links": links[:, :1].contiguous()}, "links must be"),
        ({"factor": put(factor, 2, 10_000)}, "rows must rise|contradicts"),
        ({"factor": put(factor, -1, 0)}, "contradicts"),
        ({"factor": factor[:2]}, "factor must be"),
        ({"coefficients": coefficients.float()}, "coefficients must be float64"),
        ({"pairs": put(pairs, 1, 99)}, "pairs: a row is out of range"),
    ):
        with pytest.raises(RuntimeError, match=text):
            run(**change)
    with pytest.raises(RuntimeError, match="weights must be"):
        torch.ops.lpgd.eit_forward(x[:, 1:].contiguous(), *operator._mesh)


def test_func_transforms():
    operator = MODELS["complete"](validate=False)
    x = conductivity(operator, 4)
    batched = torch.func.vmap(operator)(x)
    torch.testing.assert_close(batched, operator(x), rtol=0, atol=0)
    jacobians = torch.func.vmap(torch.func.jacrev(operator))(x)
    torch.testing.assert_close(jacobians, operator.jacobian(x), rtol=1e-11, atol=1e-12)
    dy = normal(*operator.range)
    mapped = torch.func.vmap(lambda row: operator.vjp(row, dy))(x)
    torch.testing.assert_close(mapped, operator.vjp(x, dy), rtol=1e-11, atol=1e-12)


@forward_mode
def test_forward_mode():
    operator = MODELS["point"](validate=False)
    x, dx = conductivity(operator, 2), normal(2, *operator.domain)
    _, moved = torch.func.jvp(operator, (x,), (dx,))
    torch.testing.assert_close(moved, operator.jvp(x, dx))
    # Hessian times vector, forward over reverse, against reverse over reverse
    y = operator(conductivity(operator, 2, seed=5))

    def slope(x):
        return torch.func.grad(lambda x: 0.5 * (operator(x) - y).square().sum())(x)

    _, forward = torch.func.jvp(slope, (x,), (dx,))
    leaf = x.clone().requires_grad_()
    (reverse,) = torch.autograd.grad(
        (operator.gradient(leaf, y, differentiable=True) * dx).sum(), leaf
    )
    torch.testing.assert_close(forward, reverse, rtol=1e-10, atol=1e-11)


@compiles
@pytest.mark.parametrize("name", ["point", "complete"])
def test_compile(name):
    operator = MODELS[name]()
    y = operator(conductivity(operator, 3, seed=5))

    def loss(x):
        return (operator(x) - y).square().sum() + operator.gradient(x, y).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    x = conductivity(operator, 3).requires_grad_()
    left, right = compiled(x), loss(x)
    torch.testing.assert_close(left, right)
    torch.testing.assert_close(torch.autograd.grad(left, x), torch.autograd.grad(right, x))


def test_networks_take_it():
    from lpgd_native.nn import LearnedPrimalDual, LearnedProximalGradient, RecurrentMomentum

    operator = MODELS["point"](minimum=0.05)
    x = conductivity(operator, 3, dtype=torch.float32)
    y = operator(x)
    for kind in (LearnedPrimalDual, LearnedProximalGradient):
        network = kind(operator, iterations=2, momentum=RecurrentMomentum(hidden=4, layers=1))
        network(y, torch.ones_like(x)).square().mean().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_small_mesh_has_the_right_shape():
    mesh = small_mesh()
    assert len(mesh.triangles) == 54
    assert mesh.areas.sum() == pytest.approx(0.5 * 18 * np.sin(2 * np.pi / 18))


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(MODELS)),
    batch=st.integers(1, 19),
    seed=st.integers(0, 10_000),
    size=st.floats(-3, 3),
)
def test_properties_of_any_conductivity(name, batch, seed, size):
    """Adjoint, Euler's identity and independence of the neighbours, whatever the scale of x is."""
    operator = BUILT.setdefault(name, MODELS[name]())
    x = 10.0**size * conductivity(operator, batch, seed=seed)
    dx, dy = normal(batch, *operator.domain, seed=seed), normal(batch, *operator.range, seed=seed)
    moved, pulled = operator.jvp(x, dx), operator.vjp(x, dy)
    left, right = (moved * dy).sum(1), (dx * pulled).sum(1)
    scale = moved.norm(dim=1) * dy.norm(dim=1)
    assert ((left - right).abs() <= 1e-11 * scale).all()
    y = operator(x)
    if operator.contact is None:  # homogeneous of degree -1: J x = -F
        assert (operator.jvp(x, x) + y).abs().max() <= 1e-10 * y.abs().max()
    others = torch.cat([x[:1], conductivity(operator, batch + 2, seed=seed + 1)])
    many = torch.cat([x[:1], x[:1] * 2, x[:1] * 3])
    assert torch.equal(operator(others)[0], operator(many)[0])
