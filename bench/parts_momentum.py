"""What a step of recurrent momentum consists of: the rates of its operators beside torch's products
of the same shapes, and what a step costs without any.

Usage:
    python bench/parts_momentum.py [--threads 2] [--out parts.md]

LSTM, one layer, float32. Times are lower quartiles over many calls in one process; rates are those
of the matrix products' multiplications and additions.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

import momentum_runs
from lpgd_native import reference
from parts_qp import lower_quartile_us, main

SIZES = [(b, n, 64) for n in (53, 343, 4096) for b in (8, 32, 256)]


def rates(batch: int, n: int, hidden: int, seconds: float) -> list[float]:
    """Microseconds of the forward operator; GF/s of it, of its products, the same backward and of
    the weights' gradients, from as many steps as a tape takes together.
    """
    torch.manual_seed(0)
    weights = tuple(w.detach() for w in momentum_runs.Cells(n, hidden, 1, n).weights())
    w_ih, w_hh, w_out = weights[0], weights[1], weights[4]
    x, d_v = torch.randn(batch, n), torch.randn(batch, n)
    h, c = torch.randn(1, batch, hidden), torch.randn(1, batch, hidden)
    step = torch.ops.lpgd.lstm_momentum_step.default
    back = torch.ops.lpgd.lstm_momentum_step_backward.default
    sums = torch.ops.lpgd.lstm_momentum_weight_gradients.default
    out = step(x, h, c, weights)
    expected = reference.lstm_momentum_step(x, h, c, weights)[0]
    torch.testing.assert_close(out[0], expected, rtol=1e-4, atol=1e-4)
    given = (d_v, None, None, h, c, *out[1:], weights, True)
    d_gates = back(*given)[3]
    many = max(1, 128 // batch)
    seen = [[t] * many for t in (x, h, out[1], d_gates, d_v)]
    totals = [torch.empty_like(w) for w in weights]
    before, d = h[0], d_gates[0]
    x_all, d_all, v_all, h_all = (torch.cat([t] * many) for t in (x, d, d_v, before))
    calls = (
        lambda: step(x, h, c, weights),
        lambda: (x @ w_ih.mT, before @ w_hh.mT, before @ w_out.mT),
        lambda: back(*given),
        lambda: (d_v @ w_out, d @ w_hh, d @ w_ih),
        lambda: sums(*seen, totals, False),
        lambda: (d_all.mT @ x_all, d_all.mT @ h_all, v_all.mT @ h_all),
    )
    times = [lower_quartile_us(call, seconds) for call in calls]
    flops = 2e-3 * batch * (5 * n * hidden + 4 * hidden**2)
    return [times[0], *(flops * (many if k >= 4 else 1) / t for k, t in enumerate(times))]


def operators(seconds: float = 0.5) -> Iterator[str]:
    yield "| B | n | forward, us | forward | torch | backward | torch | weights | torch |"
    yield "|" + " ---: |" * 9
    for batch, n, hidden in SIZES:
        row = rates(batch, n, hidden, seconds)
        yield f"| {batch} | {n} | " + " | ".join(f"{r:.0f}" for r in row) + " |"


def steps(seconds: float = 1.0) -> Iterator[str]:
    yield "| B | n | H | eager, us a step | function | in a network |"
    yield "|" + " ---: |" * 6
    for batch, n, hidden in ((1, 1, 1), (1, 53, 50), (1, 343, 64), (8, 8, 8), (32, 343, 64)):
        runs = momentum_runs.momentum_runs(batch, n, hidden, 1, compiled=False)
        assert max(momentum_runs.check(runs).values()) < 2e-3
        count = momentum_runs.steps_of(batch, n)
        times = [
            lower_quartile_us(runs[name], seconds) / count
            for name in ("eager", "function", "in a network")
        ]
        yield f"| {batch} | {n} | {hidden} | " + " | ".join(f"{t:.0f}" for t in times) + " |"


if __name__ == "__main__":
    main(
        __doc__,
        ("Operators, GF/s, beside torch's products of the same shapes", operators()),
        ("A step, forward and backward", steps()),
    )
