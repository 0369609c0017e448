"""The process of a submission, as the harness sees it: it works from a request to its answer, and is stopped else."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import psutil

from algoperf.background import PROCESS_MARK
from algoperf.errors import UserError
from algoperf.harness.failure import TrainingFailedError
from algoperf.records.outcome import Outcome
from algoperf.runner.isolated import sandbox
from algoperf.runner.isolated.channel import (
    AnswerError,
    ChannelClosedError,
    Ends,
    Page,
    receive_answer,
    send_object,
)

_MODULE = "algoperf.runner.isolated.child"
_PATIENCE_S = 1800.0  # for imports and compilations
_SEND_S = 30.0
_MEMORY = ("page", "model", "state", "odd", "even")
_LONGEST_TEXT = 20_000
_SCANS = 50
_CACHES = ("JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")  # which it could not write
SETTING_UP = frozenset({"start", "import", "build", "init", "restore"})
_STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


class RefusedError(UserError):
    """The process of the submission refuses to begin; one line that says why."""


class IsolatedProcess:
    """One process in namespaces of its own, with everything that it starts.

    Args:
      hidden: folders that it does not see.

    Attributes:
      model, state: file descriptors of what is handed over.
      data, batches: socket of the training batches, and memory that they go through.
      page: numbers that both sides see.
    """

    def __init__(self, hidden: Iterable[Path]) -> None:
        pairs = [socket.socketpair() for _ in range(2)]
        memory = [os.memfd_create(name) for name in _MEMORY]
        (self._control, control), (self.data, data) = pairs
        self._control.settimeout(_SEND_S)
        page, self.model, self.state, *self.batches = memory
        self._memory = memory
        self.page = Page.clear(page)
        ends = Ends(control=control.fileno(), data=data.fileno(), **dict(zip(_MEMORY, memory, strict=True)))
        words = [sys.executable, "-P", "-m", _MODULE, str(ends)]
        user, temporary = sandbox.makes_user_namespace(), sandbox.temporary_folder()
        self._outer = subprocess.Popen(
            sandbox.command(words, hidden=hidden, temporary=temporary, user=user),
            env=_environment(temporary),
            pass_fds=ends.numbers,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        control.close()
        data.close()
        self._main: psutil.Process | None = None
        self._frozen: list[psutil.Process] = []
        self._cpu_s = 0.0

    def request(
        self,
        name: str,
        *,
        wait_s: Callable[[], float | None] | None = None,
        told: Callable[[dict[str, Any]], None] | None = None,
        **content: Any,
    ) -> dict[str, Any]:
        """Lets the process work until it answers, and stops its main process again.

        Args:
          wait_s: as in `receive_answer`; by default half an hour in all.
          told: takes messages before the answer, which have the entry `told`.

        Raises:
          TrainingFailedError: it failed, ended, or gave no answer in time.
          RefusedError: the request, one of those before training, cannot be met.
        """
        wait_s = wait_s or _at_most(_PATIENCE_S)
        self._thaw()
        try:
            send_object(self._control, {"request": name, **content})
            while True:
                answer = receive_answer(self._control, wait_s)
                if answer is None or told is None or "told" not in answer:
                    break
                told(answer)
        except (ChannelClosedError, AnswerError) as error:
            raise self._lost(error) from error
        self._signal_main(signal.SIGSTOP)
        if answer is None:
            self._signal_main(signal.SIGKILL)
            raise TrainingFailedError(Outcome.CRASHED, f"the process of the submission gave no answer to {name!r}")
        if "refused" in answer and name in SETTING_UP:
            raise RefusedError(str(answer["refused"])[:_LONGEST_TEXT])
        if "failure" in answer or "refused" in answer:
            raise _failure(answer)
        return answer

    def freeze(self) -> None:
        """Stops every process in the namespace, until the next request.

        Raises:
          TrainingFailedError: they cannot all be stopped.
        """
        if self._frozen or self._outer.poll() is not None:
            return
        calm, inside = 0, self._inside()
        for _ in range(_SCANS):
            is_calm = True
            for process in inside:
                with contextlib.suppress(psutil.Error):
                    if process.status() not in _STOPPED:
                        is_calm = False
                        process.suspend()
            calm = calm + 1 if is_calm else 0
            if calm == 2:  # nothing ran between the two looks, so that nothing can have been continued
                self._frozen = inside
                return
            inside = self._inside()
        raise TrainingFailedError(Outcome.RULE_VIOLATION, "C1: processes of the submission cannot be stopped")

    def cpu_s(self) -> float:
        """CPU seconds of the main process so far."""
        if (main := self._main_process()) is not None:
            with contextlib.suppress(psutil.Error):
                times = main.cpu_times()
                self._cpu_s = max(self._cpu_s, times.user + times.system)
        return self._cpu_s

    def close(self) -> None:
        """Ends all of it."""
        self.cpu_s()
        self._signal_main(signal.SIGKILL)  # the first of a namespace takes the others with it
        self._outer.kill()
        self._outer.wait()
        for connection in (self._control, self.data):
            connection.close()
        for descriptor in self._memory:
            os.close(descriptor)
        self._memory = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _thaw(self) -> None:
        for process in self._frozen:
            with contextlib.suppress(psutil.Error):
                process.resume()
        if not self._frozen:
            self._signal_main(signal.SIGCONT)
        self._frozen = []

    def _signal_main(self, number: int) -> None:
        main = self._main_process()
        if main is not None:
            with contextlib.suppress(psutil.Error):
                main.send_signal(number)

    def _main_process(self) -> psutil.Process | None:
        """The first process in the namespace, which the others end with."""
        if self._main is None:
            self._main = next(iter(self._inside(recursive=False)), None)
        return self._main

    def _inside(self, *, recursive: bool = True) -> list[psutil.Process]:
        try:
            inside: list[psutil.Process] = psutil.Process(self._outer.pid).children(recursive=recursive)
            return inside
        except psutil.Error:
            return []

    def _lost(self, error: Exception) -> TrainingFailedError:
        if isinstance(error, AnswerError):
            self._signal_main(signal.SIGKILL)
            return TrainingFailedError(Outcome.CRASHED, f"the process of the submission gave an answer of {error}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._outer.wait(_SEND_S)
        status = self._outer.poll()
        return TrainingFailedError(
            Outcome.CRASHED, f"the process of the submission ended without an answer (exit status {status})"
        )


def _at_most(seconds: float) -> Callable[[], float | None]:
    deadline_s = time.monotonic() + seconds

    def wait_s() -> float | None:
        left_s = deadline_s - time.monotonic()
        return left_s if left_s > 0 else None

    return wait_s


def _environment(temporary: Path) -> dict[str, str]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    inherited = {name: value for name, value in os.environ.items() if name not in _CACHES}
    own = {PROCESS_MARK: "1", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return {**inherited, **own, "TMPDIR": str(temporary), "XDG_CACHE_HOME": str(temporary)}


def _failure(answer: dict[str, Any]) -> TrainingFailedError:
    """Only a lack of memory is told from other failures: the process does not choose how its trial ends."""
    is_memory = answer.get("failure") == Outcome.OUT_OF_MEMORY
    text = str(answer.get("error", answer.get("refused")))[-_LONGEST_TEXT:]
    return TrainingFailedError(Outcome.OUT_OF_MEMORY if is_memory else Outcome.CRASHED, text)
