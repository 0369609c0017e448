"""Tables of a trial as numbers, and comparison of what was logged with what came out again."""

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from algoperf.records import columns

Row = dict[str, float]
# Relative. Sums of floats in another order differ by about 1e-6 in single precision; on another kind of device, and in
# metrics that count decoded tokens, by more.
SAME_MACHINE = 1e-4
ELSEWHERE = 1e-2
_TIMES = frozenset(
    {
        columns.SCORE,
        columns.SUBMISSION_TIME,
        columns.EVALUATION_TIME,
        columns.LOGGING_TIME,
        columns.TOTAL_DURATION,
        columns.PREEMPTION_COUNT,
        columns.GLOBAL_STEP,
    }
)


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file, without what is empty or no number; nothing where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as stream:
        return [dict(_numbers(row)) for row in csv.DictReader(stream)]


def _numbers(row: Mapping[str, str | None]) -> Iterable[tuple[str, float]]:
    for name, text in row.items():
        try:
            yield name, float(text or "")
        except (TypeError, ValueError):
            continue


def by_step(rows: Iterable[Row]) -> dict[int, Row]:
    """All measurements of each step in one row."""
    merged: dict[int, Row] = {}
    for row in rows:
        if math.isfinite(row.get(columns.GLOBAL_STEP, math.nan)):
            merged.setdefault(int(row[columns.GLOBAL_STEP]), {}).update(row)
    return merged


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is in both of two rows, times left out.

    Attributes:
      shared: number of values that both have.
      equal: how many of these are the same to the last bit.
      differing: those that differ by more than the tolerance: name, logged, again.
    """

    shared: int
    equal: int
    differing: tuple[tuple[str, float, float], ...]

    @property
    def worst(self) -> str:
        name, logged, again = max(self.differing, key=lambda entry: _relative(entry[1], entry[2]))
        return f"{name} is {logged:.7g} in the log and {again:.7g} now"

    def __add__(self, other: "Comparison") -> "Comparison":
        return Comparison(
            shared=self.shared + other.shared,
            equal=self.equal + other.equal,
            differing=self.differing + other.differing,
        )


def compare(logged: Mapping[str, float], again: Mapping[str, float], tolerance: float) -> Comparison:
    """Compares measurements of one step."""
    names = [name for name in logged.keys() & again.keys() if name not in _TIMES]
    pairs = [(name, logged[name], again[name]) for name in sorted(names)]
    return Comparison(
        shared=len(pairs),
        equal=sum(a == b or (math.isnan(a) and math.isnan(b)) for _, a, b in pairs),
        differing=tuple(pair for pair in pairs if _relative(pair[1], pair[2]) > tolerance),
    )


def _relative(one: float, other: float) -> float:
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    scale = max(abs(one), abs(other), 1e-6)
    difference = abs(one - other) / scale
    return difference if math.isfinite(difference) else math.inf
