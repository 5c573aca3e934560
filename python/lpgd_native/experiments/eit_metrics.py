"""How near a reconstruction is: errors, PSNR, structural similarity on the mesh."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lpgd_native.operators import EIT, Mesh

__all__ = ["MeshSimilarity", "dynamic_range", "mse", "psnr", "relative_error", "voltage_error"]


def mse(x: Tensor, truth: Tensor) -> Tensor:
    """[...]: mean squared error over the elements."""
    out: Tensor = (x - truth).square().mean(-1)
    return out


def psnr(x: Tensor, truth: Tensor, data_range: float | None = None) -> Tensor:
    """[...]: 10 log10(range^2 / mse) in dB; range: None is that of each truth."""
    span = truth.amax(-1) - truth.amin(-1) if data_range is None else data_range
    out: Tensor = 10 * torch.log10(torch.as_tensor(span).square() / mse(x, truth))
    return out


def relative_error(x: Tensor, truth: Tensor) -> Tensor:
    """[...]: ||x - truth||_2 / ||truth||_2."""
    error: Tensor = (x - truth).norm(dim=-1) / truth.norm(dim=-1)
    return error


def voltage_error(x: Tensor, y: Tensor, operator: EIT, minimum: float = 0.05) -> Tensor:
    """[...]: ||y - F(x)||_1 / ||y||_1, x being kept at least `minimum`."""
    values = operator(x.double().clamp_min(minimum))
    error: Tensor = (values - y).abs().sum(-1) / y.abs().sum(-1)
    return error


def dynamic_range(x: Tensor, truth: Tensor) -> Tensor:
    """[...]: that of x in percent of the truth's."""
    return 100 * (x.amax(-1) - x.amin(-1)) / (truth.amax(-1) - truth.amin(-1))


class MeshSimilarity:
    """Structural similarity (Wang et al. 2004) where the window of an element is its neighbours.

    Neighbours share a node with it; it is none of them. With means, deviations and covariance over
    the window, c1 = 0.01^2 max(truth), c2 = 0.03^2 max(truth) as in DuNets-RMA (theirs are not
    squared):

        (2 mu mu' + c1)(2 cov + c2) / ((mu^2 + mu'^2 + c1)(std^2 + std'^2 + c2)),  averaged.
    """

    def __init__(self, mesh: Mesh) -> None:
        count = len(mesh.triangles)
        element = np.repeat(np.arange(count), 3)
        node = mesh.triangles.ravel()
        order = np.argsort(node, kind="stable")
        element, node = element[order], node[order]
        start = np.searchsorted(node, np.arange(len(mesh.points) + 1))
        pairs = [
            np.stack(np.meshgrid(part, part, indexing="ij"), axis=-1).reshape(-1, 2)
            for part in np.split(element, start[1:-1])
        ]
        all_pairs = np.unique(np.concatenate(pairs), axis=0)
        all_pairs = all_pairs[all_pairs[:, 0] != all_pairs[:, 1]]
        self.row = torch.from_numpy(all_pairs[:, 0])
        self.column = torch.from_numpy(all_pairs[:, 1])
        self.size = torch.bincount(self.row, minlength=count).clamp_min(1)

    def _mean(self, x: Tensor) -> Tensor:
        out = x.new_zeros(x.shape).index_add(-1, self.row, x[..., self.column])
        return out / self.size

    def __call__(self, x: Tensor, truth: Tensor) -> Tensor:
        """[...] for x and truth [..., T]."""
        x, truth = x.double(), truth.double()
        top = truth.amax(-1, keepdim=True)
        c1, c2 = 0.01**2 * top, 0.03**2 * top
        mean, other = self._mean(x), self._mean(truth)
        variance = (self._mean(x.square()) - mean.square()).clamp_min(0)
        other_variance = (self._mean(truth.square()) - other.square()).clamp_min(0)
        covariance = self._mean(x * truth) - mean * other
        similarity = (2 * mean * other + c1) * (2 * covariance + c2)
        similarity /= (mean.square() + other.square() + c1) * (variance + other_variance + c2)
        return similarity.mean(-1)
