"""Wrong arguments: an error that names the argument and both shapes, before any C++ runs."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import lpgd_native
from cases import NAMES, Data, random_qp
from lpgd_native import LPGD, Implicit, nn, solve_lp, solve_qp, solve_qp_numpy

GOOD = random_qp(90, 8, n=5, m=4, p=2, lower=True, upper=True)


def zeros(*shape: int, **options) -> torch.Tensor:
    return torch.zeros(*shape, dtype=options.pop("dtype", torch.float64), **options)


# argument, what is passed, what the message says of the shape wanted and of the one given
WRONG_SHAPES = [
    ("P", zeros(8, 5, 4), "[..., n, n] with n = 5 entries of q", "[8, 5, 4]"),
    ("P", zeros(8, 4, 4), "[..., n, n] with n = 5 entries of q", "[8, 4, 4]"),
    ("P", zeros(5), "[..., n, n] with n = 5 entries of q", "[5]"),
    ("q", zeros(()), "[..., n] with n >= 1", "[]"),
    ("q", zeros(8, 0), "[..., n] with n >= 1", "[8, 0]"),
    ("G", zeros(8, 4, 6), "[..., m, n] with n = 5 entries of q", "[8, 4, 6]"),
    ("G", zeros(5), "[..., m, n] with n = 5 entries of q", "[5]"),
    ("h", zeros(8, 3), "[..., m] with m = 4 rows of G", "[8, 3]"),
    ("h", zeros(()), "[..., m] with m = 4 rows of G", "[]"),
    ("h", zeros(8, 4, 1), "[..., m] with m = 4 rows of G", "[8, 4, 1]"),
    ("A", zeros(8, 2, 1), "[..., p, n] with n = 5 entries of q", "[8, 2, 1]"),
    ("b", zeros(8, 1), "[..., p] with p = 2 rows of A", "[8, 1]"),
    ("lb", zeros(8, 1), "[..., n] with n = 5 entries of q", "[8, 1]"),
    ("ub", zeros(()), "[..., n] with n = 5 entries of q", "[]"),
    ("ub", zeros(8, 10), "[..., n] with n = 5 entries of q", "[8, 10]"),
]


@pytest.mark.parametrize(("name", "value", "wanted", "given"), WRONG_SHAPES)
def test_wrong_shapes_name_the_argument_and_both_shapes(name, value, wanted, given):
    text = re.escape(f"solve_qp: {name} must be {wanted}") + ",? got " + re.escape(given)
    with pytest.raises(ValueError, match=f"^{text}$"):
        solve_qp(*GOOD._replace(**{name: value}))
    arrays = [t.numpy() for t in GOOD._replace(**{name: value})]
    with pytest.raises(ValueError, match=f"^{text.replace('solve_qp', 'solve_qp_numpy')}$"):
        solve_qp_numpy(*arrays)


def test_solve_lp_calls_its_costs_c():
    with pytest.raises(ValueError, match=r"^solve_lp: c must be \[..., n\] with n >= 1, got \[0\]"):
        solve_lp(zeros(0))
    with pytest.raises(ValueError, match=r"^solve_lp: lb must be .* n = 3 entries of c, got \[2\]"):
        solve_lp(zeros(3), lb=zeros(2))
    with pytest.raises(TypeError, match=r"^solve_lp: c must be a torch.Tensor, got NoneType"):
        solve_lp(None)


@pytest.mark.parametrize(
    ("there", "missing"), [("G", "h"), ("h", "G"), ("A", "b"), ("b", "A")], ids=str
)
def test_half_a_block(there, missing):
    text = f"solve_qp: {there} is given without {missing}"
    with pytest.raises(ValueError, match=text):
        solve_qp(*GOOD._replace(**{missing: None}))


@pytest.mark.parametrize("name", NAMES)
def test_batches_that_do_not_broadcast_are_all_listed(name):
    data = GOOD._replace(**{name: getattr(GOOD, name)[:3]})
    with pytest.raises(ValueError, match="batch dimensions don't broadcast") as info:
        solve_qp(*data)
    for other in NAMES:
        assert f"{other} [{3 if other == name else 8}]" in str(info.value)


@pytest.mark.parametrize("value", [True, [1.0, 2.0], np.zeros(5), "q"], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_tensor(name, value):
    text = f"solve_qp: {name} must be a torch.Tensor, got {type(value).__name__}"
    with pytest.raises(TypeError, match=text):
        solve_qp(*GOOD._replace(**{name: value}))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("lb", "ub")])
def test_only_bounds_may_be_numbers(name):
    with pytest.raises(TypeError, match=f"solve_qp: {name} must be a torch.Tensor, got float"):
        solve_qp(*GOOD._replace(**{name: 1.0}))


def test_arrays_have_a_function_of_their_own():
    with pytest.raises(TypeError, match=r"got ndarray \(solve_qp_numpy takes numpy arrays\)"):
        solve_qp(None, np.zeros(3))


def test_q_is_needed():
    with pytest.raises(TypeError, match=r"solve_qp: q must be a torch.Tensor, got NoneType"):
        solve_qp(GOOD.P, None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.complex128])
@pytest.mark.parametrize("name", NAMES)
def test_dtypes_that_are_not_taken(name, dtype):
    text = f"solve_qp: {name} must be float32 or float64, got {dtype}"
    with pytest.raises(TypeError, match=text):
        solve_qp(*GOOD._replace(**{name: getattr(GOOD, name).to(dtype)}))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "q"])
def test_mixed_dtypes(name):
    text = f"solve_qp: {name} must have the dtype of q, torch.float64, got torch.float32"
    with pytest.raises(TypeError, match=text):
        solve_qp(*GOOD._replace(**{name: getattr(GOOD, name).float()}))
    with pytest.raises(TypeError, match=r"have the dtype of q, torch.float32, got torch.float64"):
        solve_qp(*GOOD._replace(q=GOOD.q.float()))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "q"])
def test_mixed_devices(name):
    text = f"solve_qp: {name} must be on the device of q, cpu, got meta"
    with pytest.raises(ValueError, match=text):
        solve_qp(*GOOD._replace(**{name: getattr(GOOD, name).to("meta")}))


def test_sparse_tensors():
    with pytest.raises(
        TypeError, match=r"solve_qp: G must be dense .*to_sparse_csr.* got layout torch.sparse_coo"
    ):
        solve_qp(*GOOD._replace(G=GOOD.G.to_sparse()))


@pytest.mark.parametrize("eps", [0.0, -1e-9, float("nan"), float("inf"), "tight"])
def test_eps_out_of_range(eps):
    with pytest.raises(ValueError, match="solve_qp: eps must be finite and positive"):
        solve_qp(*GOOD, eps=eps)


@pytest.mark.parametrize("max_iter", [0, -1, 2.0, True, "many"])
def test_max_iter_out_of_range(max_iter):
    with pytest.raises(ValueError, match="solve_qp: max_iter must be a positive integer"):
        solve_qp(*GOOD, max_iter=max_iter)
    with pytest.raises(ValueError, match="solve_qp_numpy: max_iter must be a positive integer"):
        solve_qp_numpy(*(t.numpy() for t in GOOD), max_iter=max_iter)


@pytest.mark.parametrize("gradient", ["implicit", Implicit, LPGD, 0.1])
def test_gradient_is_a_strategy(gradient):
    with pytest.raises(TypeError, match=r"solve_qp: gradient must be Implicit\(\), LPGD"):
        solve_qp(*GOOD, gradient=gradient)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"tau": 0.0}, ValueError, "LPGD: tau must be finite and positive, got 0.0"),
        ({"tau": -1.0}, ValueError, "LPGD: tau must be finite and positive"),
        ({"tau": float("nan")}, ValueError, "LPGD: tau must be finite and positive"),
        ({"tau": float("inf")}, ValueError, "LPGD: tau must be finite and positive"),
        ({"tau": "1"}, TypeError, "LPGD: tau must be a number, a tensor or .* got '1'"),
        ({"tau": None}, TypeError, "LPGD: tau must be a number, got NoneType"),
        ({"tau": torch.ones(2).int()}, TypeError, "LPGD: tau must be a floating-point tensor"),
        ({"tau": torch.zeros(2)}, ValueError, "LPGD: tau must be finite and positive in every"),
        ({"tau": "auto", "relative": True}, ValueError, "LPGD: tau=.auto. is measured in units"),
        ({"tau": "auto", "share": 1.0}, ValueError, "LPGD: share must be below 1, got 1.0"),
        ({"rho": -0.1}, ValueError, "LPGD: rho must be finite and nonnegative, got -0.1"),
        ({"rho": True}, TypeError, "LPGD: rho must be a number, got bool"),
        ({"rho_over_tau": -1.0}, ValueError, "LPGD: rho_over_tau must be finite and nonnegative"),
        ({"envelope": "mean"}, ValueError, "LPGD: envelope must be .* got 'mean'"),
    ],
    ids=str,
)
def test_settings_of_lpgd(options, error, text):
    with pytest.raises(error, match=text):
        LPGD(**options)


@pytest.mark.parametrize("threads", [0, -2, 1.5])
def test_num_threads_out_of_range(threads):
    with pytest.raises(ValueError, match="solve_qp_numpy: num_threads must be a positive integer"):
        solve_qp_numpy(*(t.numpy() for t in GOOD), num_threads=threads)


@pytest.mark.parametrize("name", NAMES)
def test_numpy_arrays_are_needed_by_solve_qp_numpy(name):
    arrays = dict(zip(NAMES, (t.numpy() for t in GOOD), strict=True))
    text = f"solve_qp_numpy: {name} must be a numpy array, got list"
    with pytest.raises(TypeError, match=text):
        solve_qp_numpy(**{**arrays, name: arrays[name].tolist()})
    text = f"solve_qp_numpy: {name} must be float32 or float64, got int64"
    with pytest.raises(TypeError, match=text):
        solve_qp_numpy(**{**arrays, name: arrays[name].astype(np.int64)})


def test_layers_need_their_linear_term():
    with pytest.raises(ValueError, match="QPLayer: q is needed"):
        nn.QPLayer(P=GOOD.P)()
    with pytest.raises(ValueError, match="LPLayer: c is needed"):
        nn.LPLayer(lb=GOOD.lb)()


def test_throw_names_the_function():
    with pytest.raises(lpgd_native.SolverError, match=r"^solve_lp: "):
        solve_lp(zeros(2) - 1, throw=True)


# The raw ops take what they are given: shapes that don't fit are an error, never a crash.

FLAT = GOOD.flat()


def _raw_point(data: Data) -> list[torch.Tensor]:
    return [t.clone() for t in torch.ops.lpgd.solve_qp(*data, 1e-9, 60)[:6]]


@pytest.mark.parametrize(("name", "value", "wanted", "given"), WRONG_SHAPES)
def test_raw_solve_with_wrong_shapes(name, value, wanted, given):
    with pytest.raises(RuntimeError):
        torch.ops.lpgd.solve_qp(*FLAT._replace(**{name: value}), 1e-9, 60)


@pytest.mark.parametrize(
    "change",
    [
        {"h": None},
        {"b": None},
        {"q": GOOD.q.float()},
        {"G": GOOD.G.float()},
        {"ub": GOOD.ub.int()},
        {"P": GOOD.P[:3]},
        {"h": GOOD.h[:3]},
        {"lb": GOOD.lb.reshape(2, 4, 5)},
        {"q": GOOD.q.reshape(2, 4, 5)},
        {"P": GOOD.P.mT},
        {"A": GOOD.A[..., ::2]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_raw_solve_with_wrong_arguments(change):
    with pytest.raises(RuntimeError):
        torch.ops.lpgd.solve_qp(*FLAT._replace(**change), 1e-9, 60)


POINT = ("x", "y", "z", "z_lb", "z_ub")
BACKWARD = (*POINT, "status", *(f"g_{name}" for name in POINT), "tau", "rho")


@pytest.mark.parametrize("name", BACKWARD)
def test_raw_backward_ops_with_wrong_shapes(name):
    *point, status = _raw_point(FLAT)
    given = [*point, status, *(torch.ones_like(t) for t in point), *torch.ones(2, 8).double()]
    place = BACKWARD.index(name)
    given[place] = given[place][:3].clone()
    if place < 11:
        with pytest.raises(RuntimeError, match=rf"\b{name} (has|must)"):
            torch.ops.lpgd.implicit_qp(*FLAT, *given[:11])
    with pytest.raises(RuntimeError, match=rf"\b{name} (has|must)"):
        torch.ops.lpgd.resolve_qp(*FLAT, *given, 3, 1e-9, 60)


@pytest.mark.parametrize("sides", [-1, 0, 4, 99])
def test_raw_resolve_with_sides_that_are_none(sides):
    *point, status = _raw_point(FLAT)
    tau = torch.ones(8, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="sides must be 1"):
        torch.ops.lpgd.resolve_qp(*FLAT, *point, status, *point, tau, tau, sides, 1e-9, 60)


@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 4), (3, 5), (3, 4), (2, 5)),
        ((3, 4), (3, 5), (3, 3), (3, 5)),
        ((3, 4), (3,), (3, 4), (3, 5)),
        ((3, 4, 1), (3, 5), (3, 4), (3, 5)),
    ],
)
def test_raw_outer_sum_with_wrong_shapes(shapes):
    with pytest.raises(RuntimeError):
        torch.ops.lpgd.outer_sum(*(zeros(*shape) for shape in shapes))
    fine = [zeros(3, 4), zeros(3, 5), zeros(3, 4), zeros(3, 5)]
    with pytest.raises(RuntimeError):
        torch.ops.lpgd.outer_sum(*fine[:3], fine[3].float())
