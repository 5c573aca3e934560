"""Learning to sort rows of handwritten digits, from the ranks alone, through an argsort.

A small convolutional network gives each of the n images of a row a score; the oracle ranks them,

    x*(c) = argmin <c, x>  over the permutations x of 1, ..., n,      c = -scores

which is piecewise constant, so its derivative is zero and a strategy stands in for it. The loss is
the mean squared error of the ranks. No digit is ever told, and no row holds a digit twice. Images:
scikit-learn's 1,797 scanned digits (8x8, the test set of the UCI optdigits), 1,297 to train on; the
test rows are made of the others.

"pairwise logistic" is what is usual where there is no oracle: the logistic loss of all pairs of
scores, from the same ranks (RankNet; Burges et al., ICML 2005).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lpgd_native.experiments import require
from lpgd_native.experiments.digits_report import markdown, plot
from lpgd_native.experiments.runs import GRID, Log, Options, Run, batch_of, seeded, seeds_of
from lpgd_native.gradients import IMLE, LPGD, Blackbox, Identity, Perturbed
from lpgd_native.oracles import OracleLayer, Ranking

__all__ = ["NAME", "TITLE", "make_settings", "markdown", "plan", "plot", "train"]

NAME = "digits"
TITLE = "Sorting rows of digits"
PAIRWISE = "pairwise logistic"
LPGD_AVERAGE = "LPGD average"
IMLE_AVERAGE = "I-MLE, average"
METHODS = (PAIRWISE, LPGD_AVERAGE, "blackbox", "identity", "perturbed", "I-MLE", IMLE_AVERAGE)


@dataclass(frozen=True)
class Settings:
    """Everything that defines the study."""

    length: int = 8  # images in a row
    train: int = 4_000  # rows
    test: int = 1_000
    train_images: int = 1_297
    epochs: int = 8
    batch: int = 50
    learning_rate: float = 1e-3
    samples: int = 10  # of noise
    sigma: float = 1.0
    data_seed: int = 0
    seeds: int = field(default=5, metadata=GRID)
    first_seed: int = field(default=0, metadata=GRID)
    methods: tuple[str, ...] = field(default=METHODS, metadata=GRID)
    taus: tuple[float, ...] = field(default=(1e-3, 1e-2, 0.1, 1.0, 10.0), metadata=GRID)  # relative


FULL = Settings()
SHORT = replace(FULL, train=2_000, test=500, epochs=4, seeds=2, taus=(1e-2, 1.0))
QUICK = replace(
    SHORT, length=5, train=500, test=200, epochs=4, seeds=1, methods=METHODS[:2], taus=(10.0,)
)


def make_settings(options: Options) -> Settings:
    """The settings of a mode."""
    settings = {"quick": QUICK, "short": SHORT, "full": FULL}[options.mode]
    settings = seeded(settings, options)
    if options.extra.get("length"):
        settings = replace(settings, length=options.extra["length"])
    if not 2 <= settings.length <= 10:
        raise ValueError(
            f"--length must be from 2 to 10, as there are ten digits, got {settings.length}"
        )
    return settings


def plan(settings: Settings) -> list[Run]:
    """All methods of a seed side by side."""
    runs: list[Run] = []
    for seed in seeds_of(settings):
        for method in settings.methods:
            taus = settings.taus if method in (LPGD_AVERAGE, "blackbox") else (None,)
            runs += [{"method": method, "tau": tau, "seed": seed} for tau in taus]
    return runs


class Rows(NamedTuple):
    """Images [N, n, 8, 8] as indices into a set of images, and their ranks [N, n] from 1 on."""

    images: Tensor  # [M, 1, 8, 8]
    which: Tensor  # [N, n]
    ranks: Tensor


def make_rows(images: Tensor, labels: Tensor, count: int, length: int, seed: int) -> Rows:
    """Rows of `length` different digits in random order, drawn evenly from the images of each."""
    generator = torch.Generator().manual_seed(seed)
    digits = torch.rand(count, 10, generator=generator).argsort(-1)[:, :length]
    of_digit = [torch.nonzero(labels == digit).squeeze(-1) for digit in range(10)]
    sizes = torch.tensor([len(members) for members in of_digit])
    table = nn.utils.rnn.pad_sequence(of_digit, batch_first=True)
    which = (torch.rand(count, length, generator=generator) * sizes[digits]).long()
    ranks = digits.argsort(-1).argsort(-1) + 1
    return Rows(images, table[digits, which], ranks.float())


@lru_cache(maxsize=2)
def make_data(settings: Settings) -> tuple[Rows, Rows]:
    """Training and test rows, of different images."""
    bunch = require("sklearn.datasets").load_digits()
    images = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(bunch.target).long()
    generator = torch.Generator().manual_seed(settings.data_seed)
    order = torch.randperm(len(images), generator=generator)
    parts = order[: settings.train_images], order[settings.train_images :]
    counts = settings.train, settings.test
    train, test = (
        make_rows(images[part], labels[part], count, settings.length, settings.data_seed + k)
        for k, (part, count) in enumerate(zip(parts, counts, strict=True))
    )
    return train, test


class Scorer(nn.Module):
    """A score for each image: ``forward(images [..., 1, 8, 8])`` gives [...]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 16, 64),
            nn.ReLU(),
            nn.Linear(64, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Scores; the highest is to be the largest digit."""
        scores: Tensor = self.layers(images.flatten(0, -4)).reshape(images.shape[:-3])
        return scores


def pairwise(scores: Tensor, ranks: Tensor) -> Tensor:
    """Logistic loss of all pairs, mean over them."""
    above = ranks.unsqueeze(-1) > ranks.unsqueeze(-2)
    return nn.functional.softplus(scores.unsqueeze(-2) - scores.unsqueeze(-1))[above].mean()


def make_loss(run: Run, settings: Settings) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of scores [B, n] and ranks [B, n]."""
    if run["method"] == PAIRWISE:
        return pairwise
    tau = run["tau"] or 1.0
    noise: dict[str, Any] = {"tau": tau, "sigma": settings.sigma, "samples": settings.samples}
    noise |= {"relative": True, "seed": run["seed"]}
    strategies: dict[str, Callable[[], Any]] = {
        LPGD_AVERAGE: lambda: LPGD(tau, relative=True),
        "blackbox": lambda: Blackbox(tau, relative=True),
        "identity": lambda: Identity("sphere"),
        "perturbed": lambda: Perturbed(settings.sigma, settings.samples, seed=run["seed"]),
        "I-MLE": lambda: IMLE(**noise),
        IMLE_AVERAGE: lambda: IMLE(**noise, envelope="average"),
    }
    layer = OracleLayer(Ranking(), gradient=strategies[run["method"]]())
    return lambda scores, ranks: (layer(-scores).x - ranks).square().mean()


def train(run: Run, settings: Settings, log: Log) -> dict[str, Any]:
    """One network; time is that of the training steps."""
    rows, test = make_data(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run["seed"])
        model = Scorer()
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    loss_of = make_loss(run, settings)
    per_epoch, seconds = max(1, settings.train // settings.batch), 0.0
    figures = evaluate(model, test)
    log(0, {"seconds": 0.0, **figures})
    for step in range(1, settings.epochs * per_epoch + 1):
        index = batch_of(step - 1, settings.train, settings.batch, run["seed"])
        images, ranks = rows.images[rows.which[index]], rows.ranks[index]
        begun = time.perf_counter()
        loss = loss_of(model(images), ranks)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        seconds += time.perf_counter() - begun
        if step % per_epoch == 0:
            figures = evaluate(model, test)
            log(step, {"seconds": seconds, **figures})
    training = evaluate(model, rows)["places"]
    return {**figures, "train_places": training, "seconds_per_step": seconds / step}


@torch.no_grad()
def evaluate(model: nn.Module, rows: Rows) -> dict[str, float]:
    """Share of images at their place, of rows sorted, and Kendall's tau."""
    scores = model(rows.images)[rows.which]
    ranks = scores.argsort(-1).argsort(-1) + 1
    right = ranks == rows.ranks
    signs = [(r.unsqueeze(-1) - r.unsqueeze(-2)).sign() for r in (ranks.float(), rows.ranks)]
    n = ranks.shape[-1]
    kendall = (signs[0] * signs[1]).sum((-2, -1)) / (n * (n - 1))
    return {
        "places": float(right.float().mean()),
        "rows": float(right.all(-1).float().mean()),
        "kendall": float(kendall.mean()),
    }
