"""Hyperparameters of a run: the tuned ones, or the algorithm's fixed ones under the self-tuning rules."""

import functools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def resolve(hyperparameters: Any, self_tuning_file: Path | None) -> Any:
    """Returns `hyperparameters`, or the point in `self_tuning_file` (a flat JSON object) where they are None.

    Raises:
      ValueError: `hyperparameters` is None and there is no such file.
    """
    if hyperparameters is not None:
        return hyperparameters
    if self_tuning_file is None or not self_tuning_file.is_file():
        raise ValueError("this submission has no self_tuning_file; run it with --tuning_ruleset=external")
    return _fixed_point(self_tuning_file)


@functools.cache
def _fixed_point(path: Path) -> SimpleNamespace:
    return SimpleNamespace(**json.loads(path.read_text()))
