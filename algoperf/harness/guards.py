"""What a submission changed in the benchmark, looked for at every pause of the clock.

Python cannot keep code from changing other code. What replaces functions and classes of the benchmark, moves time in
its clock or leaves something in the interpreter that runs by itself is seen here; what changes other values is not.
"""

import gc
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from algoperf.harness.clock import Clock, StepCostClock
from algoperf.harness.pinned_code import PinnedCode

# Seconds between a pause and the charged time around it, and the share by which two clocks may differ.
_SLACK_S, _SLACK_SHARE = 0.25, 0.02
_MOST = 3  # names in one sentence
_TIMERS = tuple(
    getattr(signal, name) for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF") if hasattr(signal, name)
)
_monotonic = time.monotonic


class Guard:
    """Compares the benchmark with what it was before the submission was imported.

    Made before the import; `watch` is called when a trial starts, `add` with objects as they are made.

    Args:
      code: functions and classes as they are now.
      packages: whose changes are violations, the benchmark's and the workload's.
    """

    def __init__(self, code: PinnedCode | None, packages: Sequence[str]) -> None:
        self._code = code
        self._packages = tuple(packages)
        self._callbacks = list(gc.callbacks)
        self._tracers = _tracers()
        self._callables: list[tuple[Any, dict[str, Any]]] = []
        self._clock: Clock | None = None
        self._running_since_s: float | None = None
        self._charged_s = 0.0

    def watch(self, clock: Clock) -> None:
        """Watches the clock of a trial from now on, and no longer what belonged to another trial."""
        self._clock, self._running_since_s, self._callables = clock, None, []
        self.add(clock)

    def add(self, *objects: Any) -> None:
        """Remembers the functions that `objects` hold themselves."""
        self._callables += [(entry, _callables_of(entry)) for entry in objects if hasattr(entry, "__dict__")]

    def pause_ends(self) -> None:
        """From now on time is charged."""
        if self._clock is not None:
            self._running_since_s, self._charged_s = _monotonic(), self._clock.submission_time_s()

    def training_ends(self) -> None:
        """From now on no time is charged; what passes until the next pause is not compared with the clock."""
        self._running_since_s = None

    def pause_begins(self) -> list[str]:
        """Violations since the last pause, each with the ID of its rule."""
        return [*self._time_violations(), *self._code_violations(), *self._interpreter_violations()]

    def _time_violations(self) -> Iterator[str]:
        if self._clock is None or self._running_since_s is None or isinstance(self._clock, StepCostClock):
            return
        passed_s = _monotonic() - self._running_since_s
        charged_s = self._clock.submission_time_s() - self._charged_s
        if charged_s < passed_s * (1 - _SLACK_SHARE) - _SLACK_S:
            yield f"C4: {passed_s:.1f} s passed between two pauses, and the clock charged {charged_s:.1f} s"

    def _code_violations(self) -> Iterator[str]:
        names = self._code.changed_names(self._packages) if self._code is not None else []
        for entry, before in self._callables:
            kind = type(entry).__name__
            names += [f"{kind}.{name}" for name in _callables_of(entry) if _is_replaced(entry, name, before)]
        if names:
            yield f"C4: replaced: {_listed(names)}"

    def _interpreter_violations(self) -> Iterator[str]:
        added = [f"gc callback {_name(c)}" for c in gc.callbacks if c not in self._callbacks and not _is_installed(c)]
        added += [
            name for name, tracer in _tracers().items() if tracer is not self._tracers[name] and tracer is not None
        ]
        added += [f"timer {int(timer)}" for timer in _TIMERS if any(signal.getitimer(timer))]
        if added:
            yield f"C5: left in the interpreter: {_listed(added)}"


def _tracers() -> dict[str, Any]:
    """Profile and trace functions; a debugger's or a test's are those at the start."""
    return {
        "sys.setprofile": sys.getprofile(),
        "sys.settrace": sys.gettrace(),
        "threading.setprofile": threading.getprofile(),
        "threading.settrace": threading.gettrace(),
    }


def _callables_of(entry: Any) -> dict[str, Any]:
    """The functions and bound methods among the attributes of an object itself."""
    values: Mapping[str, Any] = vars(entry)
    return {name: value for name, value in values.items() if _is_function(value)}


def _is_replaced(entry: Any, name: str, before: Mapping[str, Any]) -> bool:
    """Whether an attribute is another function than before, or a new one that hides a method of the class."""
    if name in before:
        return vars(entry)[name] is not before[name]
    return isinstance(vars(type(entry)).get(name), types.FunctionType)


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, type) and hasattr(value, "__name__")


def _is_installed(function: Callable[..., Any]) -> bool:
    """Whether a function belongs to an installed package or the interpreter."""
    code = getattr(function, "__code__", None)
    return code is None or "site-packages" in code.co_filename or code.co_filename.startswith(sys.base_prefix)


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + f" and {len(names) - _MOST} more" * (len(names) > _MOST)
