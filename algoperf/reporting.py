"""How long work tells a person where it is. What cannot be shown never ends the work."""

import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

Report = Callable[[str], None]  # shows one line


class GuardedStream:
    """A text stream whose failures are swallowed: a closed pipe, a full disk or a terminal that is gone.

    Args:
      stream: what to write to; None (a closed standard stream) writes nowhere.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None else open(os.devnull, "w")  # noqa: SIM115 (lives as the process)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_standard_streams() -> None:
    """From here on nothing that is printed, by a submission or a library either, can fail."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, GuardedStream):
            setattr(sys, name, GuardedStream(stream))


def report_to_stderr(message: str) -> None:
    """Shows one line on standard error, where that can be written."""
    show(message, sys.stderr)


def show(text: str, stream: Any) -> None:
    """Prints one line to `stream`, where that can be written."""
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):
        return
