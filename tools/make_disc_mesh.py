"""Make the disc meshes that the package ships, python/lpgd_native/data/disc_*.npz, with gmsh.

    pip install 'lpgd-native[meshes]'
    python tools/make_disc_mesh.py

Node 0 is at (-1, 0); the boundary goes on clockwise, as in DuNets-RMA. Electrode l of `electrodes`
is a node; row l of `arcs` are the nodes of the same electrode with a width, for the complete
electrode model.
"""

from __future__ import annotations

import math
from pathlib import Path

import gmsh
import numpy as np

from lpgd_native.operators import Mesh

FOLDER = Path(__file__).parents[1] / "python" / "lpgd_native" / "data"
ELECTRODES = 16


def disc(boundary: int, inside: float) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 2], the `boundary` ones on the circle first, and triangles [T, 3]."""
    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.option.setNumber("Mesh.Algorithm", 6)  # frontal Delaunay
        gmsh.option.setNumber("Mesh.RandomSeed", 1)
        gmsh.option.setNumber("Mesh.Smoothing", 20)
        gmsh.option.setNumber("Mesh.MeshSizeExtendFromBoundary", 0)
        geometry = gmsh.model.geo
        angles = math.pi - 2 * math.pi * np.arange(boundary) / boundary
        corners = [geometry.addPoint(math.cos(a), math.sin(a), 0, inside) for a in angles]
        lines = [
            geometry.addLine(a, b) for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)
        ]
        geometry.addPlaneSurface([geometry.addCurveLoop(lines)])
        geometry.synchronize()
        for line in lines:
            gmsh.model.mesh.setTransfiniteCurve(line, 2)
        gmsh.option.setNumber("Mesh.MeshSizeMax", inside)
        gmsh.model.mesh.generate(2)
        tags, coordinates, _ = gmsh.model.mesh.getNodes()
        _, triangles = gmsh.model.mesh.getElementsByType(2)
    finally:
        gmsh.finalize()
    order = np.argsort(tags)
    points = coordinates.reshape(-1, 3)[order, :2]
    triangles = np.searchsorted(tags[order], triangles).reshape(-1, 3)[
        :, ::-1
    ]  # the loop is clockwise
    points[:boundary] = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return points, triangles


def hilbert(points: np.ndarray, bits: int = 10) -> np.ndarray:
    """Where points of [-1, 1]^2 are along Hilbert's curve."""
    size = 2**bits
    x, y = np.clip((points + 1) / 2 * size, 0, size - 1).astype(np.int64).T
    along = np.zeros(len(points), dtype=np.int64)
    for step in (2**k for k in reversed(range(bits))):
        right, up = (x & step) > 0, (y & step) > 0
        along += step * step * ((3 * right) ^ up)
        turned = right & ~up
        x, y = np.where(turned, size - 1 - x, x), np.where(turned, size - 1 - y, y)
        x, y = np.where(up, x, y), np.where(up, y, x)
    return along


def main() -> None:
    """Write both meshes and print their quality."""
    FOLDER.mkdir(exist_ok=True)
    for name, boundary, inside in (("coarse", 64, 0.10725), ("fine", 256, 0.0272)):
        points, triangles = disc(boundary, inside)
        # neighbours in the mesh are near each other in the order: networks convolve along it
        triangles = triangles[np.argsort(hilbert(points[triangles].mean(axis=1)))]
        electrodes = np.arange(ELECTRODES) * (boundary // ELECTRODES)
        half = boundary // ELECTRODES // 4  # electrodes cover half of the circle
        arcs = (electrodes[:, None] + np.arange(-half, half + 1)) % boundary
        mesh = Mesh(points, triangles, electrodes, arcs)
        np.savez_compressed(
            FOLDER / f"disc_{name}.npz",
            points=mesh.points,
            triangles=mesh.triangles.astype(np.int16),
            electrodes=electrodes.astype(np.int16),
            arcs=arcs.astype(np.int16),
        )
        size = (FOLDER / f"disc_{name}.npz").stat().st_size
        print(f"{name}: {size} bytes, {mesh.quality()}")


if __name__ == "__main__":
    main()
