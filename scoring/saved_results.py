"""The logs as AlgoPerf's scorer saves them: a pickle of one pandas table per submission, with a row for each trial."""

import pickle
from pathlib import Path

import numpy as np

from algoperf.records import columns
from algoperf.records.layout import study_folder, trial_folder
from scoring.logs import LogsError, LogStatus, LogTree, Trial
from scoring.rules import Rules

_COLUMNS = {
    columns.SUBMISSION_TIME: "time_s",
    columns.SCORE: "time_s",
    columns.GLOBAL_STEP: "step",
    columns.EVALUATION_TIME: "eval_time_s",
    columns.LOGGING_TIME: "logging_time_s",
    columns.TOTAL_DURATION: "wall_s",
}


def save_results(tree: LogTree, rules: Rules, path: Path) -> Path:
    """Writes `{submission: table}` to `path` and returns it.

    A row has `workload` (with the framework, as the folder), `study`, `trial`, and arrays over evaluations: times and
    steps under their names in the logs, and the target metric of the validation and the test split.
    Raises LogsError where pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise LogsError("--save_results_to_filename needs pandas; pip install pandas") from error
    tables = {
        submission: pd.DataFrame(
            [_row(t, rules) for t in tree.trials if t.submission == submission and t.status is LogStatus.READ]
        )
        for submission in tree.submissions
    }
    with path.open("wb") as stream:
        pickle.dump(tables, stream)
    return path


def _row(trial: Trial, rules: Rules) -> dict[str, str | np.ndarray]:
    rule = rules.workloads[trial.workload]
    return {
        "workload": f"{trial.workload}_{trial.framework}",
        "study": study_folder(trial.study),
        "trial": trial_folder(trial.number),
        **{name: getattr(trial, attribute) for name, attribute in _COLUMNS.items()},
        rule.validation_column: trial.validation,
        rule.test_column: trial.test,
    }
