"""The JSON files next to a trial's evaluations. None of them is needed; one that cannot be read is an issue."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf.records import json, layout
from algoperf.records.files import RecordError
from algoperf.records.trial import TrialRecord
from algoperf.records.verification import Verification


@dataclass(frozen=True, kw_only=True)
class Companions:
    """What the files hold; an absent or unreadable one is None.

    Attributes:
      record: of this project's harness; logs of AlgoPerf have none.
      meta_data, flags: of the last process that worked on the trial.
      hyperparameters: `hparams.json`.
      verification: what `python -m algoperf.verify` left.
      unreadable: names of the files that cannot be read, with the reason.
    """

    record: TrialRecord | None
    meta_data: Mapping[str, Any] | None
    flags: Mapping[str, Any] | None
    hyperparameters: Mapping[str, Any] | None
    verification: Verification | None
    unreadable: tuple[str, ...]


def read_companions(trial_dir: Path) -> Companions:
    """Reads the files of one trial."""
    unreadable: list[str] = []
    try:
        names = set(os.listdir(trial_dir))
    except OSError:
        names = set()

    def content(name: str | None) -> Mapping[str, Any] | None:
        if name is None or name not in names:
            return None
        path = trial_dir / name
        try:
            return json.read_object(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            unreadable.append(f"{path.name} ({error.strerror})")
        except ValueError as error:
            unreadable.append(f"{path.name} (expected a JSON object, got {error})")
        return None

    record = None
    if content(layout.TRIAL_FILE) is not None:
        try:
            record = TrialRecord.read(trial_dir)
        except RecordError:
            unreadable.append(f"{layout.TRIAL_FILE} (a later version of algoperf wrote it)")
        else:
            if record is None:
                unreadable.append(f"{layout.TRIAL_FILE} (not the record of a trial)")
    return Companions(
        record=record,
        meta_data=content(layout.newest_meta_data_name(names)),
        flags=content(layout.newest_flags_name(names)),
        hyperparameters=content(layout.HYPERPARAMETERS_FILE),
        verification=Verification.read(trial_dir) if layout.VERIFICATION_FILE in names else None,
        unreadable=tuple(unreadable),
    )
