"""``lpgd-native demo``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from lpgd_native.cli.console import Json, Quick, Seed, console, output_option, progress

__all__ = ["command"]


def command(
    output: Annotated[
        Path, output_option("Folder for portfolio.png, .json, .md and eit.png.")
    ] = Path(),
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Seeds of every method (default: 3).")
    ] = None,
    seed: Seed = 0,
    quick: Quick = False,
    as_json: Json = False,
) -> int:
    """Learn a portfolio policy on real prices, and to see inside a disc: two minutes at most.

    Portfolios through a QP layer, with a table and a picture; then a network that reconstructs
    conductivities from voltages on the boundary, beside Gauss-Newton and the truth.

    Examples:
        lpgd-native demo
        lpgd-native demo --quick --output demo
    """
    from lpgd_native.experiments import _files, require

    for module in ("rich", "matplotlib", "skfolio"):
        require(module)  # before minutes of work, not after
    from lpgd_native.experiments import (
        eit_demo,
        portfolio,
        portfolio_data,
        portfolio_report,
        portfolio_study,
    )

    started = time.perf_counter()
    settings = portfolio.QUICK if quick else portfolio.Settings()
    if seeds is not None:
        settings = replace(settings, seeds=seeds)
    settings = replace(settings, first_seed=seed)
    output.mkdir(parents=True, exist_ok=True)

    where = console(as_json)
    with progress(where) as bars:

        def track(what: str, steps: int) -> Callable[[], None]:
            task = bars.add_task(what, total=steps)
            return lambda: bars.advance(task)

        splits = portfolio_data.split(portfolio_data.make_weeks(*portfolio_data.load_prices()))
        study = portfolio_study.study(splits, settings, track=track)

    rows = portfolio_report.summarise(study)
    where.print(portfolio_report.rich_table(study, rows))
    where.print(f"{study.solved} QPs solved, {study.failed} with a status other than ok")
    portfolio_report.plot(study, output / "portfolio.png")
    portfolio_report.write_json(study, rows, output / "portfolio.json")
    _files.write_text(output / "portfolio.md", portfolio_report.markdown_table(rows))
    where.print(str(eit_demo.run(output, quick=quick)), markup=False, highlight=False)
    where.print(
        f"{output}/portfolio.png, .json, .md and eit.png written; "
        f"{time.perf_counter() - started:.0f} s in all"
    )
    if as_json:
        typer.echo((output / "portfolio.json").read_text())
    return int(study.failed > 0)
