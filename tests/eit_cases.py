"""Meshes and operators that the tests of EIT share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from lpgd_native.operators import EIT, Mesh


def small_mesh(rings: int = 3, spokes: int = 6) -> Mesh:
    """A disc of rings: ring r has spokes * r nodes; as many electrodes as spokes."""
    points, index = [(0.0, 0.0)], [[0]]
    for r in range(1, rings + 1):
        count = spokes * r
        index.append(list(range(len(points), len(points) + count)))
        angles = 2 * np.pi * np.arange(count) / count
        points += [(r / rings * np.cos(a), r / rings * np.sin(a)) for a in angles]
    triangles = []
    for r in range(1, rings + 1):
        inner, outer = index[r - 1], index[r]
        for s in range(spokes):
            for k in range(r):
                a, b = outer[s * r + k], outer[(s * r + k + 1) % len(outer)]
                c = inner[(s * (r - 1) + k) % len(inner)]
                triangles.append((a, b, c))
                if k < r - 1:
                    triangles.append((b, inner[(s * (r - 1) + k + 1) % len(inner)], c))
    rim = np.array(index[-1])
    arcs = [rim[[s * rings, s * rings + 1]] for s in range(spokes)]
    return Mesh(points, triangles, rim[::rings], arcs)


def conductivity(operator: EIT, *batch: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(*batch, *operator.domain, generator=generator, dtype=torch.float64)
    return (0.4 + 1.6 * draw).to(dtype)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


MODELS: dict[str, Callable[..., EIT]] = {
    "point": lambda **options: EIT(small_mesh(), **options),
    "point_all": lambda **options: EIT(small_mesh(), drop_driven=False, **options),
    "opposite": lambda **options: EIT(small_mesh(), drive="opposite", **options),
    "skip": lambda **options: EIT(small_mesh(), drive="skip-1", measure="skip-2", **options),
    "trigonometric": lambda **options: EIT(
        small_mesh(), drive="trigonometric", measure="trigonometric", **options
    ),
    "complete": lambda **options: EIT(small_mesh(), contact=0.3, **options),
    "contacts": lambda **options: EIT(
        small_mesh(4, 9),
        contact=torch.linspace(0.05, 2.0, 9),
        drive="trigonometric",  # more drives than a chunk of columns holds
        measure="adjacent",
        **options,
    ),
}


def reference_arguments(operator: EIT):
    """What reference.eit_voltages takes after the weights, for point electrodes."""
    mesh = operator.mesh
    corners = torch.from_numpy(mesh.points[mesh.triangles])
    inverse = torch.linalg.inv(torch.cat([torch.ones(len(corners), 3, 1), corners], dim=-1))
    slopes = inverse[:, 1:]  # gradients of the three hat functions
    local = torch.from_numpy(mesh.areas)[:, None, None] * (slopes.mT @ slopes)
    coefficients = -torch.stack([local[:, 0, 1], local[:, 0, 2], local[:, 1, 2]], dim=1)
    return (
        torch.from_numpy(mesh.triangles),
        coefficients,
        torch.from_numpy(mesh.electrodes),
        len(mesh.points),
        operator.drives,
        operator.measured,
        operator.pairs,
    )
