"""Threads, processes, signals and missing memory; the numbers are `make reliability`'s."""

from __future__ import annotations

import re

import pytest

from reliability import determinism, threads
from reliability.operations import operations

# of solves again that found one side alone: no matter here
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def test_results_from_eight_threads_at_once_are_the_serial_ones():
    few = [op for op in operations() if "highs" not in op.name][::4]
    assert threads.concurrent(few, rounds=1, batch=6) == 0


@pytest.mark.parametrize("kind", ["forward"])
def test_ctrl_c_ends_a_long_batch(kind):
    assert threads.interrupted(kind) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["backward", "pdhg", "numpy", "highs"])
def test_ctrl_c_ends_a_long_batch_of_other_solvers(kind):
    assert threads.interrupted(kind) < 0.2


@pytest.mark.slow
def test_a_handler_that_does_not_raise_lets_the_call_finish():
    threads.own_handler_decides()


def test_a_workspace_without_memory_raises_and_the_next_call_works():
    assert re.search(
        r"out of memory: \d+ threads ask for a workspace of \d+ bytes", threads.out_of_memory()
    )


@pytest.mark.parametrize(
    "start", [pytest.param("fork"), pytest.param("spawn", marks=pytest.mark.slow)]
)
def test_worker_processes(start):
    assert threads.processes(start, count=2) == 0


@pytest.mark.parametrize("operation", operations()[::3], ids=lambda op: op.name)
def test_the_same_bits_on_any_number_of_threads_and_in_any_split(operation):
    assert determinism.thread_differences(operation, batch=12) == []
    assert determinism.split_difference(operation, batch=12) <= determinism.limit(operation)


@pytest.mark.slow
@pytest.mark.parametrize("operation", operations(), ids=lambda op: op.name)
def test_the_same_bits_of_all_operators(operation):
    assert determinism.thread_differences(operation) == []
    assert determinism.split_difference(operation) <= determinism.limit(operation)
