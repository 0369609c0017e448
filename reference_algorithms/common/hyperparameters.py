"""Hyperparameters of a run: the tuned ones, or the algorithm's fixed ones under the self-tuning rules."""

import functools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def resolve(hyperparameters: Any, self_tuning_file: Path) -> Any:
    """Returns `hyperparameters`, or the point in `self_tuning_file` (a flat JSON object) where they are None."""
    return _fixed_point(self_tuning_file) if hyperparameters is None else hyperparameters


@functools.cache
def _fixed_point(path: Path) -> SimpleNamespace:
    return SimpleNamespace(**json.loads(path.read_text()))
