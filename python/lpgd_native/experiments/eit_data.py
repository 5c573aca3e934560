"""Phantoms and voltages of the EIT study: discs, polygons, smooth blobs in a background of 1.

Section 4.2 of DuNets-RMA (Zhou, Qian, Tang & Li 2024): 2, 3 or 4 disc inclusions with
conductivities (2, 0.5), (2, 1.5, 0.5), (2, 1.5, 0.5, 0.3), no two closer than 0.05. A phantom is
drawn as a shape and then put on a mesh, so that the mesh of the data need not be that of the
reconstruction.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpgd_native.operators import EIT, Mesh

__all__ = ["SHAPES", "Data", "DataSettings", "Part", "load", "make", "phantoms"]

Array = NDArray[Any]
SHAPES = ("disc", "polygon", "blob")
VERSION = 1  # of what is drawn: part of the key of stored data


@dataclass(frozen=True)
class Family:
    """How discs are drawn."""

    values: tuple[float, ...]
    reach: float  # centres in (-reach, reach)^2
    radii: tuple[float, float]


FAMILIES = {
    2: Family((2.0, 0.5), 0.6, (0.2, 0.3)),
    3: Family((2.0, 1.5, 0.5), 0.55, (0.15, 0.25)),
    4: Family((2.0, 1.5, 0.5, 0.3), 0.55, (0.15, 0.25)),
}
GAP = 0.05


@dataclass(frozen=True)
class Inclusion:
    """A star-shaped inclusion: radius times outline(angle), an edge `soft` wide."""

    x: float
    y: float
    radius: float
    value: float
    outline: Callable[[Array], Array]
    soft: float = 0.0

    def share(self, at: Array) -> Array:
        """[..]: how much of it there is at points [.., 2], from 0 to 1."""
        dx, dy = at[..., 0] - self.x, at[..., 1] - self.y
        distance = np.hypot(dx, dy)
        edge = self.radius * self.outline(np.arctan2(dy, dx))
        if self.soft == 0:
            inside: Array = (distance < edge).astype(np.float64)
            return inside
        return 1 / (1 + np.exp(np.clip((distance - edge) / (self.soft * self.radius), -50, 50)))


def _circle(angle: Array) -> Array:
    return np.ones_like(angle)


def _polygon(rng: np.random.Generator) -> Callable[[Array], Array]:
    """A polygon of 3 to 6 corners on the circle."""
    count = int(rng.integers(3, 7))
    step = 2 * np.pi / count
    corners = rng.uniform(0, 2 * np.pi) + step * np.arange(count)
    corners = corners + rng.uniform(-0.2, 0.2, count) * step

    def outline(angle: Array) -> Array:
        turned = np.mod(angle - corners[0], 2 * np.pi)
        places = np.concatenate([corners - corners[0], [2 * np.pi]])
        side = np.clip(np.searchsorted(places, turned, side="right") - 1, 0, count - 1)
        low, high = places[side], places[side + 1]
        out: Array = np.cos((high - low) / 2) / np.cos(turned - (low + high) / 2)
        return out

    return outline


def _blob(rng: np.random.Generator) -> Callable[[Array], Array]:
    """A smooth outline of three waves."""
    size, phase = rng.uniform(0, 0.1, 3), rng.uniform(0, 2 * np.pi, 3)

    def outline(angle: Array) -> Array:
        waves = size[:, None] * np.cos(np.arange(1, 4)[:, None] * angle.ravel() + phase[:, None])
        out: Array = (0.8 + waves.sum(axis=0)).reshape(angle.shape)
        return out

    return outline


def draw(inclusions: int, shape: str, rng: np.random.Generator) -> list[Inclusion]:
    """The inclusions of a phantom."""
    family = FAMILIES[inclusions]
    while True:
        centres = rng.uniform(-family.reach, family.reach, (inclusions, 2))
        radii = rng.uniform(*family.radii, inclusions)
        between = np.linalg.norm(centres[:, None] - centres, axis=2)
        least = radii[:, None] + radii + GAP
        if (between >= least)[np.triu_indices(inclusions, 1)].all():
            break
    outline = {"disc": lambda rng: _circle, "polygon": _polygon, "blob": _blob}[shape]
    soft = 0.1 if shape == "blob" else 0.0
    return [
        Inclusion(float(x), float(y), float(r), value, outline(rng), soft)
        for (x, y), r, value in zip(centres, radii, family.values, strict=True)
    ]


def on_mesh(inclusions: list[Inclusion], mesh: Mesh) -> Array:
    """[T]: the conductivity at the centroids."""
    at = mesh.centroids
    out = np.ones(len(at))
    for inclusion in inclusions:
        out += (inclusion.value - 1) * inclusion.share(at)
    return out


def phantoms(
    mesh: Mesh, count: int, *, inclusions: int = 2, seed: int = 0, shape: str = "disc"
) -> Tensor:
    """[count, T] float32 conductivities; a smaller set is the head of a larger one."""
    if inclusions not in FAMILIES:
        raise ValueError(f"phantoms: inclusions must be 2, 3 or 4, got {inclusions}")
    if shape not in SHAPES:
        raise ValueError(f"phantoms: shape must be one of {', '.join(SHAPES)}, got {shape!r}")
    rows = np.empty((count, len(mesh.triangles)), dtype=np.float32)
    for index in range(count):
        rng = np.random.default_rng([seed, inclusions, SHAPES.index(shape), index])
        rows[index] = on_mesh(draw(inclusions, shape, rng), mesh)
    return torch.from_numpy(rows)


@dataclass(frozen=True)
class DataSettings:
    """What data there is to be."""

    inclusions: int = 2
    shape: str = "disc"
    honest: bool = False
    """False: data from the mesh of the reconstruction, no noise, as published (inverse crime)"""
    noise: float = 0.5
    """In the honest setting: standard deviation in percent of each voltage"""
    sizes: tuple[int, int, int] = (400, 50, 100)
    """Training, validation, test: disjoint"""
    seed: int = 0


class Part(NamedTuple):
    """Conductivities [N, T], voltages [N, m], Gauss-Newton's reconstructions [N, T]; float32."""

    x: Tensor
    y: Tensor
    start: Tensor


class Data(NamedTuple):
    """The three sets."""

    train: Part
    validation: Part
    test: Part


def make(settings: DataSettings, operator: EIT, fine: EIT | None = None) -> Data:
    """Draw and simulate. `fine`: the operator of the honest data; None: the package's fine disc.

    Honest voltages are calibrated as those of a device are: multiplied by what the two models give
    for the homogeneous disc, so that the difference of the meshes at the point electrodes is taken
    out to first order. Then comes the noise.
    """
    if settings.honest and fine is None:
        fine = EIT(Mesh.disc("fine"))
    parts = []
    for number, size in enumerate(settings.sizes):
        drawn: dict[str, Any] = {"inclusions": settings.inclusions, "shape": settings.shape}
        drawn["seed"] = 3 * settings.seed + number
        x = phantoms(operator.mesh, size, **drawn)
        if settings.honest:
            assert fine is not None
            y = voltages(phantoms(fine.mesh, size, **drawn).double(), fine)
            ones = (torch.ones(o.domain, dtype=torch.float64) for o in (operator, fine))
            y = y * (operator(next(ones)) / fine(next(ones)))
            rng = np.random.default_rng([settings.seed, number, 77])
            noise = torch.from_numpy(rng.standard_normal(y.shape))
            y = y + settings.noise / 100 * y.abs() * noise
        else:
            y = voltages(x.double(), operator)
        start = operator.gauss_newton(y)
        parts.append(Part(x, y.float(), start.float()))
    return Data(*parts)


def voltages(x: Tensor, operator: EIT) -> Tensor:
    """F(x), some samples at a time."""
    parts = [operator(part) for part in torch.split(x, 64)]
    return torch.cat(parts) if parts else x.new_zeros(0, *operator.range)


def load(
    settings: DataSettings, operator: EIT, folder: Path | None, fine: EIT | None = None
) -> Data:
    """`make`, or what an earlier call has left in `folder` (None: nothing is kept).

    The file's name is a hash of the settings and the meshes, the file holds a hash of its content:
    one that is damaged, cut off or of other data is made again, never used. It is written under
    another name and moved, so that there is no half of one.
    """
    if folder is None:
        return make(settings, operator, fine)
    path = folder / f"eit-{key(settings, operator, fine)}.npz"
    found = _read(path)
    if found is not None:
        return found
    data = make(settings, operator, fine)
    arrays = {
        f"{name}_{field}": getattr(part, field).numpy()
        for name, part in data._asdict().items()
        for field in Part._fields
    }
    folder.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=folder, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o644)  # mkstemp's is for the owner alone
            np.savez(file, **arrays, digest=np.array(_digest(arrays)))
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)
    return data


def key(settings: DataSettings, operator: EIT, fine: EIT | None = None) -> str:
    """The name of data: settings, meshes and patterns."""
    hashed = hashlib.sha256(json.dumps([VERSION, asdict(settings)], sort_keys=True).encode())
    for o in (operator, fine):
        if o is not None:
            for array in (o.mesh.points, o.mesh.triangles, *(t.numpy() for t in o._mesh)):
                hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()[:20]


def _digest(arrays: dict[str, Array]) -> str:
    hashed = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        hashed.update(f"{name}{array.dtype}{array.shape}".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()


def _read(path: Path) -> Data | None:
    if not path.exists():
        return None
    try:
        # opened here: numpy leaves the file open where the archive is damaged
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if str(arrays.pop("digest")) != _digest(arrays):
            return None
        parts = [
            Part(*(torch.from_numpy(arrays[f"{name}_{field}"]) for field in Part._fields))
            for name in Data._fields
        ]
    except Exception:  # whatever a damaged archive makes numpy or zipfile raise
        return None
    return Data(*parts)
