"""Sorting rows of digits: the rows, the metrics, and that an argsort can be learned through."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("sklearn")

from lpgd_native.experiments import digits
from lpgd_native.experiments.runs import Options
from studies import check_command

TINY = replace(
    digits.QUICK,
    train=100,
    test=40,
    epochs=1,
    batch=25,
    methods=digits.METHODS[:2],
    taus=(1.0, 10.0),
)


pytestmark = pytest.mark.usefixtures("one_thread")


def test_rows_hold_different_digits_and_their_ranks():
    images = torch.arange(30.0).reshape(30, 1, 1, 1).expand(30, 1, 8, 8)
    labels = torch.arange(30) % 10
    rows = digits.make_rows(images, labels, 500, 7, seed=0)
    shown = labels[rows.which]
    assert rows.which.shape == rows.ranks.shape == (500, 7)
    for row, ranks in zip(shown.tolist(), rows.ranks.tolist(), strict=True):
        assert len(set(row)) == 7
        assert ranks == [1 + sorted(row).index(digit) for digit in row]
    assert set(rows.which.flatten().tolist()) == set(range(30))
    again = digits.make_rows(images, labels, 500, 7, seed=0)
    assert torch.equal(again.which, rows.which)


def test_test_rows_have_images_of_their_own():
    train, test = digits.make_data(TINY)
    assert len(train.images) == 1_297
    assert len(test.images) == 500
    mine = {tuple(image.flatten().tolist()) for image in train.images}
    assert not any(tuple(image.flatten().tolist()) in mine for image in test.images)


def test_metrics_by_hand():
    class Fixed(torch.nn.Module):
        def forward(self, images):
            return images[..., 0, 0, 0]

    images = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1, 1).expand(3, 1, 8, 8)
    rows = digits.Rows(
        images,
        torch.tensor([[0, 1, 2], [2, 1, 0], [0, 1, 2]]),
        torch.tensor([[1.0, 2, 3], [3, 2, 1], [2, 1, 3]]),
    )
    found = digits.evaluate(Fixed(), rows)
    assert found["rows"] == pytest.approx(2 / 3)
    assert found["places"] == pytest.approx(7 / 9)
    assert found["kendall"] == pytest.approx((1 + 1 + 1 / 3) / 3)


def test_pairwise_loss_by_hand():
    scores, ranks = torch.tensor([[0.5, -1.0]]), torch.tensor([[1.0, 2.0]])
    expected = torch.log1p(torch.exp(torch.tensor(1.5)))
    torch.testing.assert_close(digits.pairwise(scores, ranks), expected)


@pytest.mark.parametrize(
    ("method", "tau"),
    [
        ("pairwise logistic", None),
        ("LPGD average", 10.0),
        ("blackbox", 0.01),
        ("perturbed", None),
        ("I-MLE", None),
        ("I-MLE, average", None),
    ],
)
def test_training_learns_to_sort(method, tau):
    settings = replace(TINY, train=400, test=200, epochs=4, batch=25)
    points = []
    run = {"method": method, "tau": tau, "seed": 0}
    result = digits.train(run, settings, lambda step, values: points.append(values))
    assert len(points) == 5
    assert abs(points[0]["kendall"]) < 0.35  # chance
    assert result["kendall"] > 0.5
    assert result["train_places"] > 0.4


def test_seeds_are_reproducible_and_methods_start_alike():
    starts, ends = [], []
    for run in (
        {"method": "pairwise logistic", "tau": None, "seed": 1},
        {"method": "LPGD average", "tau": 1.0, "seed": 1},
        {"method": "LPGD average", "tau": 1.0, "seed": 1},
    ):
        points = []
        digits.train(run, TINY, lambda step, values, points=points: points.append(values))
        starts.append(points[0])
        ends.append(points[-1]["kendall"])
    assert starts[0] == starts[1] == starts[2]
    assert ends[1] == ends[2]


def test_length_is_checked():
    with pytest.raises(ValueError, match="--length must be from 2 to 10"):
        digits.make_settings(Options(out=None, extra={"length": 11}))
    assert digits.make_settings(Options(out=None, extra={"length": 3})).length == 3


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(digits, "QUICK", TINY)
    whole = check_command(digits, "digits", tmp_path, monkeypatch, capsys)
    assert len(whole) == 3
    text = (tmp_path / "whole" / "digits.md").read_text()
    assert "40 test rows of 5 images" in text
    assert "| LPGD average, tau 10 |" in text
