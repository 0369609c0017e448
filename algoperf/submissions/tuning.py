"""Hyperparameters of trials: search spaces and draws from them.

A search space is a JSON file in one of the two forms of AlgoPerf v0.6: an object that maps each name to a range
(`min`, `max`, `scaling`) or to `feasible_points`, from which trials are drawn; or a list of points, used in order.

Draws are points of a scrambled Halton sequence with the values of AlgoPerf's (Halton 1960; scrambling by a random
permutation of digits and a random shift per dimension, burn-in of 100 points). There the order of the points
is random and differs between processes; here trial i of study s always has point `STUDY_STRIDE * s + i`.
"""

import functools
import json
import keyword
import math
import sys
from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.errors import UserError

STUDY_STRIDE = 10_000
_BURN_IN = 100
_PRIME_LIMIT = 1000
_RANGE_KEYS = ("min", "max", "scaling")
_CHOICE_KEY = "feasible_points"
_SCALINGS = ("linear", "log")


class SearchSpaceError(UserError, ValueError):
    """A search space cannot be used; one line that names the file, the key and the reason."""


class Hyperparameters:
    """One point of a search space: a named tuple with a field for each hyperparameter.

    As in AlgoPerf: attribute access, `hasattr`, `_asdict`, `_replace`, hashable where its values are, a JAX pytree.
    Made by `make_hyperparameters`; points with the same names share one class. Can be pickled.
    """

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = self._asdict()  # type: ignore[attr-defined]
        return values

    def __reduce__(self) -> tuple[Any, ...]:
        return make_hyperparameters, (self.to_dict(),)


def make_hyperparameters(values: Mapping[str, Any]) -> Hyperparameters:
    """Returns the hyperparameters with these names and values, in this order (as read from `hparams.json`)."""
    point: Hyperparameters = _point_class(tuple(values))(**values)
    return point


@functools.cache
def _point_class(names: tuple[str, ...]) -> type:
    return type("Hyperparameters", (Hyperparameters, namedtuple("Hyperparameters", names)), {"__slots__": ()})


@dataclass(frozen=True, kw_only=True)
class Range:
    """Interval from `low` to `high`, both finite; with `log`, equal ratios are equally likely."""

    low: float
    high: float
    log: bool

    def at(self, u: float) -> float:
        """Maps u in [0, 1)."""
        if self.log:
            value = self.low * math.exp(u * math.log(self.high / self.low))
        else:
            value = self.low + u * (self.high - self.low)
        return min(max(value, self.low), self.high)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Equally likely alternatives."""

    points: tuple[Any, ...]

    def at(self, u: float) -> Any:
        """Maps u in [0, 1)."""
        return self.points[int(u * len(self.points))]


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A checked search space; exactly one of `dimensions` and `points` is not None.

    Attributes:
      source: where it came from, for messages.
      dimensions: the object form.
      points: the list form.
    """

    source: str
    dimensions: Mapping[str, Range | Choice] | None = None
    points: tuple[Mapping[str, Any], ...] | None = None

    @classmethod
    def load(cls, path: str | Path) -> "SearchSpace":
        """Reads a JSON file; raises SearchSpaceError that names the key and the reason."""
        file = Path(path).expanduser()
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SearchSpaceError(f"search space {file} cannot be read: {reason}") from error
        try:
            content = json.loads(text, object_pairs_hook=functools.partial(_without_duplicates, str(file)))
        except SearchSpaceError:
            raise
        except (ValueError, RecursionError) as error:  # besides wrong JSON: too many digits, too deep
            raise SearchSpaceError(f"search space {file} is not JSON: {error}") from error
        return cls.parse(content, source=str(file))

    @classmethod
    def parse(cls, content: Any, *, source: str = "search space") -> "SearchSpace":
        """Checks what a JSON file held; raises SearchSpaceError that names the key and the reason."""
        if isinstance(content, Mapping):
            if not content:
                raise SearchSpaceError(f"{source}: the object is empty; name at least one hyperparameter")
            for name in content:
                _check_name(source, name)
            return cls(source=source, dimensions={n: _dimension(source, n, entry) for n, entry in content.items()})
        if isinstance(content, Sequence) and not isinstance(content, str):
            return cls(source=source, points=_points(source, content))
        raise SearchSpaceError(
            f"{source}: expected a JSON object (ranges) or a list of objects (points), got {_shown(content)}"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the hyperparameters, in the order of the file."""
        return tuple(self.dimensions if self.dimensions is not None else (self.points or ({},))[0])

    def draw(self, num_trials: int, *, study: int = 0) -> list[Hyperparameters]:
        """Returns the hyperparameters of trials 0 to `num_trials` - 1.

        Fewer or more trials never change the hyperparameters of one, and no seed does. From the list form: its first
        entries, whatever the study. From the object form: the same points for the same study in every process, those
        of AlgoPerf for study 0 and others for every other study.

        Raises:
          SearchSpaceError: more trials than the space has points.
        """
        if num_trials < 1:
            raise SearchSpaceError(f"{self.source}: the number of trials must be at least 1, got {num_trials}")
        if study < 0:
            raise SearchSpaceError(f"{self.source}: the study must be 0 or more, got {study}")
        if self.points is not None:
            if num_trials > len(self.points):
                raise SearchSpaceError(
                    f"{self.source}: {num_trials} trials asked for, but the list has {len(self.points)} points; "
                    "ask for fewer trials or add points"
                )
            return [make_hyperparameters(point) for point in self.points[:num_trials]]
        assert self.dimensions is not None
        if num_trials > STUDY_STRIDE:
            raise SearchSpaceError(f"{self.source}: at most {STUDY_STRIDE} trials per study, got {num_trials}")
        unit = halton(num_trials, len(self.dimensions), start=STUDY_STRIDE * study)
        axes = list(self.dimensions.items())
        return [
            make_hyperparameters({name: axis.at(float(u)) for (name, axis), u in zip(axes, row, strict=True)})
            for row in unit
        ]


def halton(num_points: int, num_dimensions: int, *, start: int = 0) -> np.ndarray:
    """Points `start`, `start` + 1, ... of the scrambled Halton sequence, [num_points, num_dimensions] in [0, 1)."""
    indices = np.arange(num_points, dtype=np.int64) + (start + _BURN_IN + 1)
    return np.stack([_scrambled_radical_inverse(indices, base) for base in _bases(num_dimensions)], axis=1)


def _scrambled_radical_inverse(indices: np.ndarray, base: int) -> np.ndarray:
    generator = np.random.RandomState(base)
    digits = np.arange(1, base)
    generator.shuffle(digits)
    permutation = np.concatenate([[0], digits])
    shift = generator.uniform()
    values, weight, rest = np.zeros(len(indices)), 1.0 / base, indices
    while rest.any():
        values += permutation[rest % base] * weight  # digit 0 stays 0, so finished indices add nothing
        rest, weight = rest // base, weight / base
    return np.fmod(values + shift, 1.0)


def _bases(num_dimensions: int) -> list[int]:
    """The primes just below the largest under a limit of 1000, or of more thousands where these are too few."""
    limit = _PRIME_LIMIT
    while len(primes := _odd_primes(limit)) < num_dimensions + 1:
        limit += _PRIME_LIMIT
    return primes[-(num_dimensions + 1) : -1]


def _odd_primes(limit: int) -> list[int]:
    is_prime = np.ones(limit, bool)
    is_prime[:3] = False
    is_prime[4::2] = False
    for factor in range(3, math.isqrt(limit) + 1, 2):
        if is_prime[factor]:
            is_prime[factor * factor :: factor] = False
    return [int(p) for p in np.flatnonzero(is_prime)]


def _without_duplicates(source: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise SearchSpaceError(f"{source}: key {key!r} appears twice; remove one")
        content[key] = value
    return content


def _check_finite(where: str, value: Any) -> None:
    """Refuses NaN and infinities at any depth: Python's JSON reads both, and 1e999 as an infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        raise SearchSpaceError(f"{where} must be finite, got {value}; write a finite number")
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for part in parts:
        _check_finite(where, part)


def _check_name(source: str, name: str) -> None:
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_") or name == "to_dict":
        raise SearchSpaceError(
            f"{source}: {name!r} cannot be an attribute of the hyperparameters; "
            "use a name like 'learning_rate' (letters, digits, underscores, no keyword, no leading underscore)"
        )


def _dimension(source: str, name: str, entry: Any) -> Range | Choice:
    where = f"{source}: {name!r}"
    if not isinstance(entry, Mapping):
        raise SearchSpaceError(
            f'{where} must be an object with "min", "max", "scaling" or with "feasible_points", got {_shown(entry)}'
        )
    allowed = (_CHOICE_KEY,) if _CHOICE_KEY in entry else _RANGE_KEYS
    missing = [key for key in allowed if key not in entry]
    unknown = [key for key in entry if key not in allowed]
    if missing or unknown:
        raise SearchSpaceError(
            f"{where} must have exactly the keys {', '.join(allowed)}, or only {_CHOICE_KEY}; "
            + _differences(missing=missing, unknown=unknown)
        )
    return _choice(where, entry[_CHOICE_KEY]) if _CHOICE_KEY in entry else _range(where, entry)


def _choice(where: str, points: Any) -> Choice:
    if not isinstance(points, Sequence) or isinstance(points, str):
        raise SearchSpaceError(f"{where}: feasible_points must be a list, got {_shown(points)}; write [{points}]")
    if not points:
        raise SearchSpaceError(f"{where}: feasible_points is empty; list at least one value")
    for point in points:
        _check_finite(f"{where}: feasible_points", point)
    return Choice(points=tuple(points))


def _range(where: str, entry: Mapping[str, Any]) -> Range:
    low, high, scaling = (entry[key] for key in _RANGE_KEYS)
    for key, value in (("min", low), ("max", high)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise SearchSpaceError(f"{where}: {key} must be a finite number, got {_shown(value)}")
    if low > high:
        raise SearchSpaceError(f"{where}: min must not exceed max, got min {low} and max {high}")
    if scaling not in _SCALINGS:
        raise SearchSpaceError(f'{where}: scaling must be "linear" or "log", got {_shown(scaling)}')
    if scaling == "log" and low <= 0:
        raise SearchSpaceError(f"{where}: log scaling needs min > 0, got {low}; use linear scaling or another min")
    return Range(low=float(low), high=float(high), log=scaling == "log")


def _points(source: str, content: Sequence[Any]) -> tuple[Mapping[str, Any], ...]:
    if not content:
        raise SearchSpaceError(f"{source}: the list is empty; give at least one point")
    for index, point in enumerate(content):
        if not isinstance(point, Mapping) or not point:
            raise SearchSpaceError(
                f"{source}: entry {index} of the list must be an object of hyperparameters, got {_shown(point)}"
            )
        for name, value in point.items():
            _check_name(source, name)
            _check_finite(f"{source}: entry {index} of the list: {name!r}", value)
        missing, extra = [n for n in content[0] if n not in point], [n for n in point if n not in content[0]]
        if missing or extra:
            raise SearchSpaceError(
                f"{source}: entry {index} of the list must have the keys of entry 0; "
                + _differences(missing=missing, extra=extra)
            )
    return tuple({name: point[name] for name in content[0]} for point in content)


def _differences(**keys: list[str]) -> str:
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in keys.items() if names)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
