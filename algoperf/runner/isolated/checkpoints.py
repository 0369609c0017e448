"""Checkpoints of a run whose submission has a process of its own.

The harness writes the model that it evaluated, and next to it a file of what the process of the submission needs to
continue, which only such a process reads.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from algoperf.backends.base import Backend, StateMismatchError
from algoperf.harness.checkpoint import checkpoint_folders
from algoperf.runner.isolated.channel import open_state
from algoperf.runner.isolated.process import IsolatedProcess

_STATE_FILE = "submission_process.bin"


def refuse_other_mode(trial_dir: Path, *, isolated: bool) -> None:
    """Returns where every checkpoint of a trial was written in the same mode.

    Raises:
      StateMismatchError: one was not.
    """
    for step, folder in checkpoint_folders(trial_dir):
        if (folder / "state").is_dir() and (folder / "state" / _STATE_FILE).is_file() != isolated:
            was, now = ("without", "with") if isolated else ("with", "without")
            raise StateMismatchError(
                f"checkpoint_{step} of {trial_dir} was written {was} --isolated and cannot be continued {now} it; "
                f"resume {was} the flag, or choose another --experiment_name"
            )


class IsolatedStates:
    """Saves and loads the model with the harness's backend, and the rest as the submission's process gave it.

    Args:
      hand_over: makes the process hand over its present state, where it has not done so since its last step.
    """

    rank = 0

    def __init__(self, backend: Backend, process: IsolatedProcess, hand_over: Callable[[], None]) -> None:
        self._backend = backend
        self._process = process
        self._hand_over = hand_over

    def barrier(self) -> None:
        pass

    def check_savable(self, state: Mapping[str, Any]) -> None:
        pass  # the process has checked it when it made the optimizer state

    def save_state(self, directory: Path, state: Mapping[str, Any]) -> None:
        self._hand_over()
        self._backend.save_state(directory, state)
        with open_state(self._process.state) as memory, (directory / _STATE_FILE).open("wb") as file:
            shutil.copyfileobj(memory, file)

    def load_state(self, directory: Path, template: Mapping[str, Any]) -> dict[str, Any]:
        names = ("model_params", "model_state")
        loaded = self._backend.load_model(directory, {name: template[name] for name in names})
        os.ftruncate(self._process.state, 0)
        with (directory / _STATE_FILE).open("rb") as file, open(os.dup(self._process.state), "wb") as memory:
            memory.seek(0)
            shutil.copyfileobj(file, memory)
        self._process.request("restore")
        self._process.freeze()
        return {**loaded, "optimizer_state": None}
