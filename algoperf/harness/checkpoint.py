"""Checkpoints of a trial: atomic, checksummed, and the newest kept until the next is complete.

A checkpoint is a folder `checkpoint_<step>` with the backend's device state in `state/`, what the harness knows in
`run.json`, and a `manifest.json` with size and CRC-32 of every file. It is written under a temporary name and renamed.
"""

import contextlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from algoperf.backends.base import UnsavableStateError
from algoperf.definition import Split
from algoperf.errors import UserError
from algoperf.harness.run_state import RunState
from algoperf.ownership import ForeignFilesError, remove_folder
from algoperf.records.columns import metric_column
from algoperf.records.files import reason
from algoperf.records.layout import is_checkpoint_file
from algoperf.records.run_state import RUN_STATE_FILE, RunStateRecord

_NAME = re.compile(r"checkpoint_(\d+)")
_PARTIAL = ".checkpoint_*.partial"
_MANIFEST = "manifest.json"
_NUM_RETAINED = 2


class CheckpointError(UserError):
    """A checkpoint could not be written or read."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One that was read: device state as `Backend.load_state` gives it, and everything else."""

    step: int
    device_state: dict[str, Any]
    record: RunStateRecord


@dataclass(frozen=True, kw_only=True)
class FoundCheckpoint:
    """The newest intact checkpoint, or None; `damaged` says of each newer one why it was passed over."""

    checkpoint: Checkpoint | None
    damaged: tuple[str, ...] = ()


class StateStore(Protocol):
    """Writes and reads the state on the devices, as a `Backend` does; see there."""

    rank: int

    def barrier(self) -> None: ...

    def check_savable(self, state: Mapping[str, Any]) -> None: ...

    def save_state(self, directory: Path, state: Mapping[str, Any]) -> None: ...

    def load_state(self, directory: Path, template: Mapping[str, Any]) -> dict[str, Any]: ...


class Checkpointer:
    """Writes and finds the checkpoints of one trial.

    Args:
      trial_dir: folder of the trial.
      states: saves and loads device state; all ranks call, rank 0 writes the rest.
      keep_all: keep every checkpoint instead of the newest two (the older of them is the fallback).
      keep_at_target: also keep the one of the first evaluation that reached the validation target.
    """

    def __init__(
        self, trial_dir: Path, states: StateStore, *, keep_all: bool = False, keep_at_target: bool = False
    ) -> None:
        self._trial_dir = trial_dir
        self._states = states
        self._keep_all = keep_all
        self._keep_at_target = keep_at_target

    def save(self, step: int, run_state: RunState) -> None:
        """Writes the checkpoint of `step`.

        Raises:
          CheckpointError: the disk is full or not writable; earlier checkpoints are untouched.
          ForeignFilesError: the folder of the checkpoint holds files that no run writes.
          UnsavableStateError: the optimizer state holds what cannot be saved; names the entry.
        """
        final = self._trial_dir / f"checkpoint_{step}"
        partial = self._trial_dir / _PARTIAL.replace("*", str(step))
        is_writer = self._states.rank == 0
        record = run_state.record()
        try:
            if is_writer:
                remove_folder(partial, is_checkpoint_file)
                (partial / "state").mkdir(parents=True)
            self._states.barrier()
            with _naming_the_flag():
                self._states.save_state(partial / "state", run_state.training.device_state())
            self._states.barrier()
            if is_writer:
                (partial / RUN_STATE_FILE).write_text(json.dumps(record.as_json()))
                write_manifest(partial)
                remove_folder(final, is_checkpoint_file)
                partial.rename(final)
                _sync(self._trial_dir)
                self._prune(_step_at_target(run_state) if self._keep_at_target else None)
            self._states.barrier()
        except OSError as error:
            raise CheckpointError(f"cannot write {final}: {reason(error)}") from error

    def check(self, run_state: RunState) -> None:
        """Encodes the state on the devices once, writing nothing.

        Raises:
          UnsavableStateError: the optimizer state holds what cannot be saved; names the entry and what to do.
        """
        with _naming_the_flag():
            self._states.check_savable(run_state.training.device_state())

    def restore(self, run_state: RunState) -> FoundCheckpoint:
        """Fills `run_state`, freshly initialised, from the newest intact checkpoint; leaves it alone where none is.

        Raises: as `find` does.
        """
        search = self.find(run_state.training.device_state())
        if search.checkpoint is not None:
            run_state.restore(search.checkpoint.record, search.checkpoint.device_state)
        return search

    def find(self, template: Mapping[str, Any]) -> FoundCheckpoint:
        """Reads the newest intact checkpoint. `template` is freshly initialised device state of the same run.

        Raises:
          RunStateSchemaError: it was written by a later version of this package.
          StateMismatchError: it was written by another submission or workload.
        """
        damaged: list[str] = []
        for step, path in sorted(checkpoint_folders(self._trial_dir), reverse=True):
            try:
                check_manifest(path)
                record = RunStateRecord.from_json(json.loads((path / RUN_STATE_FILE).read_text()), source=path.name)
                device_state = self._states.load_state(path / "state", template)
            except (OSError, ValueError, KeyError, CheckpointError) as error:
                damaged.append(f"{path.name} is damaged ({error})")
                continue
            checkpoint = Checkpoint(step=step, device_state=device_state, record=record)
            return FoundCheckpoint(checkpoint=checkpoint, damaged=tuple(damaged))
        return FoundCheckpoint(checkpoint=None, damaged=tuple(damaged))

    def _prune(self, retained_step: int | None) -> None:
        if not self._keep_all:
            written = [
                (step, path) for step, path in checkpoint_folders(self._trial_dir) if (path / _MANIFEST).exists()
            ]
            for step, path in sorted(written, reverse=True)[_NUM_RETAINED:]:
                if step == retained_step:
                    continue
                with contextlib.suppress(ForeignFilesError):  # a folder with files of a person is left as it is
                    remove_folder(path, is_checkpoint_file)


def _step_at_target(run_state: RunState) -> int | None:
    """Step of the first evaluation that reached the validation target, as scoring counts it."""
    definition = run_state.stopping.definition
    column = metric_column(Split.VALIDATION, definition.metric.name)
    for step, row in run_state.training.eval_results:
        if definition.metric.reached(row[column], definition.validation_target):
            return step
    return None


def checkpoint_folders(trial_dir: Path) -> list[tuple[int, Path]]:
    """Step and folder of every checkpoint of a trial."""
    matches = ((_NAME.fullmatch(path.name), path) for path in trial_dir.iterdir())
    return [(int(match[1]), path) for match, path in matches if match]


@contextlib.contextmanager
def _naming_the_flag() -> Iterator[None]:
    try:
        yield
    except UnsavableStateError as error:
        raise UnsavableStateError(f"{error}; or give up resuming, with --save_checkpoints=False") from error


def remove_partial_checkpoints(trial_dir: Path) -> None:
    """Removes what a process that was killed while it wrote a checkpoint has left; only one process may call it."""
    for partial in trial_dir.glob(_PARTIAL):
        with contextlib.suppress(ForeignFilesError, OSError):  # it is in nobody's way
            remove_folder(partial, is_checkpoint_file)


def write_manifest(folder: Path) -> None:
    """Writes the manifest of a checkpoint, and waits until all its files are on the disk."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        files[str(path.relative_to(folder))] = {"bytes": path.stat().st_size, "crc32": _crc32(path)}
        _sync(path)
    manifest = folder / _MANIFEST
    manifest.write_text(json.dumps(files, indent=1))
    _sync(manifest)


def check_manifest(folder: Path) -> None:
    """Compares the files of a checkpoint with its manifest.

    Raises:
      CheckpointError: a file is missing or has another checksum.
      OSError, ValueError, KeyError: the manifest cannot be read.
    """
    for name, entry in json.loads((folder / _MANIFEST).read_text()).items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{name} is missing")
        if path.stat().st_size != entry["bytes"] or _crc32(path) != entry["crc32"]:
            raise CheckpointError(f"{name} has the wrong checksum")


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            crc = zlib.crc32(block, crc)
    return crc


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
