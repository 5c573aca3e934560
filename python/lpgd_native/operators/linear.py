"""Linear maps: dense, sparse, convolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lpgd_native.operators.operator import Operator

__all__ = ["LinearOperator"]


class LinearOperator(Operator):
    """F(x) = A x.

    Args:
        matrix: [m, n], dense or sparse (COO, CSR); kept as a buffer, or as a parameter if it is
        one.
        domain, range: shapes with n and m entries, where x and y are not vectors

    `LinearOperator.convolution` makes one from a kernel.
    """

    def __init__(
        self,
        matrix: Tensor,
        domain: Sequence[int] | None = None,
        range: Sequence[int] | None = None,
    ) -> None:
        if not isinstance(matrix, Tensor) or matrix.dim() != 2:
            shape = list(matrix.shape) if isinstance(matrix, Tensor) else type(matrix).__name__
            raise ValueError(f"LinearOperator: matrix must be [m, n], got {shape}")
        rows, columns = matrix.shape
        super().__init__(
            (columns,) if domain is None else domain, (rows,) if range is None else range
        )
        if self.domain.numel() != columns or self.range.numel() != rows:
            raise ValueError(
                f"{self._name}: domain {list(self.domain)} and range {list(self.range)} don't fit "
                f"matrix [{rows}, {columns}]"
            )
        if isinstance(matrix, nn.Parameter):
            self.matrix = matrix
        else:
            self.register_buffer("matrix", matrix)

    def home(self) -> Tensor:
        """The matrix."""
        matrix: Tensor = self.matrix
        return matrix

    def apply_operator(self, x: Tensor) -> Tensor:
        """F(x)."""
        rows = self._rows(x, self.domain)
        return self._times(rows).reshape(*self._lead(x, self.domain), *self.range)

    def apply_jacobian(self, x: Tensor, dx: Tensor) -> Tensor:
        """J(x) dx."""
        return self.apply_operator(dx)

    def apply_adjoint(self, x: Tensor, dy: Tensor) -> Tensor:
        """J(x)' dy."""
        rows = self._rows(dy, self.range)
        matrix: Tensor = self.matrix
        out = rows @ matrix if matrix.layout == torch.strided else (matrix.mT @ rows.mT).mT
        return out.reshape(*self._lead(dy, self.range), *self.domain)

    def _times(self, rows: Tensor) -> Tensor:
        matrix: Tensor = self.matrix
        return rows @ matrix.mT if matrix.layout == torch.strided else (matrix @ rows.mT).mT

    @staticmethod
    def convolution(
        kernel: Tensor, domain: Sequence[int], *, stride: int = 1, padding: int = 0
    ) -> Operator:
        """An operator kernel * x (correlation, as torch's), one channel, x of 1 or 2 dimensions."""
        return _Convolution(kernel, domain, stride, padding)


class _Convolution(Operator):
    def __init__(self, kernel: Tensor, domain: Sequence[int], stride: int, padding: int) -> None:
        if kernel.dim() != len(domain) or len(domain) not in (1, 2):
            raise ValueError(
                f"LinearOperator.convolution: kernel {list(kernel.shape)}, domain {list(domain)} "
                "must both have 1 or both 2 dimensions"
            )
        sizes = [
            (d + 2 * padding - k) // stride + 1 for d, k in zip(domain, kernel.shape, strict=True)
        ]
        if min(sizes) < 1:
            raise ValueError(
                f"LinearOperator.convolution: kernel {list(kernel.shape)} does not fit into domain "
                f"{list(domain)} with padding {padding}"
            )
        super().__init__(domain, sizes)
        self.stride, self.padding = stride, padding
        self.register_buffer("kernel", kernel)

    def home(self) -> Tensor:
        kernel: Tensor = self.kernel  # type: ignore[assignment]
        return kernel

    def _call(
        self, function: Callable[..., Tensor], x: Tensor, shape: torch.Size, **more: object
    ) -> Tensor:
        kernel: Tensor = self.kernel  # type: ignore[assignment]
        images = x.reshape(-1, 1, *shape)
        return function(
            images, kernel[None, None], stride=self.stride, padding=self.padding, **more
        )

    def apply_operator(self, x: Tensor) -> Tensor:
        """F(x)."""
        function = nn.functional.conv1d if len(self.domain) == 1 else nn.functional.conv2d
        return self._call(function, x, self.domain).reshape(
            *self._lead(x, self.domain), *self.range
        )

    def apply_jacobian(self, x: Tensor, dx: Tensor) -> Tensor:
        """J(x) dx."""
        return self.apply_operator(dx)

    def apply_adjoint(self, x: Tensor, dy: Tensor) -> Tensor:
        """J(x)' dy."""
        one = len(self.domain) == 1
        function = nn.functional.conv_transpose1d if one else nn.functional.conv_transpose2d
        kernel: Tensor = self.kernel  # type: ignore[assignment]
        # entries at the end that no window reaches
        rest = [
            d - ((r - 1) * self.stride + k - 2 * self.padding)
            for d, r, k in zip(self.domain, self.range, kernel.shape, strict=True)
        ]
        out = self._call(function, dy, self.range, output_padding=rest)
        return out.reshape(*self._lead(dy, self.range), *self.domain)
