"""Training scalars on their way from the device to the log, without making the device wait."""

from collections.abc import Mapping
from typing import Any

LOG_EVERY_STEPS = 100


class DelayedScalars:
    """Holds the scalars of one step until the next logged step or the next evaluation.

    Reading a device scalar waits for all work queued before it; one logging interval later it is long computed.
    """

    def __init__(self) -> None:
        self._pending: tuple[Any, int, Mapping[str, Any]] | None = None

    def log(self, logger: Any, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes what is held and holds `scalars` (each convertible by `float`) instead."""
        self.flush()
        self._pending = (logger, step, scalars)

    def flush(self) -> None:
        """Writes what is held."""
        if self._pending is not None:
            logger, step, scalars = self._pending
            self._pending = None
            logger.append_scalar_metrics({name: float(value) for name, value in scalars.items()}, step)
