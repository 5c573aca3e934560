"""Electrical impedance tomography: voltages at electrodes from the conductivity inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lpgd_native import _eit_autograd
from lpgd_native._eit_dense import DenseEit
from lpgd_native.operators.eit_models import complete_plan, point_plan
from lpgd_native.operators.eit_patterns import current_patterns, measurement_pairs
from lpgd_native.operators.gauss_newton import KOTRE, GaussNewton, gauss_newton
from lpgd_native.operators.mesh import Mesh
from lpgd_native.operators.operator import Operator
from lpgd_native.status import raise_on_failure

__all__ = ["EIT", "EITSolution", "GaussNewton"]


class EITSolution(NamedTuple):
    """Voltages [..., m] and status [...]: `lpgd_native.Status`, OK or NUMERICAL_ERROR."""

    voltages: Tensor
    status: Tensor


class EIT(Operator):
    """Voltages F(x) [..., m] at electrodes, for a conductivity x [..., T] constant on each
    triangle.

    div(x grad u) = 0 in the mesh, with currents entering at electrodes: u is piecewise linear (P1
    finite elements), and y = F(x) are differences of the electrodes' potentials. Two models of
    electrodes:

    - *point electrodes* (``contact=None``): the current enters at one node of the boundary,
    - the *complete electrode model* (Somersalo, Cheney & Isaacson 1992): an electrode covers edges
      of the boundary, U_l = u + z_l x du/dn on it, and its current is the integral of x du/dn.

    Sparse Cholesky factors in C++, a register of samples at a time, samples shared out over torch's
    threads, or on a CUDA device (a sample a block, without waiting for the device, except that
    `validate` and `throw` look at numbers there); computed in float64 whatever the dtype. The
    gradient is the adjoint's, J is formed only by `jacobian`. Twice differentiable in x and in the
    contact impedances.

    Args:
        mesh: with `Mesh.electrodes` for point electrodes, `Mesh.arcs` for the complete model; None:
            the coarse disc that comes with the package (about 690 elements, 16 electrodes)
        contact: contact impedances z [L] or one number for all (> 0); None: point electrodes
        drive: injected currents: "adjacent" (+1 at electrode k, -1 at k + 1), "opposite", "skip-k"
            (k electrodes between), "trigonometric", or an array [D, L] whose rows sum to zero
        measure: measured voltages in every drive, likewise; "adjacent" is V_{k+1} - V_k
        drop_driven: leave out voltages that touch an electrode with current; None (default): where
            drive is pairs of electrodes
        keep: booleans [D, M] of the voltages to keep besides
        minimum: x below it is set to it, with derivative zero there (at it: one). None (default): x
            is taken as it is. Networks need it, whose iterates may be negative.
        validate: look at x (default): ValueError with index and value where it is not positive or
            not finite. False, under ``torch.compile`` or ``torch.func``: such an item has status
            NUMERICAL_ERROR, voltages nan, derivative zero, and no other item is touched. That
            status and nan are also those of voltages beyond the range of their type (float32).
        method: "sparse", or "dense": batched Cholesky factors of torch; None: sparse where there
            are kernels (CPU, and CUDA where it was built), dense on other devices

    Raises:
        ValueError: a pattern that does not sum to zero, no voltage left, contact impedances that
            are not positive, a mesh without what the model needs; shapes that don't fit.

    m, the order of voltages: drive by drive, in it measurement by measurement: 16 electrodes with
    adjacent patterns give 16 x 13 = 208 (`pairs` [m, 2] holds drive and measurement of each).
    """

    coefficients: Tensor
    plan: Tensor
    links: Tensor
    factor: Tensor
    drives: Tensor
    measured: Tensor
    pairs: Tensor
    contact: Tensor | None
    owner: Tensor  # of the edges under electrodes

    def __init__(
        self,
        mesh: Mesh | None = None,
        *,
        contact: float | Sequence[float] | Tensor | None = None,
        drive: str | ArrayLike = "adjacent",
        measure: str | ArrayLike = "adjacent",
        drop_driven: bool | None = None,
        keep: ArrayLike | None = None,
        minimum: float | None = None,
        validate: bool = True,
        method: str | None = None,
    ) -> None:
        mesh = Mesh.disc() if mesh is None else mesh
        if not isinstance(mesh, Mesh):
            raise TypeError(f"EIT: mesh must be a Mesh, got {type(mesh).__name__}")
        if method not in (None, "sparse", "dense"):
            raise ValueError(f"EIT: method must be sparse, dense or None, got {method!r}")
        if minimum is not None and not 0 < minimum < float("inf"):
            raise ValueError(f"EIT: minimum must be positive, got {minimum}")
        if contact is None:
            plan = point_plan(mesh)
            count = len(mesh.electrodes) if mesh.electrodes is not None else 0
        else:
            plan, owner = complete_plan(mesh)
            count = len(mesh.arcs) if mesh.arcs is not None else 0
        drives = current_patterns("drive", drive, count)
        measured = current_patterns("measure", measure, count)
        if isinstance(measure, str) and measure != "trigonometric":
            measured = -measured  # V_{k+1} - V_k
        if drop_driven is None:
            drop_driven = bool(((drives != 0).sum(axis=1) <= 2).all())
        pairs = measurement_pairs(drives, measured, drop_driven, keep)
        super().__init__((len(mesh.triangles),), (len(pairs),))
        self.mesh, self.minimum, self.validate, self.method = mesh, minimum, validate, method
        self.electrodes = count
        self._dense = DenseEit(plan, count)
        buffers = {
            "coefficients": plan.coefficients,
            "plan": plan.plan,
            "links": plan.links,
            "factor": plan.factor,
            "drives": torch.from_numpy(drives),
            "measured": torch.from_numpy(measured),
            "pairs": torch.from_numpy(pairs),
        }
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)
        self.register_buffer("contact", None)
        if contact is not None:
            z = torch.as_tensor(contact, dtype=torch.float64)
            self.contact = self._check_contact(z.expand(count).clone() if z.dim() == 0 else z)
            self.register_buffer("owner", torch.from_numpy(owner), persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Moves between devices; coefficients and patterns stay float64, whatever module.to(dtype)
        says.
        """

        def keep_dtype(tensor: Tensor) -> Tensor:
            moved: Tensor = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_dtype, recurse)  # type: ignore[no-untyped-call]

    # what a user calls

    def forward(self, x: Tensor, contact: Tensor | None = None) -> Tensor:
        """F(x) for x [..., T]: [..., m]. contact [..., L]: impedances in place of those of the
        operator.
        """
        return self.solve(x, contact).voltages

    def solve(
        self, x: Tensor, contact: Tensor | None = None, *, throw: bool = False
    ) -> EITSolution:
        """F(x) and what became of each item.

        throw: raise a `lpgd_native.SolverError` that lists the items whose matrix was not positive
        definite (conductivities of very different size count as well: a pivot below 1e-14 of its
        diagonal is rounding).
        """
        weights, lead = self._weights(x, contact)
        if self._sparse(weights):
            voltages, status = _eit_autograd.forward(weights, self._mesh)
        else:
            voltages, status = self._dense.to(weights.device).forward(weights, *self._patterns)
        status = status.reshape(lead)
        if throw:
            raise_on_failure("EIT", status)
        return EITSolution(voltages.reshape(*lead, *self.range), status)

    def apply_operator(self, x: Tensor) -> Tensor:
        """F(x)."""
        return self.solve(x).voltages

    def apply_adjoint(self, x: Tensor, dy: Tensor) -> Tensor:
        """J(x)' dy."""
        if not self._sparse(x):
            return super().apply_adjoint(x, dy)
        weights, lead = self._weights(x)
        rows = self._rows(dy, self.range).to(weights.dtype).contiguous()
        full = _eit_autograd.vjp(weights, rows, self._mesh)
        return self._clamped(x, full[:, : self.domain.numel()].reshape(*lead, *self.domain))

    def apply_jacobian(self, x: Tensor, dx: Tensor) -> Tensor:
        """J(x) dx."""
        if not self._sparse(x):
            return super().apply_jacobian(x, dx)
        weights, lead = self._weights(x)
        rows = self._rows(self._clamped(x, dx), self.domain).to(weights.dtype)
        rows = torch.nn.functional.pad(rows, (0, weights.shape[1] - rows.shape[1]))
        moved = _eit_autograd.jvp(weights, rows.contiguous(), self._mesh)
        return moved.reshape(*lead, *self.range)

    def gradient(self, x: Tensor, y: Tensor, *, differentiable: bool = False) -> Tensor:
        """J(x)' (F(x) - y), see `Operator.gradient`; one factorisation where it is a constant."""
        lead = self._common("x", x, self.domain, "y", y, self.range)
        if differentiable or not self._sparse(x):
            return super().gradient(x, y, differentiable=differentiable)
        with torch.no_grad():
            x = x.expand(*lead, *self.domain)
            weights, lead = self._weights(x)
            rows = self._rows(y.expand(*lead, *self.range), self.range)
            rows = rows.to(weights.dtype).contiguous()
            full = torch.ops.lpgd.eit_gradient(weights, rows, *self._mesh)[0]
            return self._clamped(x, full[:, : self.domain.numel()].reshape(*lead, *self.domain))

    def jacobian(self, x: Tensor) -> Tensor:
        """J(x) [..., m, T] for x [..., T]; a constant for autograd."""
        with torch.no_grad():
            jacobian, _, _ = self._linearise(self.check("x", x, self.domain))
            lead = self._lead(x, self.domain)
            return jacobian.reshape(*lead, *self.range, *self.domain)

    @torch.no_grad()
    def gauss_newton(
        self,
        y: Tensor,
        x0: Tensor | None = None,
        iterations: int | None = None,
        regularisation: Sequence[float] | float = KOTRE,
        *,
        power: float = 0.25,
        minimum: float | None = 0.05,
        tolerance: float = 1e-4,
        chunk: int = 64,
        details: bool = False,
    ) -> Any:
        """X <- x - (J'J + lam diag(J'J)^power)^-1 J'(F(x) - y), for y [..., m]: x [..., T].

        The "kotre" regularisation of pyEIT (power 0.25) with the weights of DuNets-RMA (1, 0.1,
        ..., 1e-5) as default.

        Args:
            y: measured voltages
            x0: the start [..., T]; None: ones
            iterations: None: as many as there are weights (a number: 8); more repeat the last
                weight
            regularisation: lam, one for all iterations or one each
            power: 0 is Tikhonov's, 1 Levenberg-Marquardt's
            minimum: iterates are kept at least so large (default 0.05; None: not at all). Without,
                an iterate may leave the domain of F; the item then stops at the one before.
            tolerance: an item is done when its step is so small against ||x0||
            chunk: items whose Jacobians are in memory at once
            details: True: a `GaussNewton` with residual, iterations and status

        The system is solved in the smaller of the dimensions m and T, in float64.
        """
        self.check("y", y, self.range)
        weights = (
            [regularisation] if isinstance(regularisation, (int, float)) else [*regularisation]
        )
        if not weights or not all(0 < w < float("inf") for w in weights):
            raise ValueError(f"EIT.gauss_newton: regularisation must be positive, got {weights}")
        if iterations is None:
            iterations = 8 if len(weights) == 1 else len(weights)
        weights = [*weights, *weights[-1:] * max(0, iterations - len(weights))][:iterations]
        lead = self._lead(y, self.range)
        data = self._rows(y, self.range).double()
        if x0 is None:
            x0 = data.new_ones(self.domain)
        self.check("x0", x0, self.domain)
        start = self._rows(x0.double().expand(*lead, *self.domain), self.domain)

        def linearise(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return self._linearise(x, validate=False)

        parts = [
            gauss_newton(linearise, d, s.clone(), weights, power, minimum, tolerance)
            for d, s in zip(torch.split(data, chunk), torch.split(start, chunk), strict=True)
        ]
        if not parts:
            parts = [gauss_newton(linearise, data, start.clone(), [], power, minimum, tolerance)]
        x, residual, taken, status = (torch.cat(p) for p in zip(*parts, strict=True))
        x = x.to(y.dtype).reshape(*lead, *self.domain)
        if not details:
            return x
        return GaussNewton(x, *(t.reshape(lead) for t in (residual, taken, status)))

    def extra_repr(self) -> str:
        """Shapes and settings."""
        model = "point electrodes" if self.contact is None else "complete electrode model"
        return (
            f"{super().extra_repr()}, electrodes={self.electrodes}, {model}, minimum={self.minimum}"
        )

    # helpers

    @property
    def _mesh(self) -> tuple[Tensor, ...]:
        arrays = (self.coefficients, self.plan, self.links, self.factor)
        return (*arrays, self.drives, self.measured, self.pairs)

    @property
    def _patterns(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.drives, self.measured, self.pairs

    def _sparse(self, x: Tensor) -> bool:
        return _has_kernels(x.device.type) if self.method is None else self.method == "sparse"

    def _linearise(self, x: Tensor, validate: bool | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """J [B, m, T], F [B, m] and status [B] of x."""
        weights, _ = self._weights(x, validate=validate)
        if self._sparse(x):
            J, values, status = torch.ops.lpgd.eit_jacobian(weights, *self._mesh)
        else:
            J, values, status = self._dense.to(x.device).jacobian(weights, *self._patterns)
        J = J[..., : self.domain.numel()]
        if self.minimum is not None:
            J = J * (self._rows(x, self.domain) >= self.minimum).unsqueeze(1)
        return J, values, status

    def _clamped(self, x: Tensor, moved: Tensor) -> Tensor:
        """What passes the lower bound on x."""
        return moved if self.minimum is None else torch.where(x >= self.minimum, moved, 0.0)

    def _weights(
        self, x: Tensor, contact: Tensor | None = None, validate: bool | None = None
    ) -> tuple[Tensor, torch.Size]:
        """Weights of cells [B, C] and the batch's shape."""
        self.check("x", x, self.domain)
        if x.dtype not in (torch.float32, torch.float64):
            if not (x.dtype.is_floating_point and torch.is_autocast_enabled(x.device.type)):
                raise TypeError(f"EIT: x must be float32 or float64, got {x.dtype}")
            x = x.float()
        if self.method == "sparse" and not _has_kernels(x.device.type):
            raise ValueError(f"EIT: method='sparse' has no kernels here for x on {x.device}")
        if self.minimum is not None:
            x = torch.where(x >= self.minimum, x, torch.where(x.isnan(), x, self.minimum))
        if (self.validate if validate is None else validate) and not _traced(x):
            self._check_positive(x)
        lead = self._lead(x, self.domain)
        if self.contact is None:
            if contact is not None:
                raise ValueError("EIT: point electrodes have no contact impedance, got contact")
            return self._rows(x, self.domain).contiguous(), lead
        z = self.contact if contact is None else self._check_contact(contact)
        if z.device != x.device:
            raise ValueError(f"EIT: x must be on {z.device} as contact is, got {x.device}")
        z = z.to(x.dtype)
        lead = torch.broadcast_shapes(lead, z.shape[:-1])  # type: ignore[no-untyped-call]
        admittance = z.reciprocal()[..., self.owner].expand(*lead, len(self.owner))
        weights = torch.cat([x.expand(*lead, *self.domain), admittance], dim=-1)
        return weights.reshape(lead.numel(), weights.shape[-1]).contiguous(), lead

    def _check_positive(self, x: Tensor) -> None:
        with torch.no_grad():
            if x.numel() == 0:
                return
            low, high = torch.aminmax(x)
            if bool(low > 0) and bool(high < torch.inf):
                return
            where = (~((x > 0) & x.isfinite())).nonzero()[0].tolist()
        value = float(x[tuple(where)])
        kind = "not positive" if value <= 0 and value != -torch.inf else "not finite"
        raise ValueError(f"EIT: conductivity x{where} = {value:g} is {kind}")

    def _check_contact(self, contact: Tensor) -> Tensor:
        if contact.dim() < 1 or contact.shape[-1] != self.electrodes:
            raise ValueError(
                f"EIT: contact must be [..., {self.electrodes}], got {list(contact.shape)}"
            )
        if not _traced(contact):
            bad = (~((contact > 0) & contact.isfinite())).nonzero()
            if len(bad):
                where = bad[0].tolist()
                value = float(contact[tuple(where)])
                raise ValueError(f"EIT: contact{where} = {value:g} is not positive and finite")
        return contact


_HAS_CUDA: bool = torch._C._dispatch_has_kernel_for_dispatch_key("lpgd::eit_forward", "CUDA")


def _has_kernels(device: str) -> bool:
    return device == "cpu" or (device == "cuda" and _HAS_CUDA)


def _traced(x: Tensor) -> bool:
    """Values can't be looked at."""
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or x.device.type == "meta"
    )
