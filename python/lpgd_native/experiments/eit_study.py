"""The EIT study from end to end: data, training of what is not trained yet, tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lpgd_native.experiments import _files, eit, eit_report, eit_train
from lpgd_native.experiments.eit_data import DataSettings, load

__all__ = ["run"]


def run(
    folder: Path,
    *,
    networks: Sequence[str] = eit.SIX,
    inclusions: Sequence[int] | None = None,
    settings: Sequence[str] = ("crime", "honest"),
    sizes: Sequence[int] | None = None,
    seeds: int | None = None,
    steps: int | None = None,
    shape: str = "disc",
    threads: int | None = None,
    quick: bool = False,
    report: bool = False,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Run the study in `folder`; may be stopped and started again. Returns the tables written.

    With `report`, nothing is trained: tables and pictures are of the runs that are there.

    Raises:
        ValueError: an unknown network, setting, shape or number of inclusions; a training set
            larger than the data.
    """
    specs = [eit.network(name) for name in dict.fromkeys(networks)]
    for setting in settings:
        if setting not in ("crime", "honest"):
            raise ValueError(f"settings must be crime or honest, got {setting!r}")
    base = eit.QUICK if quick else eit.Settings()
    inclusions = inclusions or ((2,) if quick else (2, 4))
    seeds = seeds or (1 if quick else 5)
    if steps is not None:
        base = replace(base, steps=steps)
    if sizes is not None:
        base = replace(base, sizes=tuple(sizes))
    if max(base.sizes) > base.data.sizes[0] or min(base.sizes) < 1:
        raise ValueError(
            f"sizes must be between 1 and {base.data.sizes[0]}, got {list(base.sizes)}"
        )
    if threads:
        torch.set_num_threads(threads)
    operator = eit.make_operator()
    cases = [
        replace(base.data, inclusions=count, honest=setting == "honest", shape=shape)
        for setting in settings
        for count in inclusions
    ]
    total = len(cases) * seeds * len(specs) * len(base.sizes)
    number = 0
    written = []
    finished = {}
    for case in cases:
        data = load(case, operator, folder / "data")
        these = replace(base, data=case)
        for seed in range(0 if report else seeds):
            for size in these.sizes:
                for spec in specs:
                    number += 1
                    result = eit_train.train(spec, size, seed, operator, data, these, folder)
                    say(
                        f"[{number}/{total}] {eit_train.run_name(spec, these, size, seed)}: "
                        f"test {result['mse']:.5f}, {result['seconds']:.0f} s"
                    )
        results = eit_report.Results.read(folder, case, these.steps)
        finished[title(case)] = results
        names = [spec.name for spec in specs]
        scales = eit.gradient_scales(operator, data)
        text = eit_report.markdown(results, names, these.sizes, operator, data, scales)
        stem = f"eit-{slug(case)}"
        table = folder / f"{stem}.md"
        _files.write_text(table, text)
        say(text)
        written.append(table)
        try:
            eit_report.plot_errors(
                results, names, these.sizes, title(case), folder / f"{stem}-errors.png"
            )
            eit_report.plot_phantoms(
                folder,
                names,
                max(these.sizes),
                data,
                operator,
                lambda spec, size, these=these: eit_train.run_name(spec, these, size, 0),
                folder / f"{stem}-phantoms.png",
            )
        except ModuleNotFoundError as error:
            say(f"no picture: {error}")
        except FileNotFoundError as error:  # runs from an archive come without their networks
            say(f"no picture of phantoms, the network {error.filename} is not there")
    if len(cases) > 1:
        table = folder / "eit-claims.md"
        text = eit_report.claims_table(finished, base.sizes)
        _files.write_text(table, text)
        say(text)
        written.append(table)
    return written


def title(case: DataSettings) -> str:
    """A case in words."""
    kind = "finer mesh and noise" if case.honest else "inverse crime"
    return f"{case.inclusions} {case.shape}s, {kind}"


def slug(case: DataSettings) -> str:
    """A case in a file name."""
    return f"{case.shape}{case.inclusions}-{'honest' if case.honest else 'crime'}"
