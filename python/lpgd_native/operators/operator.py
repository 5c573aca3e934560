"""What an unrolled network has to know of a forward map."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["Operator", "TorchOperator"]


class Operator(nn.Module):
    """A map F from arrays [..., *domain] to arrays [..., *range], with its derivative J.

    A subclass gives `apply_operator`; `apply_adjoint` and `apply_jacobian` where it knows better
    than AD. All take any number of leading batch dimensions.

    What is called refuses, with a TypeError or ValueError, tensors that are sparse, not of real or
    complex numbers, of other shapes, or of another dtype or device than `home`.
    """

    def __init__(self, domain: Sequence[int], range: Sequence[int]) -> None:
        super().__init__()
        self.domain = torch.Size(domain)
        self.range = torch.Size(range)
        for name, shape in (("domain", self.domain), ("range", self.range)):
            if not shape or min(shape) < 1:
                raise ValueError(f"{self._name}: {name} must have sizes >= 1, got {list(shape)}")

    # what a subclass defines

    def apply_operator(self, x: Tensor) -> Tensor:
        """F(x), shapes being checked."""
        raise NotImplementedError

    def apply_adjoint(self, x: Tensor, dy: Tensor) -> Tensor:
        """J(x)' dy, shapes being checked."""
        return _vjp(self.apply_operator, x, dy)

    def apply_jacobian(self, x: Tensor, dx: Tensor) -> Tensor:
        """J(x) dx, shapes being checked."""
        # forward mode does not take what broadcasting has expanded
        moved: Tensor = torch.func.jvp(self.apply_operator, (x.contiguous(),), (dx.contiguous(),))[
            1
        ]
        return moved

    def home(self) -> Tensor | None:
        """A tensor whose dtype and device arguments must have (but for dtypes under autocast);
        None: any.
        """
        return None

    # what a user calls

    def forward(self, x: Tensor) -> Tensor:
        """F(x) for x [..., *domain]: [..., *range]."""
        return self.apply_operator(self.check("x", x, self.domain))

    def jvp(self, x: Tensor, dx: Tensor) -> Tensor:
        """J(x) dx for x, dx [..., *domain]: [..., *range]."""
        lead = self._common("x", x, self.domain, "dx", dx, self.domain)
        shape = (*lead, *self.domain)
        return self.apply_jacobian(x.expand(shape), dx.expand(shape))

    def vjp(self, x: Tensor, dy: Tensor) -> Tensor:
        """J(x)' dy for x [..., *domain], dy [..., *range]: [..., *domain]."""
        lead = self._common("x", x, self.domain, "dy", dy, self.range)
        return self.apply_adjoint(x.expand(*lead, *self.domain), dy.expand(*lead, *self.range))

    def gradient(self, x: Tensor, y: Tensor, *, differentiable: bool = False) -> Tensor:
        """J(x)' (F(x) - y), the gradient of 1/2 ||F(x) - y||^2, for x [..., *domain], y [...,
        *range].

        Args:
            x: [..., *domain]
            y: [..., *range]
            differentiable: False (default): a constant for autograd, as in DuNets-RMA, whose
                networks are trained without derivatives of the physics. True: differentiable in x
                and y, second derivatives of F included.
        """
        self._common("x", x, self.domain, "y", y, self.range)
        if differentiable:
            return self.vjp(x, self.apply_operator(x) - y)
        with torch.no_grad():
            return self.vjp(x, self.apply_operator(x) - y)

    def norm(self, x: Tensor | None = None, *, eps: float = 1e-6, max_iter: int = 500) -> Tensor:
        """Max ||J(x) d|| over ||d|| = 1: the largest singular value of J(x), one for every item.

        By power iteration on J'J from a fixed random start, so it comes from below. For a linear F
        its square is the Lipschitz constant of `gradient`, and ``1 / operator.norm() ** 2`` the
        step of `lpgd_native.algorithms`.

        Args:
            x: [..., *domain]; None (for a linear F, whose J is the same everywhere): zeros.
            eps: stop where no value grows by more than this share. A small gap between the first
                two singular values takes long to resolve, but then either will do.
            max_iter: products with J'J at most.

        Returns:
            [...] without a gradient.

        Raises:
            ValueError: x of another shape.
        """
        x = self._point(x)
        with torch.no_grad():
            d = self._direction(x, self.domain, 0)
            size = self._lengths(d, self.domain)
            last = torch.zeros_like(size)
            for _ in range(max_iter):
                d = d / self._over(size, self.domain).clamp(min=torch.finfo(x.dtype).tiny)
                image = self.jvp(x, d)
                value = self._lengths(image, self.range)
                if bool((value - last <= eps * value).all()):
                    break
                last = value
                d = self.vjp(x, image)
                size = self._lengths(d, self.domain)
            return value

    def gradcheck(self, x: Tensor, *, rtol: float | None = None) -> bool:
        """Whether `jvp` is the derivative of F at x, by differences, and `vjp` its transpose.

        For the tests of an operator of your own: a wrong `apply_adjoint` trains a network to
        something, without a word. (`Preconditioned` fails it by design.)

        Args:
            x: [..., *domain], a point where F is smooth.
            rtol: allowed relative error. Default 1e-6 in float64, 1e-2 in float32, where
                differences are coarse.

        Returns:
            True.

        Raises:
            ValueError: they differ; the message says which, and by how much.
        """
        self.check("x", x, self.domain)
        rough = x.dtype != torch.float64
        rtol = (1e-2 if rough else 1e-6) if rtol is None else rtol
        with torch.no_grad():
            dx = self._direction(x, self.domain, 0)
            moved = self.jvp(x, dx)
            step = torch.finfo(x.dtype).eps ** (1 / 3) * (1 + float(x.abs().max()))
            difference = (self(x + step * dx) - self(x - step * dx)) / (2 * step)
            dy = self._direction(moved, self.range, 1)
            back = self.vjp(x, dy)
            sides = float((moved * dy).sum()), float((dx * back).sum())
        error, size = float((moved - difference).norm()), float(difference.norm())
        if not error <= rtol * max(size, 1e-30):
            raise ValueError(
                f"{self._name}: jvp is not the derivative of F: ||J dx - difference|| = "
                f"{error:.2g} with ||difference|| = {size:.2g}"
            )
        scale = float(moved.norm() * dy.norm() + dx.norm() * back.norm())
        if not abs(sides[0] - sides[1]) <= rtol * max(scale, 1e-30):
            raise ValueError(
                f"{self._name}: vjp is not the transpose of jvp: <J dx, dy> = {sides[0]:.6g}, "
                f"<dx, J'dy> = {sides[1]:.6g}"
            )
        return True

    def extra_repr(self) -> str:
        """Shapes and settings."""
        return f"domain={list(self.domain)}, range={list(self.range)}"

    # helpers

    @property
    def _name(self) -> str:
        return type(self).__name__

    def check(self, what: str, tensor: Tensor, shape: torch.Size) -> Tensor:
        """The tensor, if it ends in `shape` and the operator can take its numbers."""
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{self._name}: {what} must be a tensor, got {type(tensor).__name__}")
        if tensor.layout != torch.strided:
            raise TypeError(f"{self._name}: {what} must be dense, got layout {tensor.layout}")
        if not (tensor.dtype.is_floating_point or tensor.dtype.is_complex):
            raise TypeError(
                f"{self._name}: {what} must be a floating-point tensor, got {tensor.dtype}"
            )
        self._check_home(what, tensor)
        if tensor.dim() < len(shape) or tensor.shape[tensor.dim() - len(shape) :] != shape:
            sizes = ", ".join(map(str, shape))
            raise ValueError(
                f"{self._name}: {what} must be [..., {sizes}], got {list(tensor.shape)}"
            )
        return tensor

    def _check_home(self, what: str, tensor: Tensor) -> None:
        home = self.home()
        if home is None:
            return
        kind = tensor.device.type
        if tensor.device != home.device:
            raise ValueError(
                f"{self._name}: {what} must be on {home.device} as the operator is, "
                f"got {tensor.device}"
            )
        mixed = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        if tensor.dtype != home.dtype and not mixed:
            raise TypeError(
                f"{self._name}: {what} must be {home.dtype} as the operator is (its .to(dtype) "
                f"changes that), got {tensor.dtype}"
            )

    def _common(
        self, left: str, a: Tensor, a_shape: torch.Size, right: str, b: Tensor, b_shape: torch.Size
    ) -> torch.Size:
        """Leading dimensions of two arguments that fit each other."""
        self.check(left, a, a_shape)
        self.check(right, b, b_shape)
        if a.dtype != b.dtype or a.device != b.device:
            raise TypeError(
                f"{self._name}: {left} and {right} must have one dtype and device, got "
                f"{a.dtype} on {a.device} and {b.dtype} on {b.device}"
            )
        first, second = self._lead(a, a_shape), self._lead(b, b_shape)
        if first == second:
            return first
        try:
            lead: torch.Size = torch.broadcast_shapes(first, second)  # type: ignore[no-untyped-call]
        except RuntimeError:
            raise ValueError(
                f"{self._name}: leading dimensions of {left} and {right} must broadcast, got "
                f"{list(a.shape)} and {list(b.shape)}"
            ) from None
        return lead

    @staticmethod
    def _lead(tensor: Tensor, shape: torch.Size) -> torch.Size:
        return tensor.shape[: tensor.dim() - len(shape)]

    def _point(self, x: Tensor | None) -> Tensor:
        """The point, or zeros like the operator's own numbers."""
        if x is not None:
            return self.check("x", x, self.domain)
        for tensor in itertools.chain(self.parameters(), self.buffers()):
            if tensor.dtype.is_floating_point:
                return tensor.new_zeros(self.domain)
        return torch.zeros(self.domain)

    def _direction(self, like: Tensor, shape: torch.Size, seed: int) -> Tensor:
        """A random direction, always the same, for every item of `like` [..., *shape]."""
        draw = torch.randn(
            shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        return draw.to(like).expand(*self._lead(like, shape), *shape)

    def _lengths(self, tensor: Tensor, shape: torch.Size) -> Tensor:
        """[...] the norms of [..., *shape]."""
        out: Tensor = tensor.flatten(tensor.dim() - len(shape)).norm(dim=-1)
        return out

    @staticmethod
    def _over(value: Tensor, shape: torch.Size) -> Tensor:
        return value.reshape(*value.shape, *(1,) * len(shape))

    def _rows(self, tensor: Tensor, shape: torch.Size) -> Tensor:
        """[items, numbers]."""
        return tensor.reshape(math.prod(self._lead(tensor, shape)), math.prod(shape))


def _vjp(function: Callable[[Tensor], Tensor], x: Tensor, dy: Tensor) -> Tensor:
    gradient: Tensor = torch.func.vjp(function, x)[1](dy)[0]
    return gradient


class TorchOperator(Operator):
    """Any torch function as an operator; derivatives by ``torch.func``.

    Args:
        function: [..., *domain] to [..., *range], differentiable, acting on each item of the
            leading dimensions by itself; an ``nn.Module`` is kept as a submodule.
        domain: shape of x, without batch dimensions
        range: shape of F(x); None: found out by a call on zeros.

    Example::

        square = TorchOperator(lambda x: x[..., :3].square(), domain=(5,))
        g = square.gradient(x, y)
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        domain: Sequence[int],
        range: Sequence[int] | None = None,
    ) -> None:
        if range is None:
            with torch.no_grad():
                range = function(torch.zeros(1, *domain)).shape[1:]
        super().__init__(domain, range)
        self.function = function

    def apply_operator(self, x: Tensor) -> Tensor:
        """F(x)."""
        y = self.function(x)
        expected = (*self._lead(x, self.domain), *self.range)
        if tuple(y.shape) != expected:
            raise ValueError(
                f"{self._name}: function gave {list(y.shape)} for x {list(x.shape)}, "
                f"not {list(expected)}"
            )
        return y
