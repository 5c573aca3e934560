"""The demo's EIT panel: LPD-RMA trained on the spot, its reconstructions beside the truth."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lpgd_native.experiments import eit, eit_data, eit_report, eit_train

__all__ = ["Panel", "run"]

SETTINGS = eit.Settings(
    steps=120, evaluations=6, sizes=(100,), data=eit_data.DataSettings(sizes=(100, 20, 50))
)
NETWORK = "LPD-RMA"


@dataclass(frozen=True)
class Panel:
    """Mean squared errors on the test phantoms, and where the picture is."""

    network: str
    error: float
    gauss_newton: float
    background: float
    seconds: float
    """Of training"""
    picture: Path

    def __str__(self) -> str:
        return (
            f"EIT, 684 conductivities from 208 voltages, mean squared error: background "
            f"{self.background:.4f}, Gauss-Newton {self.gauss_newton:.4f}, {self.network} "
            f"{self.error:.4f} (trained here in {self.seconds:.0f} s)"
        )


def run(folder: Path, *, quick: bool = False, shown: int = 6) -> Panel:
    """Simulate, train, reconstruct; writes eit.png."""
    settings = SETTINGS
    if quick:
        settings = replace(
            settings,
            steps=4,
            evaluations=1,
            sizes=(10,),
            data=eit_data.DataSettings(sizes=(10, 5, 6)),
        )
    operator = eit.make_operator()
    data = eit_data.make(settings.data, operator)
    spec = eit.network(NETWORK)
    size = settings.sizes[0]
    with tempfile.TemporaryDirectory() as place:
        result = eit_train.train(spec, size, 0, operator, data, settings, Path(place))
        file = Path(place) / "models" / f"{eit_train.run_name(spec, settings, size, 0)}.pt"
        stored = torch.load(file, weights_only=True)
    network = spec.build(operator)
    network.load_state_dict(stored["weights"])
    test = eit_data.Part(*(part[:shown] for part in data.test))
    picture = folder / "eit.png"
    rows = [
        ("truth", test.x),
        ("Gauss-Newton", test.start),
        (NETWORK, eit_train.predict(network, spec, test)),
    ]
    eit_report.show(operator.mesh, rows, picture)
    x = data.test.x
    return Panel(
        network=NETWORK,
        error=result["mse"],
        gauss_newton=float((data.test.start - x).square().mean()),
        background=float((1 - x).square().mean()),
        seconds=result["seconds"],
        picture=picture,
    )
