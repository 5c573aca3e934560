"""The two models of electrodes, as cells of three unknowns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpgd_native._eit_plan import EitPlan, make_plan
from lpgd_native.operators.mesh import Mesh

__all__ = ["complete_plan", "point_plan"]


def _triangle_coefficients(mesh: Mesh) -> NDArray[Any]:
    """[T, 3]: of a triangle's stiffness matrix B B' / (4 area), minus the entries 01, 02, 12."""
    corners = mesh.points[mesh.triangles]
    sides = np.roll(corners, 1, axis=1) - np.roll(corners, -1, axis=1)  # opposite to each corner
    products = [-(sides[:, i] * sides[:, j]).sum(-1) for i, j in ((0, 1), (0, 2), (1, 2))]
    coefficients: NDArray[Any] = np.stack(products, axis=1) / (4 * mesh.areas[:, None])
    return coefficients


def point_plan(mesh: Mesh) -> EitPlan:
    """Cells are triangles; an electrode is a node."""
    if mesh.electrodes is None:
        raise ValueError("EIT: the mesh has no electrodes")
    return make_plan(mesh.triangles, _triangle_coefficients(mesh), mesh.points, mesh.electrodes)


def complete_plan(mesh: Mesh) -> tuple[EitPlan, NDArray[Any]]:
    """Cells are triangles, then edges under electrodes, whose third unknown is the electrode.

    The form 1/z int (u - U)(v - V) over an edge of length h: h/3 and h/6 between its nodes, -h/2
    between a node and the electrode, h at the electrode.
    """
    edges = mesh.arc_edges()
    nodes = len(mesh.points)
    owner = np.repeat(np.arange(len(edges)), [len(part) for part in edges])
    ends = np.concatenate(edges)
    length = np.linalg.norm(mesh.points[ends[:, 0]] - mesh.points[ends[:, 1]], axis=1)
    cells = np.concatenate([mesh.triangles, np.column_stack([ends, nodes + owner])])
    of_edges = length[:, None] * np.array([-1 / 6, 1 / 2, 1 / 2])
    coefficients = np.concatenate([_triangle_coefficients(mesh), of_edges])
    middles = np.stack([mesh.points[part].mean(axis=(0, 1)) for part in edges])
    where = np.concatenate([mesh.points, middles])
    return make_plan(cells, coefficients, where, nodes + np.arange(len(edges))), owner
