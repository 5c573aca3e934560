"""Tables in a page, between two marks that a benchmark knows."""

from __future__ import annotations


def between(text: str, table: str, marks: tuple[str, str]) -> str:
    """`text` with what is between the marks replaced."""
    head, found, rest = text.partition(marks[0])
    _, closed, tail = rest.partition(marks[1])
    if not found or not closed:
        raise ValueError(f"there are no lines {marks[0]} and {marks[1]}")
    return f"{head}{marks[0]}\n{table}\n{marks[1]}{tail}"
