"""A finished trial as its folder has it, for verification."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf.definition import Split, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.harness.checkpoint import checkpoint_folders
from algoperf.records import columns, layout
from algoperf.records.json import read_if_intact
from algoperf.records.run_state import RUN_STATE_FILE
from algoperf.records.trial import TrialRecord
from algoperf.verification.tables import Row, read_rows


class UnverifiableError(UserError):
    """There is no finished trial; one line that says where it was looked for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialFiles:
    """What the folder of a trial holds.

    Attributes:
      folder: of the trial.
      record: `trial.json`.
    """

    folder: Path
    record: TrialRecord

    @classmethod
    def read(cls, folder: Path) -> "TrialFiles":
        """Reads a trial.

        Raises:
          UnverifiableError: `folder` is not that of a finished trial.
          RecordError: a later version wrote it.
        """
        record = TrialRecord.read(folder)
        if record is None:
            raise UnverifiableError(f"{folder} has no readable {layout.TRIAL_FILE}; expected the folder of a trial")
        return cls(folder=folder, record=record)

    @functools.cached_property
    def evaluations(self) -> list[Row]:
        return read_rows(self.folder / layout.EVALUATIONS)

    @functools.cached_property
    def measurements(self) -> list[Row]:
        return read_rows(self.folder / layout.MEASUREMENTS)

    @functools.cached_property
    def flags(self) -> dict[str, Any]:
        """Flags of the first process, as far as they are recorded."""
        return dict(read_if_intact(self.folder / layout.flags_file(0)) or {})

    @functools.cached_property
    def checkpoints(self) -> dict[int, Path]:
        """Folders of complete checkpoints by step."""
        return {step: path for step, path in checkpoint_folders(self.folder) if (path / RUN_STATE_FILE).is_file()}

    def evaluation_at(self, step: int) -> Row | None:
        return next((row for row in self.evaluations if row.get(columns.GLOBAL_STEP) == step), None)

    def last_evaluated_checkpoint(self) -> int | None:
        """Step of the newest checkpoint at which there was an evaluation."""
        steps = [step for step in self.checkpoints if self.evaluation_at(step) is not None]
        return max(steps, default=None)

    def step_at_target(self, definition: WorkloadDefinition) -> int | None:
        """Step of the first evaluation that reached the validation target, by the log; None where none did."""
        column = columns.metric_column(Split.VALIDATION, definition.metric.name)
        for row in self.evaluations:
            if column in row and definition.metric.reached(row[column], definition.validation_target):
                return int(row[columns.GLOBAL_STEP])
        return None

    def recorded_evaluations(self, step: int) -> list[tuple[int, Row]] | None:
        """The evaluations that the checkpoint of `step` remembers; None where it cannot be read."""
        try:
            content = json.loads((self.checkpoints[step] / RUN_STATE_FILE).read_text())
            training = content.get("training", content)
            return [(int(number), dict(row)) for number, row in training["eval_results"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None


def trials_below(path: Path) -> list[Path]:
    """Folders of trials: `path` itself, or those below it, in order.

    Raises:
      UnverifiableError: there is none.
    """
    if (path / layout.TRIAL_FILE).is_file():
        return [path]
    folders = sorted(file.parent for file in path.rglob(layout.TRIAL_FILE)) if path.is_dir() else []
    if not folders:
        raise UnverifiableError(f"{path} holds no {layout.TRIAL_FILE}; expected the folder of a trial or one above it")
    return folders
