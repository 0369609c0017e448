"""Records what a trial measures: CSV files in the layout of AlgoPerf v0.6; trackers get the same.

`measurements.csv` holds a row for each call of the submission, for each evaluation and for the final score;
`eval_measurements.csv` holds the evaluations alone. Time that a submission spends here is charged to it, so its
rows are only buffered; the slow consumers get them between steps that count.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from algoperf.records.columns import GLOBAL_STEP, PREEMPTION_COUNT, SCORE
from algoperf.records.csv_log import CsvLog, Number
from algoperf.records.files import explained, unwritable
from algoperf.records.layout import EVALUATIONS, MEASUREMENTS
from algoperf.records.trackers import GuardedTracker, Row

_FLUSH_PERIOD_S = 1.0
_MAX_WAITING = 100_000


class Recorder:
    """Writes the records of one trial, once it is started. Only one process may have a trial's recorder.

    Args:
      trial_dir: existing folder of the trial.

    Every method raises RecorderError when the disk is full or not writable.
    """

    def __init__(self, trial_dir: Path) -> None:
        self._trial_dir = trial_dir
        self._rows: Mapping[str, int] = {}
        self._preemption_count = 0
        self._trackers: Sequence[GuardedTracker] = ()
        self._waiting: list[Row] = []
        self._flushed_s = 0.0
        self._closed = False

    def start(self, *, preemption_count: int = 0, trackers: Sequence[GuardedTracker] = ()) -> Self:
        """Opens the files. Rows beyond those of the loaded state, or all without one, go to `<stem>.lost-<k>.csv`.

        Args:
          preemption_count: how often the trial was resumed; a column of evaluations and of the final row.
          trackers: get every row too, between steps that count; they are closed at `close`.
        """
        self._preemption_count = preemption_count
        self._trackers = trackers
        folder, keep = self._trial_dir, self._rows
        with explained(folder):
            self._measurements = CsvLog(folder / MEASUREMENTS, keep_rows=keep.get(MEASUREMENTS, 0))
            self._evaluations = CsvLog(folder / EVALUATIONS, sort_columns=True, keep_rows=keep.get(EVALUATIONS, 0))
        return self

    def append_scalar_metrics(self, metrics: Mapping[str, Any], global_step: int) -> None:
        """Records scalars of one step; the call that submissions make.

        Args:
          metrics: numbers, or arrays with one element of any framework; not changed.
          global_step: the step they belong to.

        Raises:
          TypeError: a value is not a number; names it.
        """
        numbers, step, now_s = _numbers(metrics), int(global_step), time.time()
        try:
            self._measurements.append({GLOBAL_STEP: step, **numbers})
            if abs(now_s - self._flushed_s) >= _FLUSH_PERIOD_S:
                self._flushed_s = now_s
                self._measurements.flush()
        except OSError as error:
            raise unwritable(self._measurements.path, error) from error
        self._waiting.append(Row(metrics=numbers, global_step=step, wall_time_s=now_s))
        if len(self._waiting) >= _MAX_WAITING:
            self._deliver()

    def append_evaluation(self, row: Mapping[str, Any], global_step: int) -> None:
        """Records one evaluation in both files and waits until it is on the disk."""
        numbers = _numbers(row)
        labelled = {**numbers, GLOBAL_STEP: int(global_step), PREEMPTION_COUNT: self._preemption_count}
        if not self._measurements.num_rows:
            labelled = dict(sorted(labelled.items()))
        with explained(self._trial_dir):
            self._evaluations.append(labelled)
            self._measurements.append(labelled)
            self._evaluations.sync()
            self._measurements.sync()
        self._waiting.append(Row(metrics=numbers, global_step=int(global_step), wall_time_s=time.time()))
        self._deliver()

    def append_final(self, score: float, global_step: int) -> None:
        """Records the end of the trial: `score` is its submission time in seconds."""
        numbers = {SCORE: _number(SCORE, score)}
        labelled = {**numbers, GLOBAL_STEP: int(global_step), PREEMPTION_COUNT: self._preemption_count}
        with explained(self._trial_dir):
            self._measurements.append(labelled)
            self._measurements.sync()
        self._waiting.append(Row(metrics=numbers, global_step=int(global_step), wall_time_s=time.time()))
        self._deliver()

    def state_dict(self) -> dict[str, Any]:
        """Returns the rows per file, all of them on the disk."""
        with explained(self._trial_dir):
            self._measurements.sync()
            self._evaluations.sync()
        return {"rows": {MEASUREMENTS: self._measurements.num_rows, EVALUATIONS: self._evaluations.num_rows}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the rows of an earlier process; to be called before `start`. A file that is not named had none."""
        self._rows = dict(state["rows"])

    def close(self) -> None:
        """Writes what is buffered and ends the consumers; the recorder is unusable afterwards."""
        if self._closed:
            return
        self._closed = True
        with explained(self._trial_dir), contextlib.ExitStack() as stack:  # backwards, each whatever the others do
            for tracker in self._trackers:
                stack.callback(tracker.close)
            stack.callback(self._deliver)
            stack.callback(self._evaluations.close)
            stack.callback(self._measurements.close)

    def _deliver(self) -> None:
        """Gives the rows since the last call to the trackers."""
        waiting, self._waiting = self._waiting, []
        for tracker in self._trackers:
            tracker.log(waiting)


class ScalarLogger:
    """What a submission gets of a recorder: `append_scalar_metrics` and nothing else."""

    __slots__ = ("append_scalar_metrics",)

    def __init__(self, append: Callable[[Mapping[str, Any], int], None]) -> None:
        def append_scalar_metrics(metrics: Mapping[str, Any], global_step: int) -> None:
            append(metrics, global_step)

        self.append_scalar_metrics = append_scalar_metrics


class NullRecorder:
    """Takes the place of a Recorder on ranks other than 0; does nothing."""

    def start(self, *, preemption_count: int = 0, trackers: Sequence[GuardedTracker] = ()) -> Self:
        return self

    def append_scalar_metrics(self, metrics: Mapping[str, Any], global_step: int) -> None: ...

    def append_evaluation(self, row: Mapping[str, Any], global_step: int) -> None: ...

    def append_final(self, score: float, global_step: int) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {"rows": {}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


def _numbers(metrics: Mapping[str, Any]) -> dict[str, Number]:
    return {
        name: value if type(value) is float else _number(name, value)
        for name, value in metrics.items()
        if name != GLOBAL_STEP
    }


def _number(name: str, value: Any) -> Number:
    try:
        number = value.item() if hasattr(value, "item") else value
        if isinstance(number, str):
            raise TypeError
        return int(number) if isinstance(number, int) else float(number)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"metric {name!r} must be a number or an array with one element, got {type(value).__name__}"
        ) from error
