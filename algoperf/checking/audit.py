"""Which files, sockets, threads and processes a submission opens, by Python's audit events.

A hook that was added can never be taken away: this is for processes that end after a check.
"""

import _thread
import os
import sys
import sysconfig
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from algoperf.checking.findings import RuleFinding
from algoperf.definition import FRAMEWORKS

_FILES = "open"
_NETWORK = (
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "urllib.Request",
)
_PROCESSES = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "pty.spawn",
)
_THREADS = ("_thread.start_new_thread", "_thread.start_joinable_thread")
_FOLDERS = ("os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "os.link", "os.symlink", "os.truncate")
# Libraries raise these too, on behalf of anybody: only a submission's own call counts.
_INTERPRETER = (
    "sys._getframe",
    "sys._current_frames",
    "sys.settrace",
    "sys.setprofile",
    "sys.addaudithook",
    "gc.get_objects",
    "gc.get_referrers",
    "gc.get_referents",
    "ctypes.dlopen",
    "code.__new__",
    "function.__new__",
    "os.kill",
    "signal.pthread_kill",
    "os.putenv",
)
_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/opt")
_ARRAY_READERS = frozenset(
    {"numpy", "h5py", "safetensors", "orbax", "flax", "joblib", "pandas"} | {f.package for f in FRAMEWORKS.values()}
)
_ADVICE = {
    "data_files": "take batches from input_queue",
    "files": "read nothing but settings next to the submission, and write nothing",
    "network": "bring everything in the sources",
    "pause_work": "do the work in update_params, on the clock",
    "interpreter": "leave it out",
}


class AuditLog:
    """Findings about events that a submission causes, each kind and place once.

    Args:
      files: of the submission, by label.
      data_dir: of prepared data.
    """

    def __init__(self, files: dict[str, Path], data_dir: Path) -> None:
        self.findings: dict[tuple[str, str], RuleFinding] = {}
        self._labels = {str(path): label for label, path in files.items()}
        self._folders = tuple(sorted({f"{path.parent}{os.sep}" for path in files.values()}))
        self._data_dir = f"{data_dir}{os.sep}"
        paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
        self._stdlib = tuple(str(path) for path in paths)
        self._allowed = (*_SYSTEM, sys.prefix, sys.base_prefix, *self._stdlib, str(Path(__file__).parents[2]))
        self._local = threading.local()
        self._events = {
            **dict.fromkeys((_FILES, *_FOLDERS), self._on_file),
            **dict.fromkeys(_NETWORK, self._on_network),
            **dict.fromkeys((*_PROCESSES, *_THREADS), self._on_work),
            **dict.fromkeys(_INTERPRETER, self._on_interpreter),
        }

    def install(self) -> None:
        """Begins to listen. Python raises no event for threads before version 3.12, so that their start is wrapped."""
        sys.addaudithook(self._on_event)
        start = _thread.start_new_thread

        def start_new_thread(*arguments: Any) -> Any:
            self._on_event(_THREADS[0], arguments)
            return start(*arguments)

        for module in (_thread, threading):
            for name in ("start_new_thread", "_start_new_thread"):
                if hasattr(module, name):
                    setattr(module, name, start_new_thread)

    def _on_event(self, event: str, arguments: Sequence[Any]) -> None:
        handler = self._events.get(event)
        if handler is None or getattr(self._local, "is_busy", False):
            return
        self._local.is_busy = True
        try:
            frames = self._frames(sys._getframe(1))
            if any(name in self._labels for name, _ in frames):
                handler(event, arguments, frames)
        finally:
            self._local.is_busy = False

    def _frames(self, frame: FrameType | None) -> list[tuple[str, int]]:
        """File and line of each frame, innermost first, without those of this file."""
        frames = []
        while frame is not None:
            if frame.f_code.co_filename != __file__:
                frames.append((frame.f_code.co_filename, frame.f_lineno))
            frame = frame.f_back
        return frames

    def _caller(self, frames: Sequence[tuple[str, int]]) -> str:
        """File of the innermost frame that is not the standard library's."""
        for name, _ in frames:
            is_stdlib = name.startswith("<") or (name.startswith(self._stdlib) and "site-packages" not in name)
            if not is_stdlib:
                return name
        return ""

    def _on_file(self, event: str, arguments: Sequence[Any], frames: Sequence[tuple[str, int]]) -> None:
        path = arguments[0] if arguments else None
        if not isinstance(path, str | bytes | os.PathLike):
            return
        text = os.path.abspath(os.fsdecode(path))
        mode = arguments[1] if event == _FILES and len(arguments) > 1 else None
        writes = event not in (_FILES, "os.listdir", "os.scandir") or any(c in str(mode or "r") for c in "wax+")
        if f"{text}{os.sep}".startswith(self._data_dir):
            self._add("data_files", f"it opens {text}", frames)
        elif self._is_allowed(text, writes=writes):
            return
        elif self._caller(frames) in self._labels or self._reads_arrays(frames):
            self._add("files", f"it {'changes' if writes else 'reads'} {text}", frames)

    def _is_allowed(self, path: str, *, writes: bool) -> bool:
        """Whether a file is of the system, the interpreter or the benchmark, compiled code, or read in a folder of the
        submission."""
        is_own = path.startswith(self._folders) and not writes
        return is_own or path.startswith(self._allowed) or Path(path).parent.name == "__pycache__"

    def _reads_arrays(self, frames: Sequence[tuple[str, int]]) -> bool:
        """Whether a library that a submission called reads or writes arrays, and does not compile."""
        parts = Path(self._caller(frames)).parts
        package = parts[parts.index("site-packages") + 1] if "site-packages" in parts[:-1] else ""
        compiles = any("_inductor" in name or "_dynamo" in name or "compilation_cache" in name for name, _ in frames)
        return package in _ARRAY_READERS and not compiles

    def _on_network(self, event: str, arguments: Sequence[Any], frames: Sequence[tuple[str, int]]) -> None:
        self._add("network", f"it uses the network ({event})", frames)

    def _on_work(self, event: str, arguments: Sequence[Any], frames: Sequence[tuple[str, int]]) -> None:
        if self._caller(frames) in self._labels:
            what = "a thread" if event in _THREADS else "a process"
            self._add("pause_work", f"it starts {what} ({event})", frames)

    def _on_interpreter(self, event: str, arguments: Sequence[Any], frames: Sequence[tuple[str, int]]) -> None:
        if frames[0][0] in self._labels:
            self._add("interpreter", f"it calls {event}", frames)

    def _add(self, check: str, message: str, frames: Sequence[tuple[str, int]]) -> None:
        file, line = next((self._labels[name], line) for name, line in frames if name in self._labels)
        finding = RuleFinding.of(f"dry_run.{check}", message, _ADVICE[check], file=file, line=line)
        self.findings.setdefault((check, message), finding)
