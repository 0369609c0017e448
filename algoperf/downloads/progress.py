"""Lines that say how far a download is, how fast, and how long it will still take."""

import time
from types import TracebackType
from typing import Self

from algoperf.reporting import Report

REPORT_PERIOD_S = 10.0


class Progress:
    """Reports on entry, every ten seconds, and at the end.

    Args:
      start: bytes that were there before.
      total: bytes of the whole; None where that is not known.
    """

    def __init__(self, name: str, start: int, total: int | None, report: Report) -> None:
        self._name, self._start, self._total, self._report = name, start, total, report
        self._received = 0

    def __enter__(self) -> Self:
        self._began = self._reported = time.monotonic()
        self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._show()

    def add(self, num_bytes: int) -> None:
        self._received += num_bytes
        if time.monotonic() - self._reported >= REPORT_PERIOD_S:
            self._reported = time.monotonic()
            self._show()

    def _show(self) -> None:
        from tqdm import tqdm

        line = tqdm.format_meter(
            self._start + self._received,
            self._total,
            time.monotonic() - self._began,
            ncols=110,
            prefix=self._name,
            ascii=True,
            unit="B",
            unit_scale=True,
            initial=self._start,
        )
        self._report(line)


class RateWatch:
    """Notices a server that sends so little that no timeout ever ends the wait."""

    def __init__(self, period_s: float, min_bytes_per_s: float) -> None:
        self._period_s, self._min_bytes_per_s = period_s, min_bytes_per_s
        self._since, self._received = time.monotonic(), 0

    def is_too_slow(self, num_bytes: int) -> bool:
        """Takes note of bytes that came; whether over the period that has just ended too few did."""
        self._received += num_bytes
        elapsed = time.monotonic() - self._since
        if elapsed < self._period_s:
            return False
        rate = self._received / elapsed
        self._since, self._received = time.monotonic(), 0
        return rate < self._min_bytes_per_s
