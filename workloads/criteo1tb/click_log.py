"""Generated click logs in the format of the real ones, from a hidden model whose loss is known.

A click has the probability sigmoid(bias + effects of the numbers + effects of the categories + interactions of pairs of
columns). Category frequencies follow power laws; each day some less common categories give way to new ones, so that the
last day, which is validation and test, holds categories that training never saw. Learning the training clicks by heart
does not help: the same row hardly ever comes twice and clicks are random.
"""

import functools
import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf.definition import WorkloadDefinition
from algoperf.reporting import Report
from workloads.criteo1tb.definition import NUM_CATEGORIES, NUM_INTEGERS

HIDDEN_MODEL_FILE = "hidden_model.json"

# Distinct categories of a day, in each column; large and small ones in the places of the real data.
_CATEGORIES = (
    *(200, 100, 60, 40, 50, 3, 40, 20, 12, 150, 80, 60, 10),
    *(30, 50, 15, 4, 25, 14, 200, 120, 160, 70, 40, 25, 36),
)
_POWER = 1.15  # frequency of the k-th commonest category is proportional to k ** -_POWER
_RENEWED_SHARE = 0.05  # of the less common categories, new on a day
_FIRST_RENEWED = 10
_NUM_FACTORS = 2
_INTERACTING = (
    *((0, 5), (3, 12), (4, 18), (6, 23), (7, 16), (8, 24)),
    *((9, 16), (10, 12), (13, 15), (14, 25), (17, 5), (20, 16)),
)
_MISSING_CATEGORY_SHARE = 0.12
_MISSING_INTEGER_SHARE = 0.3
_CLICK_BIAS = -1.6
_MAX_DIGITS = 6
_CHUNK_ROWS = 50_000
_SAMPLED_ROWS = 100


@dataclass(frozen=True, kw_only=True)
class Day:
    """One day of clicks.

    Attributes:
      clicks: uint8 [n].
      integers: int64 [n, 13], -1 where missing.
      categories: uint32 [n, 26].
      category_missing: bool [n, 26].
      probabilities: float64 [n], of a click given the other columns.
    """

    clicks: np.ndarray
    integers: np.ndarray
    categories: np.ndarray
    category_missing: np.ndarray
    probabilities: np.ndarray


class HiddenModel:
    """The process that makes the clicks; a function of the seed alone.

    Days have to be drawn in order, because categories are renewed from day to day.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        rng = self._rng
        self._versions = [np.zeros(count, np.int64) for count in _CATEGORIES]
        self._effects = [self._draw_effects(count) for count in _CATEGORIES]
        self._factors = [self._draw_factors(count) for count in _CATEGORIES]
        self._cumulative = [np.cumsum(np.arange(1, count + 1) ** -_POWER) for count in _CATEGORIES]
        self._category_missing = np.where(rng.random(NUM_CATEGORIES) < 0.5, _MISSING_CATEGORY_SHARE, 0.0)
        self._integer_missing = rng.uniform(0, _MISSING_INTEGER_SHARE, NUM_INTEGERS)
        self._locations = rng.uniform(0.5, 4.0, NUM_INTEGERS)
        self._scales = rng.uniform(0.5, 1.5, NUM_INTEGERS)
        self._mixing = rng.standard_normal((3, NUM_INTEGERS)) / 2
        self._slopes = rng.normal(0, 0.25, NUM_INTEGERS)
        self._curvatures = rng.normal(0, 0.15, NUM_INTEGERS)
        self._missing_effects = rng.normal(0, 0.2, NUM_INTEGERS)

    def _draw_effects(self, count: int) -> np.ndarray:
        return self._rng.normal(0, 0.22, count)

    def _draw_factors(self, count: int) -> np.ndarray:
        return self._rng.normal(0, 0.6, (count, _NUM_FACTORS))

    def next_day(self, num_rows: int) -> Day:
        """Draws the next day and then renews some categories."""
        rng = self._rng
        ranks = [self._draw_ranks(column, num_rows) for column in range(NUM_CATEGORIES)]
        missing = rng.random((num_rows, NUM_CATEGORIES)) < self._category_missing
        integers = self._draw_integers(num_rows)
        logits = _CLICK_BIAS + self._integer_effects(integers) + self._category_effects(ranks, missing)
        probabilities = 1 / (1 + np.exp(-logits))
        categories = [_name(column, self._versions[column][rank], rank) for column, rank in enumerate(ranks)]
        day = Day(
            clicks=(rng.random(num_rows) < probabilities).astype(np.uint8),
            integers=integers,
            categories=np.stack(categories, axis=1),
            category_missing=missing,
            probabilities=probabilities,
        )
        self._renew()
        return day

    def _draw_ranks(self, column: int, num_rows: int) -> np.ndarray:
        cumulative = self._cumulative[column]
        ranks: np.ndarray = np.searchsorted(cumulative, self._rng.random(num_rows) * cumulative[-1])
        return ranks

    def _draw_integers(self, num_rows: int) -> np.ndarray:
        rng = self._rng
        normal = rng.standard_normal((num_rows, 3)) @ self._mixing + rng.standard_normal((num_rows, NUM_INTEGERS))
        values = np.minimum(np.exp(self._locations + self._scales * normal), 10**_MAX_DIGITS - 1).astype(np.int64)
        return np.where(rng.random(values.shape) < self._integer_missing, -1, values)

    def _integer_effects(self, integers: np.ndarray) -> np.ndarray:
        normal = (np.log1p(np.maximum(integers, 0)) - self._locations) / self._scales
        effects = self._slopes * normal + self._curvatures * (normal**2 - 1)
        sums: np.ndarray = np.where(integers < 0, self._missing_effects, np.clip(effects, -1, 1)).sum(axis=1)
        return sums

    def _category_effects(self, ranks: list[np.ndarray], missing: np.ndarray) -> np.ndarray:
        present = (~missing).astype(np.float64)
        total = np.zeros(len(missing))
        for column, rank in enumerate(ranks):
            total += self._effects[column][rank] * present[:, column]
        for first, second in _INTERACTING:
            dots = (self._factors[first][ranks[first]] * self._factors[second][ranks[second]]).sum(axis=1)
            total += dots * present[:, first] * present[:, second]
        return total

    def _renew(self) -> None:
        for column, count in enumerate(_CATEGORIES):
            renewed = np.flatnonzero((self._rng.random(count) < _RENEWED_SHARE) & (np.arange(count) >= _FIRST_RENEWED))
            self._versions[column][renewed] += 1
            self._effects[column][renewed] = self._draw_effects(len(renewed))
            self._factors[column][renewed] = self._draw_factors(len(renewed))


def _name(column: int, version: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Returns the uint32 whose 8 hexadecimal digits stand for a category (multiply and xor-shift)."""
    mixed = (rank + (version << 16) + (np.int64(column + 1) << 40)).astype(np.uint64)
    for multiplier in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9):
        mixed *= np.uint64(multiplier)
        mixed ^= mixed >> np.uint64(29)
    high: np.ndarray = (mixed >> np.uint64(32)).astype(np.uint32)
    return high


def write_days(definition: WorkloadDefinition, directory: Path, report: Report) -> None:
    """Writes day_0.gz ... and `hidden_model.json` with the loss of the hidden model on every day.

    That loss cannot be beaten but by chance: `expected_loss` is the mean entropy of the clicks.
    """
    sizes, num_days = definition.splits, definition.data.num_days
    training = [sizes.train // (num_days - 1)] * (num_days - 2)
    rows = [*training, sizes.train - sum(training), sizes.validation + (sizes.test or 0)]
    directory.mkdir(parents=True, exist_ok=True)
    report(f"generating {sum(rows):,} clicks of {num_days} days at {directory}")
    model = HiddenModel(definition.data.click_seed)
    losses = []
    for number, num_rows in enumerate(rows):
        day = model.next_day(num_rows)
        losses.append(_losses(day))
        with gzip.GzipFile(directory / f"day_{number}.gz", "wb", compresslevel=1, mtime=0) as file:
            for start in range(0, num_rows, _CHUNK_ROWS):
                file.write(format_rows(day, start, min(start + _CHUNK_ROWS, num_rows)))
    (directory / HIDDEN_MODEL_FILE).write_text(json.dumps({"days": losses}, indent=2) + "\n")


@functools.cache
def sample_digest(seed: int) -> str:
    """Hash of a sample of two days, by which a store that another generator made is noticed."""
    model = HiddenModel(seed)
    sample = b"".join(format_rows(model.next_day(_SAMPLED_ROWS), 0, _SAMPLED_ROWS) for _ in range(2))
    return hashlib.sha256(sample).hexdigest()[:16]


def _losses(day: Day) -> dict[str, float]:
    p, clicked = day.probabilities, day.clicks == 1
    return {
        "rows": len(p),
        "click_share": float(clicked.mean()),
        "expected_loss": float(-(p * np.log(p) + (1 - p) * np.log1p(-p)).mean()),
        "realised_loss": float(-np.where(clicked, np.log(p), np.log1p(-p)).mean()),
    }


def format_rows(day: Day, start: int, stop: int) -> bytes:
    """Returns rows start, ..., stop - 1 as tab-separated lines, missing values empty."""
    num_rows = stop - start
    labels = day.clicks[start:stop, None] + np.uint8(ord("0"))
    tabs = np.full((num_rows, 1), ord("\t"), np.uint8)
    always = np.ones((num_rows, 1), bool)
    columns, retained = [labels], [always]
    for number in range(NUM_INTEGERS):
        digits, keep = _decimal(day.integers[start:stop, number])
        columns += [tabs, digits]
        retained += [always, keep]
    for number in range(NUM_CATEGORIES):
        digits = _hexadecimal(day.categories[start:stop, number])
        present = ~day.category_missing[start:stop, number, None]
        columns += [tabs, digits]
        retained += [always, np.broadcast_to(present, digits.shape)]
    columns.append(np.full((num_rows, 1), ord("\n"), np.uint8))
    retained.append(always)
    text: bytes = np.concatenate(columns, axis=1)[np.concatenate(retained, axis=1)].tobytes()
    return text


def _decimal(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns digits uint8 [n, places] and which of them to write: no leading zeros, nothing for negative values."""
    powers = 10 ** np.arange(_MAX_DIGITS - 1, -1, -1)
    digits = values[:, None] // powers % 10 + ord("0")
    keep = (values[:, None] >= powers) | (powers == 1)
    return digits.astype(np.uint8), keep & (values[:, None] >= 0)


def _hexadecimal(values: np.ndarray) -> np.ndarray:
    shifts = np.arange(28, -4, -4, dtype=np.uint32)
    digits: np.ndarray = np.frombuffer(b"0123456789abcdef", np.uint8)[(values[:, None] >> shifts) & np.uint32(15)]
    return digits
