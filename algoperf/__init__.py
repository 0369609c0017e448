"""Time-to-result benchmark of neural network training algorithms."""

import importlib
from typing import Any

__version__ = "0.1.0"


def run(**settings: Any) -> Any:
    """Runs one trial in this process; see `algoperf.runner.call.run`.

    Returns:
      its `TrialRecord`: outcome, times, best evaluation, ledger.
    """
    return importlib.import_module("algoperf.runner.call").run(**settings)


def compare(mine: str, **options: Any) -> Any:
    """Compares a training algorithm with another on the minis; see `algoperf.comparison.session.compare`.

    Returns:
      a `Comparison`: the verdict, the pairs of runs, a row for each workload and where the report is.
    """
    return importlib.import_module("algoperf.comparison.session").compare(mine, **options)
