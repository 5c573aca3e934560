"""Arrays that are affine in the parameters, applied in torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Affine"]

# below so many entries a product with the dense map is faster than gathers
_MOST_DENSE = 1 << 16


@dataclass
class Affine:
    """An array ``base + sum_k coef_k p[column_k]`` at ``position_k``, of a parameter vector p.

    Positions count the entries of the array row by row. An entry of `base` that is infinite has no
    linear part.
    """

    shape: tuple[int, ...]
    base: NDArray[np.float64]
    position: NDArray[np.int64]
    column: NDArray[np.int64]
    coef: NDArray[np.float64]
    columns: int
    _tensors: dict[Any, dict[str, Tensor]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        order = np.argsort(self.position, kind="stable")
        self.position, self.column = self.position[order], self.column[order]
        self.coef = self.coef[order]
        # one parameter an entry: a gather, with no sum to make
        self._single = bool((np.diff(self.position) > 0).all())
        self._dense = not self._single and self.base.size * self.columns <= _MOST_DENSE

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tensors": {}}

    @property
    def constant(self) -> bool:
        """No entry depends on a parameter."""
        return self.position.size == 0

    def __call__(self, p: Tensor) -> Tensor:
        """The array [..., *shape] at parameters p [..., columns]; constant ones have no batch."""
        parts = self._on(p)
        base = parts["base"]
        if self.constant:
            return base.reshape(self.shape)
        lead = p.shape[:-1]
        if self._dense:
            return (p @ parts["map"] + base).reshape(*lead, *self.shape)
        values = p.index_select(-1, parts["column"]) * parts["coef"]
        if self._single:
            values = values + parts["at"]
            if values.shape[-1] < base.shape[-1]:
                values = base.expand(*lead, -1).index_copy(-1, parts["position"], values)
        else:
            values = base.expand(*lead, -1).index_add(-1, parts["position"], values)
        return values.reshape(*lead, *self.shape)

    def _on(self, p: Tensor) -> dict[str, Tensor]:
        """The tensors of this map in the dtype and on the device of p."""
        key = (p.dtype, p.device)
        found = self._tensors.get(key)
        if found is None:
            floats = {"base": self.base, "coef": self.coef, "at": self.base[self.position]}
            if self._dense:
                floats["map"] = np.zeros((self.columns, self.base.size))
                np.add.at(floats["map"], (self.column, self.position), self.coef)
            found = {
                name: torch.from_numpy(array).to(p.device, p.dtype)
                for name, array in floats.items()
            }
            found["position"] = torch.from_numpy(self.position).to(p.device)
            found["column"] = torch.from_numpy(self.column).to(p.device)
            self._tensors[key] = found
        return found
