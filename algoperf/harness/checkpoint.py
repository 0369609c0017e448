"""Checkpoints of a trial: atomic, checksummed, and the newest kept until the next is complete.

A checkpoint is a folder `checkpoint_<step>` with the backend's device state in `state/`, what the harness knows in
`run.json`, and a `manifest.json` with size and CRC-32 of every file. It is written under a temporary name and renamed.
"""

import json
import os
import random
import re
import shutil
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.backends.base import Backend
from algoperf.errors import UserError

_NAME = re.compile(r"checkpoint_(\d+)")
_MANIFEST = "manifest.json"
_KEPT = 2


class CheckpointError(UserError):
    """A checkpoint could not be written or read."""


@dataclass(frozen=True, kw_only=True)
class RestoredRun:
    """What came back from disk: device state as `Backend.load_state` gives it, and the harness's own facts."""

    step: int
    state: dict[str, Any]
    run: dict[str, Any]
    skipped: tuple[str, ...]


class Checkpointer:
    """Writes and finds the checkpoints of one trial.

    Args:
      trial_dir: folder of the trial.
      backend: saves and loads device state; all ranks call, rank 0 writes the rest.
      keep_all: keep every checkpoint instead of the newest two (the older of them is the fallback).
    """

    def __init__(self, trial_dir: Path, backend: Backend, *, keep_all: bool = False) -> None:
        self._trial_dir = trial_dir
        self._backend = backend
        self._keep_all = keep_all

    def save(self, step: int, state: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        """Writes the checkpoint of `step`. `run` must be JSON-serialisable.

        Raises:
          CheckpointError: the disk is full or not writable; earlier checkpoints are untouched.
          UnsavableStateError: the optimizer state holds what cannot be saved; names the entry.
        """
        final = self._trial_dir / f"checkpoint_{step}"
        partial = self._trial_dir / f".checkpoint_{step}.partial"
        is_writer = self._backend.rank == 0
        try:
            if is_writer:
                shutil.rmtree(partial, ignore_errors=True)
                (partial / "state").mkdir(parents=True)
            self._backend.barrier()
            self._backend.save_state(partial / "state", state)
            self._backend.barrier()
            if is_writer:
                facts = {**run, "host_random": _host_random_state()}
                (partial / "run.json").write_text(json.dumps(facts))
                _write_manifest(partial)
                if final.exists():
                    shutil.rmtree(final)
                partial.rename(final)
                _sync(self._trial_dir)
                self._prune()
            self._backend.barrier()
        except OSError as error:
            raise CheckpointError(f"cannot write {final}: {error.strerror or error}") from error

    def restore(self, template: Mapping[str, Any]) -> RestoredRun | None:
        """Returns the newest intact checkpoint, or None where there is none; `skipped` says which were damaged."""
        skipped: list[str] = []
        for step, path in sorted(self._found(), reverse=True):
            try:
                _check_manifest(path)
                run = json.loads((path / "run.json").read_text())
                state = self._backend.load_state(path / "state", template)
            except (OSError, ValueError, KeyError, CheckpointError) as error:
                skipped.append(f"{path.name} is damaged ({error})")
                continue
            _restore_host_random(run.pop("host_random"))
            return RestoredRun(step=step, state=state, run=run, skipped=tuple(skipped))
        if skipped:
            return RestoredRun(step=0, state={}, run={}, skipped=tuple(skipped))
        return None

    def _found(self) -> list[tuple[int, Path]]:
        matches = ((_NAME.fullmatch(path.name), path) for path in self._trial_dir.iterdir())
        return [(int(match[1]), path) for match, path in matches if match]

    def _prune(self) -> None:
        if not self._keep_all:
            for _, path in sorted(self._found(), reverse=True)[_KEPT:]:
                shutil.rmtree(path)


def _write_manifest(folder: Path) -> None:
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        files[str(path.relative_to(folder))] = {"bytes": path.stat().st_size, "crc32": _crc32(path)}
        _sync(path)
    manifest = folder / _MANIFEST
    manifest.write_text(json.dumps(files, indent=1))
    _sync(manifest)


def _check_manifest(folder: Path) -> None:
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


def _host_random_state() -> dict[str, Any]:
    """State of Python's and NumPy's global generators, which a submission may draw from."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(internal), gauss],
        "python_version": sys.version_info[:2],
        "numpy": [name, np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
    }


def _restore_host_random(state: Mapping[str, Any]) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.asarray(keys, np.uint32), *rest))
