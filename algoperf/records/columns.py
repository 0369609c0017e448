"""Names of the columns of `measurements.csv` and `eval_measurements.csv`, as in AlgoPerf v0.6."""

from algoperf.definition import Split

GLOBAL_STEP = "global_step"
PREEMPTION_COUNT = "preemption_count"
# Seconds. `SCORE` and `SUBMISSION_TIME` hold the same number; logs of AlgoPerf may have only one of them.
SCORE = "score"
SUBMISSION_TIME = "accumulated_submission_time"
EVALUATION_TIME = "accumulated_eval_time"
LOGGING_TIME = "accumulated_logging_time"
TOTAL_DURATION = "total_duration"

_NUM_EXAMPLES = "num_examples"
_REPORTED_AS = {Split.EVAL_TRAIN: str(Split.TRAIN)}


def split_name(split: Split) -> str:
    """Name of a split in columns; metrics of the training data are those of `EVAL_TRAIN`."""
    return _REPORTED_AS.get(split, str(split))


def metric_column(split: Split, metric: str) -> str:
    """Column of a metric on a split, `validation/loss` for example."""
    return f"{split_name(split)}/{metric}"


def num_examples_column(split: Split) -> str:
    """Column of the number of examples that a split was evaluated on."""
    return metric_column(split, _NUM_EXAMPLES)


def metric_of(column: str) -> str:
    """Name of the metric that a column of `metric_column` holds."""
    return column.rpartition("/")[2]
