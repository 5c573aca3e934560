"""Sudoku puzzles with exactly one solution, any box size, the same for the same seed (numpy only).

A few puzzles are made by taking clues away from a random board as long as the solution stays
unique. The symmetries of Sudoku (new names of the digits; rows, columns, bands and stacks changed
round; transposition) make many of each, and keep that there is one solution.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
BASES = {2: 256, 3: 24}  # puzzles before symmetries
CLUES = {2: (4, 8), 3: (28, 36)}  # fewest and most that taking away stops at


class Puzzles(NamedTuple):
    """Boards [N, side^2] of int8; 0 is an empty cell."""

    clues: Array
    solutions: Array


@lru_cache
def _units(box: int) -> tuple[tuple[int, int, int], ...]:
    """Row, column and box of every cell."""
    side = box * box
    return tuple((r, c, r // box * box + c // box) for r in range(side) for c in range(side))


def solve(
    board: Array, box: int, limit: int, rng: np.random.Generator | None = None
) -> list[Array]:
    """Up to `limit` solutions of a board [side^2], tried in the order of the digits or at random.

    Depth first, always the cell with the fewest candidates, candidates as bits.
    """
    side, units = box * box, _units(box)
    full = (1 << side) - 1
    rows, columns, boxes = ([full] * side for _ in range(3))
    cells = [int(digit) for digit in board]
    empty = []
    for cell, digit in enumerate(cells):
        if not digit:
            empty.append(cell)
            continue
        r, c, b = units[cell]
        bit = 1 << (digit - 1)
        if not rows[r] & columns[c] & boxes[b] & bit:
            return []
        rows[r] ^= bit
        columns[c] ^= bit
        boxes[b] ^= bit
    found: list[Array] = []

    def descend() -> None:
        if not empty:
            found.append(np.array(cells, dtype=np.int8))
            return
        best, candidates, fewest = 0, 0, side + 1
        for at, cell in enumerate(empty):
            r, c, b = units[cell]
            mask = rows[r] & columns[c] & boxes[b]
            count = mask.bit_count()
            if count < fewest:
                best, candidates, fewest = at, mask, count
                if count <= 1:
                    break
        cell = empty.pop(best)
        r, c, b = units[cell]
        digits = [d for d in range(side) if candidates >> d & 1]
        if rng is not None:
            rng.shuffle(digits)
        for digit in digits:
            bit = 1 << digit
            rows[r] ^= bit
            columns[c] ^= bit
            boxes[b] ^= bit
            cells[cell] = digit + 1
            descend()
            rows[r] ^= bit
            columns[c] ^= bit
            boxes[b] ^= bit
            if len(found) >= limit:
                break
        cells[cell] = 0
        empty.insert(best, cell)

    descend()
    return found


def make_puzzle(box: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """One puzzle and its solution, [side^2] each."""
    (solution,) = solve(np.zeros(box**4, dtype=np.int8), box, 1, rng)
    puzzle, fewest = solution.copy(), int(rng.integers(CLUES[box][0], CLUES[box][1] + 1))
    left = len(puzzle)
    for cell in rng.permutation(len(puzzle)):
        if left <= fewest:
            break
        kept, puzzle[cell] = puzzle[cell], 0
        if len(solve(puzzle, box, 2)) == 1:
            left -= 1
        else:
            puzzle[cell] = kept
    return puzzle, solution


def _shuffled(boards: Array, box: int, rng: np.random.Generator) -> Array:
    """The same random symmetry applied to boards [K, side^2]."""
    side = box * box
    digits = np.concatenate([[0], 1 + rng.permutation(side)]).astype(np.int8)
    rows, columns = (
        np.concatenate([band * box + rng.permutation(box) for band in rng.permutation(box)])
        for _ in range(2)
    )
    grid = digits[boards].reshape(-1, side, side)[:, rows][:, :, columns]
    if rng.integers(2):
        grid = grid.transpose(0, 2, 1)
    return np.ascontiguousarray(grid).reshape(len(boards), -1)


@lru_cache(maxsize=4)
def make_puzzles(box: int, count: int, seed: int = 0) -> Puzzles:
    """`count` different puzzles."""
    rng = np.random.default_rng([seed, box])
    bases = [np.stack(make_puzzle(box, rng)) for _ in range(BASES[box])]
    seen: set[bytes] = set()
    clues: list[Array] = []
    solutions: list[Array] = []
    while len(clues) < count:
        puzzle, solution = _shuffled(bases[rng.integers(len(bases))], box, rng)
        if (key := puzzle.tobytes()) not in seen:
            seen.add(key)
            clues.append(puzzle)
            solutions.append(solution)
    return Puzzles(np.stack(clues), np.stack(solutions))


def one_hot(boards: Array, box: int) -> Array:
    """[N, side^2] to [N, side^3] float64, a cell's digits next to each other; empty cells zero."""
    side = box * box
    hot: Array = boards[..., None] == np.arange(1, side + 1)
    return hot.reshape(len(boards), -1).astype(np.float64)


def is_solution(boards: Array, box: int) -> Array:
    """Which boards [N, side^2] have every digit once in each row, column and box: bool [N]."""
    side = box * box
    x = one_hot(boards, box).reshape(
        -1, box, box, box, box, side
    )  # band, row, stack, column, digit
    sums = (
        x.sum(axis=(3, 4)),  # rows
        x.sum(axis=(1, 2)),  # columns
        x.sum(axis=(2, 4)),  # boxes
    )
    return np.asarray(np.all([(s == 1).reshape(len(boards), -1).all(1) for s in sums], axis=0))


def rules(box: int) -> Array:
    """The equalities of Sudoku on one-hot boards: A [4 side^2, side^3] with A x = 1."""
    side = box * box
    cells, digits = side * side, range(side)
    A = np.zeros((4, side, side, cells, side))
    for cell, units in enumerate(_units(box)):
        for digit in digits:
            A[0].reshape(cells, cells, side)[cell, cell, digit] = 1
            for kind, unit in enumerate(units, 1):
                A[kind, unit, digit, cell, digit] = 1
    return A.reshape(4 * cells, cells * side)
