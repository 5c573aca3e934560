"""Triangle meshes with electrodes on their boundary."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Mesh", "MeshQuality"]

Array = NDArray[Any]


@dataclass(frozen=True)
class MeshQuality:
    """Angles in degrees; shape is 2 r / R of the inscribed and circumscribed circles (1:
    equilateral).
    """

    nodes: int
    elements: int
    min_angle: float
    mean_min_angle: float
    max_angle: float
    min_shape: float
    area_ratio: float
    """Largest over smallest area."""

    def __str__(self) -> str:
        return (
            f"{self.elements} elements, {self.nodes} nodes, angles {self.min_angle:.1f} to "
            f"{self.max_angle:.1f} degrees (smallest of an element: {self.mean_min_angle:.1f} on "
            f"average), shape at least {self.min_shape:.2f}, areas within a factor of "
            f"{self.area_ratio:.1f}"
        )


class Mesh:
    """Points, triangles and where electrodes are.

    Args:
        points: [N, 2] coordinates
        triangles: [T, 3] indices of points, counterclockwise
        electrodes: [L] a node of the boundary for each electrode (point electrodes)
        arcs: for each electrode the two or more nodes of the boundary that it covers (complete
            electrode model); a sequence of L sequences. Neighbouring nodes among them are the edges
            that it covers.

    Raises:
        ValueError: indices out of range; numbers that are not finite; an inverted or flat element;
            an isolated node; a mesh in several pieces; an electrode off the boundary or twice on a
            node or edge. The message says which and where.
    """

    def __init__(
        self,
        points: ArrayLike,
        triangles: ArrayLike,
        electrodes: ArrayLike | None = None,
        arcs: Sequence[ArrayLike] | Array | None = None,
    ) -> None:
        self.points: Array = np.ascontiguousarray(points, dtype=np.float64)
        self.triangles: Array = _integers("triangles", triangles)
        if self.points.ndim != 2 or self.points.shape[1] != 2:
            raise ValueError(f"Mesh: points must be [N, 2], got {list(self.points.shape)}")
        if self.triangles.ndim != 2 or self.triangles.shape[1] != 3 or not len(self.triangles):
            raise ValueError(f"Mesh: triangles must be [T, 3], got {list(self.triangles.shape)}")
        self._check_elements()
        self.boundary: Array = self._boundary()
        """[B, 2] edges of one triangle only."""
        self.electrodes: Array | None = None
        if electrodes is not None:
            self.electrodes = _integers("electrodes", electrodes)
            self._check_electrodes(self.electrodes)
        self.arcs: tuple[Array, ...] | None = None
        if arcs is not None:
            self.arcs = tuple(_integers("arcs", arc) for arc in arcs)
            self.arc_edges()  # checks

    @staticmethod
    def disc(resolution: str = "coarse") -> Mesh:
        """A unit disc with 16 electrodes: "coarse" (about 690 elements) or "fine" (about 10,000).

        Electrode l is at (-cos(2 pi l/16), sin(2 pi l/16)), as in DuNets-RMA, and covers half of
        the circle's sixteenth around it in the complete electrode model.
        """
        if resolution not in ("coarse", "fine"):
            raise ValueError(f"Mesh.disc: resolution must be coarse or fine, got {resolution!r}")
        with as_file(files("lpgd_native") / "data" / f"disc_{resolution}.npz") as path:
            return Mesh.load(path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Mesh:
        """A mesh that `save` wrote: npz with points, triangles, and electrodes or arcs if it has
        them.
        """
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in ("points", "triangles") if name not in archive]
            if missing:
                raise ValueError(f"Mesh.load: {path} has no array {missing[0]!r}")
            arcs = archive.get("arcs")
            if arcs is not None:  # rows are filled up with -1
                arcs = [row[row >= 0] for row in arcs]
            return Mesh(archive["points"], archive["triangles"], archive.get("electrodes"), arcs)

    def save(self, path: str | PathLike[str]) -> None:
        """Write npz, for `load`."""
        arrays: dict[str, Any] = {"points": self.points, "triangles": self.triangles}
        if self.electrodes is not None:
            arrays["electrodes"] = self.electrodes
        if self.arcs is not None:
            rows = np.full((len(self.arcs), max(map(len, self.arcs))), -1)
            for row, arc in zip(rows, self.arcs, strict=True):
                row[: len(arc)] = arc
            arrays["arcs"] = rows
        np.savez_compressed(path, **arrays)

    @staticmethod
    def read(
        path: str | PathLike[str],
        electrodes: ArrayLike | None = None,
        arcs: Sequence[ArrayLike] | None = None,
    ) -> Mesh:
        """The triangles of a file that meshio reads (``.msh``, ``.vtu``, ``.xdmf``, ``.stl``...).

        Nodes that no triangle uses are dropped, clockwise triangles turned; the first two
        coordinates are kept. `electrodes` and `arcs` are indices into the file's own points. Needs
        ``pip install 'lpgd-native[meshes]'``.
        """
        found = _meshio().read(path)
        parts = [block.data for block in found.cells if block.type == "triangle"]
        if not parts:
            raise ValueError(f"Mesh.read: {path} has no triangles")
        triangles = np.concatenate(parts).astype(np.int64)
        used, triangles = np.unique(triangles, return_inverse=True)
        triangles = triangles.reshape(-1, 3)
        points = np.asarray(found.points, dtype=np.float64)[used, :2]
        turned = _areas(points, triangles) < 0
        triangles[turned] = triangles[turned][:, [0, 2, 1]]
        number = np.full(len(found.points), -1)
        number[used] = np.arange(len(used))
        return Mesh(
            points,
            triangles,
            None if electrodes is None else number[np.asarray(electrodes)],
            None if arcs is None else [number[np.asarray(arc)] for arc in arcs],
        )

    def write(self, path: str | PathLike[str], **cell_data: ArrayLike) -> None:
        """Write a file of meshio's formats (``.vtu``...), with numbers [T] for the elements by
        name.
        """
        points = np.pad(self.points, ((0, 0), (0, 1)))
        data = {name: [np.asarray(values)] for name, values in cell_data.items()}
        _meshio().Mesh(points, [("triangle", self.triangles)], cell_data=data).write(path)

    @property
    def areas(self) -> Array:
        """[T]"""
        return _areas(self.points, self.triangles)

    @property
    def centroids(self) -> Array:
        """[T, 2]"""
        centroids: Array = self.points[self.triangles].mean(axis=1)
        return centroids

    def quality(self) -> MeshQuality:
        """How good the elements are."""
        corners = self.points[self.triangles]
        sides = np.linalg.norm(np.roll(corners, -1, axis=1) - np.roll(corners, 1, axis=1), axis=2)
        after, before = np.roll(sides, -1, axis=1), np.roll(sides, 1, axis=1)
        cosines = (after**2 + before**2 - sides**2) / (2 * after * before)
        angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
        areas = self.areas
        shape = 16 * areas**2 / (sides.prod(axis=1) * sides.sum(axis=1))
        return MeshQuality(
            nodes=len(self.points),
            elements=len(self.triangles),
            min_angle=float(angles.min()),
            mean_min_angle=float(angles.min(axis=1).mean()),
            max_angle=float(angles.max()),
            min_shape=float(shape.min()),
            area_ratio=float(areas.max() / areas.min()),
        )

    def arc_edges(self) -> list[Array]:
        """The edges [.., 2] of the boundary that each electrode of `arcs` covers."""
        if self.arcs is None:
            raise ValueError("Mesh: the complete electrode model needs arcs, which the mesh lacks")
        edges = {tuple(sorted(edge)) for edge in self.boundary.tolist()}
        taken: dict[tuple[int, ...], int] = {}
        out = []
        for number, arc in enumerate(self.arcs):
            nodes = set(arc.tolist())
            self._check_on_boundary(f"arcs[{number}]", arc)
            covered = sorted(edge for edge in edges if nodes >= set(edge))
            if not covered:
                raise ValueError(
                    f"Mesh: arcs[{number}] = {arc.tolist()} covers no edge of the boundary"
                )
            for edge in covered:
                if edge in taken:
                    raise ValueError(
                        f"Mesh: arcs[{taken[edge]}] and arcs[{number}] both cover the edge "
                        f"{list(edge)}"
                    )
                taken[edge] = number
            out.append(np.array(covered))
        return out

    def __repr__(self) -> str:
        return f"Mesh({len(self.triangles)} elements, {len(self.points)} nodes)"

    # checks

    def _check_elements(self) -> None:
        count = len(self.points)
        bad = np.argwhere(~np.isfinite(self.points))
        if len(bad):
            i, j = bad[0]
            raise ValueError(f"Mesh: points[{i}, {j}] = {self.points[i, j]} is not finite")
        bad = np.argwhere((self.triangles < 0) | (self.triangles >= count))
        if len(bad):
            i, j = bad[0]
            raise ValueError(
                f"Mesh: triangles[{i}, {j}] = {self.triangles[i, j]} is not one of {count} points"
            )
        areas = self.areas
        least = 1e-12 * np.abs(areas).max()
        flat = np.flatnonzero(~(areas > least))
        if len(flat):
            kind = "inverted (clockwise)" if areas[flat[0]] < -least else "flat"
            raise ValueError(f"Mesh: triangle {flat[0]} is {kind}, area {areas[flat[0]]:.3g}")
        unused = np.setdiff1d(np.arange(count), self.triangles)
        if len(unused):
            raise ValueError(f"Mesh: node {unused[0]} is isolated, no triangle has it")
        pieces = _pieces(count, self.triangles)
        if pieces.any():
            element = int(np.flatnonzero(pieces[self.triangles[:, 0]])[0])
            raise ValueError(
                f"Mesh: triangle {element} is isolated from triangle "
                f"{int(np.flatnonzero(pieces[self.triangles[:, 0]] == 0)[0])}, "
                "the mesh must be in one piece"
            )

    def _boundary(self) -> Array:
        corners = np.concatenate([self.triangles[:, [i, (i + 1) % 3]] for i in range(3)])
        edges, first, counts = np.unique(
            np.sort(corners, axis=1), axis=0, return_index=True, return_counts=True
        )
        if (counts > 2).any():
            raise ValueError(
                f"Mesh: the edge {edges[counts > 2][0].tolist()} belongs to "
                f"{counts.max()} triangles"
            )
        outside: Array = corners[first[counts == 1]]
        return outside

    def _check_on_boundary(self, what: str, nodes: Array) -> None:
        off = np.flatnonzero(~np.isin(nodes, self.boundary))
        if len(off):
            raise ValueError(
                f"Mesh: {what}[{off[0]}] = {nodes[off[0]]} is not a node of the boundary"
            )

    def _check_electrodes(self, nodes: Array) -> None:
        if nodes.ndim != 1 or len(nodes) < 2:
            raise ValueError(f"Mesh: electrodes must be [L], L >= 2, got {list(nodes.shape)}")
        self._check_on_boundary("electrodes", nodes)
        values, counts = np.unique(nodes, return_counts=True)
        if (counts > 1).any():
            twice = np.flatnonzero(nodes == values[counts > 1][0])
            raise ValueError(
                f"Mesh: electrodes[{twice[0]}] and electrodes[{twice[1]}] are both node "
                f"{nodes[twice[0]]}"
            )


def _areas(points: Array, triangles: Array) -> Array:
    a, b, c = (points[triangles[:, i]] for i in range(3))
    u, v = b - a, c - a
    areas: Array = 0.5 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    return areas


def _pieces(count: int, triangles: Array) -> Array:
    """[N]: 0 for what hangs together with node 0 of the first triangle, 1 for the rest."""
    label = np.arange(count)
    while True:
        least = label[triangles].min(axis=1)
        new = label.copy()
        for i in range(3):
            np.minimum.at(new, triangles[:, i], least)
        new = new[new]  # halves the way to go
        if np.array_equal(new, label):
            rest: Array = (label != label[triangles[0, 0]]).astype(np.int64)
            return rest
        label = new


def _integers(what: str, values: ArrayLike | Iterable[int]) -> Array:
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"Mesh: {what} must be integers, got {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.int64)


def _meshio() -> Any:
    try:
        return importlib.import_module("meshio")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "meshio is not installed: reading and writing mesh files needs "
            "pip install 'lpgd-native[meshes]'",
            name="meshio",
        ) from error
