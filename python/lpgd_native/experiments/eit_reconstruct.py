"""Reconstruction of a user's own voltages: CSV in; CSV, VTU and PNG out."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lpgd_native.experiments.eit import MINIMUM, network
from lpgd_native.experiments.eit_data import Part
from lpgd_native.experiments.eit_report import show
from lpgd_native.experiments.eit_train import predict
from lpgd_native.operators import EIT, Mesh

__all__ = ["Reconstruction", "read_voltages", "reconstruct"]


@dataclass(frozen=True)
class Reconstruction:
    """What `reconstruct` found and wrote."""

    x: Tensor
    """[N, T]"""
    files: tuple[Path, ...]
    skipped: tuple[str, ...]
    """What was not written, and why"""


def read_voltages(path: Path, count: int) -> Tensor:
    """[N, count] float64: a measurement a line, numbers with commas; a first line of words is
    skipped.

    Raises:
        ValueError: a line with another count of numbers, or something in it that is no finite
            number.
    """
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        cells = [cell.strip() for cell in line.split(",")]
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            values = [float(cell) for cell in cells]
        except ValueError:
            if not rows and number == 1:
                continue  # names of the columns
            bad = next(i for i, cell in enumerate(cells) if not _is_number(cell))
            raise ValueError(
                f"{path}, line {number}: voltage {bad} is {cells[bad]!r}, not a number"
            ) from None
        if len(values) != count:
            raise ValueError(
                f"{path}, line {number}: {len(values)} voltages, the mesh and pattern have {count}"
            )
        bad = next((i for i, value in enumerate(values) if not np.isfinite(value)), -1)
        if bad >= 0:
            raise ValueError(f"{path}, line {number}: voltage {bad} is {values[bad]}, not finite")
        rows.append(values)
    if not rows:
        raise ValueError(f"{path} has no voltages")
    return torch.tensor(rows, dtype=torch.float64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def reconstruct(
    mesh: Mesh | Path | None,
    voltages: Path,
    model: Path | None = None,
    out: Path = Path("reconstruction"),
    *,
    contact: float | Sequence[float] | None = None,
    drive: str = "adjacent",
    measure: str = "adjacent",
) -> Reconstruction:
    """Conductivities from measured voltages, by a network of the study or by Gauss-Newton.

    Args:
        mesh: a mesh or its npz file (`Mesh.save`); None: the package's coarse disc
        voltages: CSV, a measurement a line, in the order of `EIT`
        model: a network that ``lpgd-native train eit`` has left in ``models/``; it is for the mesh
            and the patterns of the study. None: Gauss-Newton.
        out: folder for conductivity.csv, conductivity.vtu and conductivity.png
        contact: contact impedances (complete electrode model), as in `EIT`
        drive: as in `EIT`
        measure: as in `EIT`

    Raises:
        ValueError: voltages that don't fit, a model for another mesh.
    """
    if not isinstance(mesh, Mesh):
        mesh = Mesh.disc() if mesh is None else Mesh.load(mesh)
    operator = EIT(mesh, contact=contact, drive=drive, measure=measure, minimum=MINIMUM)
    y = read_voltages(voltages, operator.range[0])
    x = operator.gauss_newton(y)
    if model is not None:
        stored: dict[str, Any] = torch.load(model, weights_only=True)
        sizes = (stored["elements"], stored["voltages"])
        if sizes != (operator.domain[0], operator.range[0]):
            raise ValueError(
                f"{model} is for {sizes[0]} elements and {sizes[1]} voltages, the mesh and pattern "
                f"have {operator.domain[0]} and {operator.range[0]}"
            )
        spec = network(stored["network"])
        trained = spec.build(operator)
        trained.load_state_dict(stored["weights"])
        part = Part(x.float(), y.float(), x.float())
        x = predict(trained, spec, part).double()
    return _write(mesh, x, out)


def _write(mesh: Mesh, x: Tensor, out: Path) -> Reconstruction:
    out.mkdir(parents=True, exist_ok=True)
    files, skipped = [out / "conductivity.csv"], []
    names = [f"sample{i}" for i in range(len(x))]
    table = np.column_stack([np.arange(len(mesh.triangles)), mesh.centroids, x.numpy().T])
    header = ",".join(["element", "x", "y", *names])
    np.savetxt(
        files[0],
        table,
        delimiter=",",
        header=header,
        comments="",
        fmt=["%d", *["%.17g"] * (2 + len(x))],
    )
    if importlib.util.find_spec("meshio"):
        files.append(out / "conductivity.vtu")
        mesh.write(files[-1], **dict(zip(names, x.numpy(), strict=True)))
    else:
        skipped.append("conductivity.vtu: needs pip install 'lpgd-native[meshes]'")
    if importlib.util.find_spec("matplotlib"):
        files.append(out / "conductivity.png")
        show(mesh, [("", x[:8])], files[-1], titles=False)
    else:
        skipped.append("conductivity.png: needs pip install 'lpgd-native[experiments]'")
    return Reconstruction(x, tuple(files), tuple(skipped))
