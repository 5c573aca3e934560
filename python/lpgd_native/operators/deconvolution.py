"""Nonlinear (second-order Volterra) convolution, whose inverse problem is deconvolution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lpgd_native.operators.operator import Operator

__all__ = ["VolterraDeconvolution"]


class VolterraDeconvolution(Operator):
    """y_i = a x_i' W x_i + w' x_i for windows x_i of x, in one or two dimensions.

    The window of an output starts every `stride` entries; with 53 entries, a window of 9 and a
    stride of 4 there are 12 outputs, the problem of DuNets-RMA (Zhou, Qian, Tang & Li 2024, section
    4.1). The Jacobian is exact: row i is a (W + W') x_i + w on its window.

    Args:
        quadratic: W [K, K], K the entries of a window (of a 2-D one: row by row)
        linear: w [K]
        a: weight of the quadratic part; 0 makes the map linear
        domain: shape of x, (length,) or (rows, columns)
        window: its size in each dimension (one number: the same in all); None: sqrt or all of K
        stride: likewise
        symmetric_jacobian: True: a (W + W') x_i + w. False: 2 a W x_i + w, which is what the
            authors' code has and not the derivative unless W is symmetric.

    `VolterraDeconvolution.random` draws W and w as the paper's experiment does.
    """

    quadratic: Tensor
    linear: Tensor
    index: Tensor

    def __init__(
        self,
        quadratic: Tensor,
        linear: Tensor,
        a: float,
        domain: Sequence[int] = (53,),
        window: int | Sequence[int] | None = None,
        stride: int | Sequence[int] = 4,
        *,
        symmetric_jacobian: bool = True,
    ) -> None:
        dims = len(domain)
        if dims not in (1, 2):
            raise ValueError(f"VolterraDeconvolution: domain must have 1 or 2 sizes, got {domain}")
        count = linear.shape[0] if linear.dim() == 1 else 0
        if quadratic.shape != (count, count) or not count:
            raise ValueError(
                f"VolterraDeconvolution: quadratic [K, K] and linear [K] must fit, "
                f"got {list(quadratic.shape)} and {list(linear.shape)}"
            )
        if window is None:
            window = count if dims == 1 else math.isqrt(count)
        sizes = (window,) * dims if isinstance(window, int) else tuple(window)
        steps = (stride,) * dims if isinstance(stride, int) else tuple(stride)
        if len(sizes) != dims or len(steps) != dims or math.prod(sizes) != count or min(steps) < 1:
            raise ValueError(
                f"VolterraDeconvolution: window {sizes} and stride {steps} don't fit domain "
                f"{tuple(domain)} and K = {count}"
            )
        if any(size > extent for size, extent in zip(sizes, domain, strict=True)):
            raise ValueError(
                f"VolterraDeconvolution: window {sizes} is larger than domain {tuple(domain)}"
            )
        numbers = torch.arange(math.prod(domain)).reshape(*domain)
        for dim, (size, step) in enumerate(zip(sizes, steps, strict=True)):
            numbers = numbers.unfold(dim, size, step)
        outputs = numbers.shape[:dims]
        super().__init__(domain, outputs)
        self.a = float(a)
        self.window, self.stride = sizes, steps
        self.symmetric_jacobian = symmetric_jacobian
        self.register_buffer("quadratic", quadratic)
        self.register_buffer("linear", linear)
        self.register_buffer("index", numbers.reshape(math.prod(outputs), count), persistent=False)

    @staticmethod
    def random(
        a: float,
        *,
        seed: int = 0,
        domain: Sequence[int] = (53,),
        window: int = 9,
        stride: int = 4,
        dtype: torch.dtype = torch.float32,
        symmetric_jacobian: bool = True,
    ) -> VolterraDeconvolution:
        """W upper triangular, U(0, 1) over its sum; w = |N(0, 1)|^9 over its sum.

        The same seed gives the same W and w, whatever a is.
        """
        generator = torch.Generator().manual_seed(seed)
        count = window ** len(domain)
        W = torch.rand(count, count, generator=generator, dtype=torch.float64).triu()
        w = torch.randn(count, generator=generator, dtype=torch.float64).abs() ** 9
        return VolterraDeconvolution(
            (W / W.sum()).to(dtype),
            (w / w.sum()).to(dtype),
            a,
            domain,
            window,
            stride,
            symmetric_jacobian=symmetric_jacobian,
        )

    def home(self) -> Tensor:
        """W."""
        return self.quadratic

    def _windows(self, x: Tensor) -> Tensor:
        """[items, m, K]."""
        return self._rows(x, self.domain)[:, self.index]

    def _slopes(self, windows: Tensor) -> Tensor:
        """[items, m, K] rows of the Jacobian, each on its window."""
        W = self.quadratic
        return torch.addmm(
            self.linear,
            windows.flatten(0, 1),
            (W + W.mT) if self.symmetric_jacobian else 2 * W.mT,
            alpha=self.a,
        ).view(windows.shape)

    def _values(self, windows: Tensor) -> Tensor:
        """[items, m]."""
        slopes = torch.addmm(
            self.linear, windows.flatten(0, 1), self.quadratic.mT, alpha=self.a
        ).view(windows.shape)
        values: Tensor = (slopes * windows).sum(-1)
        return values

    def _spread(self, parts: Tensor) -> Tensor:
        """[items, n] from [items, m, K]: what each window adds to x."""
        out = parts.new_zeros(parts.shape[0], self.domain.numel())
        return out.index_add(1, self.index.flatten(), parts.flatten(1))

    def apply_operator(self, x: Tensor) -> Tensor:
        """F(x)."""
        return self._values(self._windows(x)).reshape(*self._lead(x, self.domain), *self.range)

    def apply_jacobian(self, x: Tensor, dx: Tensor) -> Tensor:
        """J(x) dx."""
        moved = (self._slopes(self._windows(x)) * self._windows(dx)).sum(-1)
        return moved.reshape(*self._lead(x, self.domain), *self.range)

    def apply_adjoint(self, x: Tensor, dy: Tensor) -> Tensor:
        """J(x)' dy."""
        slopes = self._slopes(self._windows(x)) * self._rows(dy, self.range).unsqueeze(-1)
        return self._spread(slopes).reshape(*self._lead(x, self.domain), *self.domain)

    def extra_repr(self) -> str:
        """Shapes and settings."""
        return f"{super().extra_repr()}, a={self.a}, window={self.window}, stride={self.stride}"
