"""Problem families of the benchmarks, and their solutions to rounding error.

Everything here is plain numpy and made from a seed. The references need no solver under test: an
interior-point method finds the active set, the optimality conditions are then solved on that set,
and the result is accepted only with a certificate (signs, feasibility, stationarity).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Arrays = dict[str, Array]

#: perturbation strength of the LPGD rows, absolute: the same for every method
TAU = 0.1


def qp_batch(seed: int, n: int, count: int) -> Arrays:
    """`count` strictly convex QPs with n variables, n inequality rows and n // 2 equality rows.

    P = L L' + 0.01 I; the entries of L, G, A are N(0, 1) / sqrt(n), those of q N(0, 1); b = A x0
    and h = G x0 + u with x0 ~ N(0, 1), u ~ U(0, 1), so x0 is strictly feasible; about a quarter of
    the rows of G are active. `c` is the upstream gradient, N(0, 1). Item i depends on (seed, n, i)
    alone, so a smaller batch is the head of a larger one.
    """
    m, p = n, n // 2
    shapes = {"P": (n, n), "q": (n,), "G": (m, n), "h": (m,), "A": (p, n), "b": (p,), "c": (n,)}
    data = {name: np.empty((count, *shape)) for name, shape in shapes.items()}
    for i in range(count):
        rng = np.random.default_rng([seed, n, i])
        factor = rng.standard_normal((n, n)) / np.sqrt(n)
        data["P"][i] = factor @ factor.T + 0.01 * np.eye(n)
        for name in ("q", "c"):
            data[name][i] = rng.standard_normal(shapes[name])
        for name in ("G", "A"):
            data[name][i] = rng.standard_normal(shapes[name]) / np.sqrt(n)
        feasible = rng.standard_normal(n)
        data["h"][i] = data["G"][i] @ feasible + rng.uniform(size=m)
        data["b"][i] = data["A"][i] @ feasible
    return data


def assignment_batch(seed: int, size: int, count: int) -> Arrays:
    """`count` assignment relaxations: min q'x, x >= 0, every row and column of x sums to one.

    q ~ U(0, 1) [count, size^2]; A [2 size - 1, size^2] and b are shared, the last (redundant)
    column sum is left out. `c` is the upstream gradient, N(0, 1).
    """
    rng = np.random.default_rng([seed, size])
    eye, ones = np.eye(size), np.ones((1, size))
    rows = np.vstack([np.kron(eye, ones), np.kron(ones, eye)])[:-1]
    return {
        "q": rng.uniform(size=(count, size * size)),
        "A": rows,
        "b": np.ones(2 * size - 1),
        "c": rng.standard_normal((count, size * size)),
    }


@dataclass
class Reference:
    """Solution of a batch; `residual` is its certificate, the worst violated condition."""

    x: Array
    y: Array
    z: Array
    active: npt.NDArray[np.bool_]
    residual: float
    #: [B] smallest max(z, slack) over the rows: 0 is a degenerate item, its gradient not unique
    margin: Array


def solve_reference(data: Arrays) -> Reference:
    """Solve a batch to rounding error; RuntimeError if an item cannot be certified."""
    slack, dual = _interior_point(data)
    count, m = data["h"].shape
    x, y = np.empty_like(data["q"]), np.empty_like(data["b"])
    z, active = np.zeros((count, m)), dual > slack
    residual = 0.0
    for i in range(count):
        item = {name: value[i] for name, value in data.items()}
        x[i], y[i], z[i], active[i], error = _polish(item, active[i])
        residual = max(residual, error)
    if not residual < 1e-9:
        raise RuntimeError(f"reference: optimality conditions hold only to {residual:.1e}")
    gap = data["h"] - np.einsum("bij,bj->bi", data["G"], x)
    return Reference(x, y, z, active, residual, np.maximum(z, gap).min(axis=1))


def _interior_point(data: Arrays, iterations: int = 40) -> tuple[Array, Array]:
    """Slacks and inequality duals by Mehrotra's predictor-corrector, the whole batch at once."""
    P, q, G, h, A, b = (data[name] for name in "PqGhAb")
    (count, n), p = q.shape, b.shape[1]
    Gt, At = G.swapaxes(1, 2), A.swapaxes(1, 2)
    x, y, z, s = np.zeros_like(q), np.zeros_like(b), np.ones_like(h), np.ones_like(h)
    kkt = np.zeros((count, n + p, n + p))
    kkt[:, :n, n:], kkt[:, n:, :n] = At, A
    for _ in range(iterations):
        r_dual = _mv(P, x) + q + _mv(Gt, z) + _mv(At, y)
        r_eq, r_in = _mv(A, x) - b, _mv(G, x) + s - h
        mu = (s * z).mean(axis=1, keepdims=True)
        if max(abs(r_dual).max(), abs(r_eq).max(), abs(r_in).max(), mu.max()) < 1e-9:
            break
        kkt[:, :n, :n] = P + Gt @ ((z / s)[..., None] * G)

        def step(target: Array) -> tuple[Array, Array, Array, Array]:
            # s dz + z ds = target - s z, with ds = -r_in - G dx
            lift = (target - s * z + z * r_in) / s  # noqa: B023
            right = np.concatenate([-r_dual - _mv(Gt, lift), -r_eq], axis=1)  # noqa: B023
            both = np.linalg.solve(kkt, right[..., None])[..., 0]
            dx, dy = both[:, :n], both[:, n:]
            ds = -r_in - _mv(G, dx)  # noqa: B023
            return dx, dy, (target - s * z - z * ds) / s, ds  # noqa: B023

        _, _, dz, ds = step(np.zeros_like(s))
        length = np.minimum(_length(z, dz), _length(s, ds))
        mu_affine = ((s + length * ds) * (z + length * dz)).mean(axis=1, keepdims=True)
        centring = (mu_affine / mu) ** 3
        dx, dy, dz, ds = step(centring * mu - ds * dz)
        length = 0.99 * np.minimum(_length(z, dz), _length(s, ds))
        x, y, z, s = x + length * dx, y + length * dy, z + length * dz, s + length * ds
    return s, z


def _mv(matrix: Array, vector: Array) -> Array:
    return np.asarray((matrix @ vector[..., None])[..., 0])


def _length(value: Array, change: Array) -> Array:
    """Longest step in [0, 1] that keeps value + step change positive, an item at a time."""
    ratio = np.where(change < 0, -value / np.where(change < 0, change, -1.0), np.inf)
    return np.asarray(np.minimum(ratio.min(axis=1, keepdims=True), 1.0))


def _polish(
    item: Arrays, active: npt.NDArray[np.bool_]
) -> tuple[Array, Array, Array, npt.NDArray[np.bool_], float]:
    """Primal-dual active-set iterations from a good guess; the last value is the violation left."""
    P, q, G, h, A, b = (item[name] for name in "PqGhAb")
    n, p = q.size, b.size
    best = (q, b, h, active, np.inf)
    for _ in range(30):
        kkt = _kkt(item, active)
        right = np.concatenate([-q, b, h[active]])
        both = np.linalg.solve(kkt, right)
        both += np.linalg.solve(kkt, right - kkt @ both)
        x, y, z = both[:n], both[n : n + p], np.zeros(h.size)
        z[active] = both[n + p :]
        over = G @ x - h
        stationary = P @ x + q + G.T @ z + A.T @ y
        violation = max(
            over.max(), -z.min(), abs(z * over).max(), abs(stationary).max(), abs(A @ x - b).max()
        )
        if violation < best[-1]:
            best = (x, y, z, active, float(violation))
        change = (active & (z > 0)) | (~active & (over > 0))
        if np.array_equal(change, active) or violation < 1e-12:
            break
        active = change
    return best


def _kkt(item: Arrays, active: npt.NDArray[np.bool_]) -> Array:
    rows = np.vstack([item["A"], item["G"][active]])
    corner = np.zeros((len(rows), len(rows)))
    return np.block([[item["P"], rows.T], [rows, corner]])


def implicit_gradients(data: Arrays, ref: Reference) -> Arrays:
    """Gradients of sum(c x) with the active set held: the derivative of the solution map."""
    out = {name: np.zeros_like(data[name]) for name in "PqGhAb"}
    n, p = data["q"].shape[1], data["b"].shape[1]
    for i, active in enumerate(ref.active):
        item = {name: value[i] for name, value in data.items()}
        kkt = _kkt(item, active)
        right = np.concatenate([-item["c"], np.zeros(len(kkt) - n)])
        both = np.linalg.solve(kkt, right)
        both += np.linalg.solve(kkt, right - kkt @ both)
        x, dx, dy, dz = ref.x[i], both[:n], both[n : n + p], np.zeros(len(active))
        dz[active] = both[n + p :]
        out["q"][i], out["h"][i], out["b"][i] = dx, -dz, -dy
        out["P"][i] = 0.5 * (np.outer(dx, x) + np.outer(x, dx))
        out["G"][i] = np.outer(dz, x) + np.outer(ref.z[i], dx)
        out["A"][i] = np.outer(dy, x) + np.outer(ref.y[i], dx)
    return out


def lpgd_gradients(data: Arrays, ref: Reference, tau: float = TAU) -> dict[str, Arrays]:
    """Gradients of the lower, upper and average envelope, by certified solves at q +- tau c."""
    plus, minus = (
        solve_reference({**data, "q": data["q"] + s * tau * data["c"]}) for s in (1.0, -1.0)
    )
    return {
        "lower": _difference(plus, ref, tau),
        "upper": _difference(ref, minus, tau),
        "average": _difference(plus, minus, 2 * tau),
    }


def _difference(high: Reference, low: Reference, width: float) -> Arrays:
    def outer(left: str) -> Array:
        first, second = (getattr(s, left)[:, :, None] * s.x[:, None, :] for s in (high, low))
        return np.asarray((first - second) / width)

    return {
        "P": 0.5 * outer("x"),
        "q": (high.x - low.x) / width,
        "G": outer("z"),
        "h": -(high.z - low.z) / width,
        "A": outer("y"),
        "b": -(high.y - low.y) / width,
    }


def assignment_solution(costs: Array) -> Array:
    """Optimal vertex of every item of `assignment_batch`, by the Hungarian method."""
    size = round(costs.shape[1] ** 0.5)
    return np.stack([_hungarian(c.reshape(size, size)).ravel() for c in costs])


def assignment_gradient(data: Arrays, tau: float = TAU) -> Array:
    """Two-sided LPGD difference of the exact vertices: the gradient of the average envelope."""
    shift = tau * data["c"]
    high, low = (assignment_solution(data["q"] + s * shift) for s in (1.0, -1.0))
    return (high - low) / (2 * tau)


def _hungarian(cost: Array) -> Array:
    """Shortest augmenting paths with potentials; the potentials certify the answer."""
    size = len(cost)
    u, v = np.zeros(size + 1), np.zeros(size + 1)
    row_of = np.zeros(size + 1, dtype=int)  # row matched to a column; 0 is no row
    for row in range(1, size + 1):
        row_of[0], column = row, 0
        least, previous = np.full(size + 1, np.inf), np.zeros(size + 1, dtype=int)
        done = np.zeros(size + 1, dtype=bool)
        while row_of[column]:
            done[column] = True
            reduced = cost[row_of[column] - 1] - u[row_of[column]] - v[1:]
            better = ~done[1:] & (reduced < least[1:])
            least[1:][better], previous[1:][better] = reduced[better], column
            nearest = int(np.argmin(np.where(done, np.inf, least)))
            delta = least[nearest]
            u[row_of[done]] += delta
            v[done] -= delta
            least[~done] -= delta
            column = nearest
        while column:
            row_of[column], column = row_of[previous[column]], previous[column]
    x = np.zeros((size, size))
    x[row_of[1:] - 1, np.arange(size)] = 1.0
    reduced = cost - u[1:, None] - v[None, 1:]
    if reduced.min() < -1e-10 or abs(reduced[x > 0]).max() > 1e-10:
        raise RuntimeError("reference: assignment not certified")
    return x
