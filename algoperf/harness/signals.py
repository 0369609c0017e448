"""Requests to stop: SIGTERM, SIGHUP and Ctrl-C.

A loop asks for `is_set` between its steps, and what must not be cut short, such as a record, is not. Anywhere else,
while a submission is imported or a model is built for example, the request is an exception, since nobody would ask.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")  # Windows has no SIGHUP


class StopRequestedError(BaseException):
    """A signal asks this process to end. No `Exception`, so that `except Exception` of a submission lets it through."""


class StopSignals:
    """Takes the signals while it is entered; used from another than the main thread, it never asks to stop.

    A second Ctrl-C raises KeyboardInterrupt at once. A SIGHUP that is ignored, as under nohup, stays ignored.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._is_deferred = False
        self._previous: dict[int, Any] = {}
        self._pipe: tuple[int, int] | None = None
        self._previous_fd = -1
        self._has_arrived = False

    def has_arrived(self) -> bool:
        """`is_set` for other threads, which also know it while the main thread waits in native code."""
        if self._pipe is not None and not self._has_arrived:
            try:
                self._has_arrived = bool(set(os.read(self._pipe[0], 512)) & set(self._previous))
            except BlockingIOError:
                return self.is_set()
        return self._has_arrived or self.is_set()

    def is_set(self) -> bool:
        return self.received is not None

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block a signal sets `is_set` and interrupts nothing."""
        before, self._is_deferred = self._is_deferred, True
        try:
            yield
        finally:
            self._is_deferred = before

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within the block a signal, also one that came before it, raises StopRequestedError in the main thread."""
        before, self._is_deferred = self._is_deferred, False
        try:
            if self.received is not None:
                raise StopRequestedError(self.received)
            yield
        finally:
            self._is_deferred = before

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in filter(None, (getattr(signal, name, None) for name in STOP_SIGNALS)):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._receive)
            self._pipe = os.pipe()
            for end in self._pipe:
                os.set_blocking(end, False)
            self._previous_fd = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        if self._pipe is not None:
            signal.set_wakeup_fd(self._previous_fd)
            for end in self._pipe:
                os.close(end)
            self._pipe = None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        is_first, name = self.received is None, signal.Signals(number).name
        self.received = self.received or name
        if number == signal.SIGINT and not is_first:
            raise KeyboardInterrupt
        if is_first and not self._is_deferred:
            raise StopRequestedError(name)
