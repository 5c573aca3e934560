"""``lpgd-native reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpgd_native.cli.console import console, output_option

__all__ = ["command"]


def command(
    voltages: Annotated[
        Path, typer.Option("--voltages", help="CSV, a measurement a line, drive by drive.")
    ],
    mesh: Annotated[
        Path | None, typer.Option("--mesh", help="npz of Mesh.save (default: the coarse disc).")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="A file of models/ in the study's folder.")
    ] = None,
    output: Annotated[Path, output_option("Folder of the results.")] = Path("reconstruction"),
    contact: Annotated[
        float | None,
        typer.Option("--contact", help="Contact impedance (complete electrode model)."),
    ] = None,
    drive: Annotated[
        str, typer.Option("--drive", help="adjacent, opposite, skip-k, trigonometric.")
    ] = "adjacent",
    measure: Annotated[str, typer.Option("--measure", help="Likewise.")] = "adjacent",
) -> int:
    """Conductivities from measured voltages, by electrical impedance tomography.

    By a network of the EIT study, or by Gauss-Newton where none is given; writes conductivity.csv,
    .vtu and .png.

    Examples:
        lpgd-native reconstruct --voltages v.csv
        lpgd-native reconstruct --mesh mesh.npz --voltages v.csv --model eit/models/LPD-RMA.pt
    """
    from lpgd_native.experiments import eit_reconstruct

    try:
        found = eit_reconstruct.reconstruct(
            mesh, voltages, model, output, contact=contact, drive=drive, measure=measure
        )
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    where = console()
    for text in (*(f"{file} written" for file in found.files), *found.skipped):
        where.print(text, markup=False, highlight=False, soft_wrap=True)
    return 0
