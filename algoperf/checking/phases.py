"""Counts calls of a workload's model and loss while something runs that is not charged."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

_COUNTED = ("model_fn", "loss_fn")


class CountedCalls:
    """Wraps the model and the loss of a class of workloads, for the rest of the process.

    Attributes:
      counted: names of what was called, by phase, for the phases in which something was.
    """

    def __init__(self, workload_class: type) -> None:
        self.counted: dict[str, list[str]] = {}
        self._phase: str | None = None
        for name in _COUNTED:
            setattr(workload_class, name, self._wrapped(name, getattr(workload_class, name)))

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts within the block, under `name`."""
        self._phase = name
        try:
            yield
        finally:
            self._phase = None

    def _wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def counted(*arguments: Any, **keywords: Any) -> Any:
            if self._phase is not None and name not in self.counted.setdefault(self._phase, []):
                self.counted[self._phase].append(name)
            return function(*arguments, **keywords)

        return counted
