"""The file `trial.json`: how a trial ended, and where its time went."""

import json
from pathlib import Path
from typing import Any

TRIAL_FILE = "trial.json"
TRIAL_SCHEMA_VERSION = 1


def read_trial_record(trial_dir: Path) -> dict[str, Any] | None:
    """Returns the record of a trial, or None where there is none (the trial has not ended) or it is unreadable."""
    try:
        record = json.loads((trial_dir / TRIAL_FILE).read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and "outcome" in record else None
