"""Trackers follow a trial: TensorBoard, Weights & Biases, MLflow. One that fails is left out; the run continues."""

import importlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple, Protocol

from algoperf.background import THREAD_PREFIX
from algoperf.records import json
from algoperf.reporting import Report

PROJECT = "algoperf"
_PATIENCE_S = 20.0  # how long a pause waits for a tracker; a server that does not answer must not stop a run
_MILLISECONDS = 1000
_BATCH = 1000  # metrics that MLflow takes in one call


class Row(NamedTuple):
    """Numbers of one step, and when they were recorded (seconds since 1970). Made on the clock, so it must be cheap."""

    metrics: Mapping[str, float]
    global_step: int
    wall_time_s: float


class Tracker(Protocol):
    """What follows a trial. Any method may raise anything: the tracker is then left out."""

    def log(self, rows: Sequence[Row]) -> None:
        """Takes the next rows, in order."""

    def close(self) -> None:
        """The trial has ended; called once."""


@dataclass(frozen=True, kw_only=True)
class TrackedTrial:
    """What a tracker is told of a trial at its start.

    Attributes:
      trial_dir: where its files may go.
      name: of the run.
      config: flags and hyperparameters.
      tags: workload and framework.
    """

    trial_dir: Path
    name: str
    config: Mapping[str, Any]
    tags: Sequence[str]


class TrackerError(Exception):
    """A tracker cannot start; the message says why, and what to do."""


class GuardedTracker:
    """A tracker whose failures are reported once, and end it alone. A call that takes too long counts as one.

    Args:
      name: for messages.
      tracker: what is guarded.
      report: told of the failure.
      patience_s: how long to wait for a call.
    """

    def __init__(self, name: str, tracker: Tracker, report: Report, *, patience_s: float = _PATIENCE_S) -> None:
        self._name, self._report, self._patience_s = name, report, patience_s
        self._tracker: Tracker | None = tracker

    def log(self, rows: Sequence[Row]) -> None:
        if self._tracker is not None and rows:
            tracker = self._tracker
            self._call(lambda: tracker.log(rows))

    def close(self) -> None:
        if self._tracker is not None:
            self._call(self._tracker.close)
        self._tracker = None

    def _call(self, call: Callable[[], None]) -> None:
        failures: list[BaseException] = []

        def run() -> None:
            try:
                call()
            except BaseException as error:  # a client may even call sys.exit
                failures.append(error)

        thread = threading.Thread(target=run, daemon=True, name=f"{THREAD_PREFIX}{self._name}")
        thread.start()
        thread.join(self._patience_s)
        if thread.is_alive():
            self._leave_out(f"it did not answer for {self._patience_s:.0f} s")
        elif failures:
            self._leave_out(_shown(failures[0]))

    def _leave_out(self, reason: str) -> None:
        self._tracker = None
        self._report(f"warning: {self._name} is left out from here on, the run continues: {reason}")


def start_trackers(names: Sequence[str], trial: TrackedTrial, report: Report) -> list[GuardedTracker]:
    """Starts trackers; one that cannot start is reported and left out.

    Args:
      names: of `TRACKERS`.
      trial: what they are told.
      report: told what is left out, and why.
    """
    started = []
    for name in names:
        try:
            started.append(GuardedTracker(name, TRACKERS[name](trial), report))
        except (Exception, SystemExit) as error:
            report(f"warning: {name} is left out, the run continues: {_shown(error)}")
    return started


class _Wandb:
    def __init__(self, trial: TrackedTrial) -> None:
        wandb = _client("wandb", extra="wandb")
        if _wandb_mode(wandb) == "online" and not _has_wandb_account(wandb):
            raise TrackerError("there is no account: run `wandb login`, set WANDB_API_KEY, or choose `wandb offline`")
        # What a person has set for Weights & Biases itself goes before what is chosen here.
        chosen = {"project": (PROJECT, "WANDB_PROJECT"), "dir": (str(trial.trial_dir), "WANDB_DIR")}
        own = {name: value for name, (value, variable) in chosen.items() if variable not in os.environ}
        config = json.plain(trial.config, unknown=str)
        self._run = wandb.init(name=trial.name, tags=list(trial.tags), config=config, **own)

    def log(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._run.log(dict(row.metrics), step=row.global_step)

    def close(self) -> None:
        self._run.finish()


def _wandb_mode(wandb: Any) -> str:
    """online, offline or disabled: by the environment, else by the settings that `wandb offline` wrote."""
    if "WANDB_MODE" in os.environ:
        return os.environ["WANDB_MODE"]
    try:
        return str(wandb.setup().settings.mode)
    except Exception:  # releases that keep their settings elsewhere
        return "online"


def _has_wandb_account(wandb: Any) -> bool:
    try:
        return bool(wandb.login(prompt=False))
    except TypeError:  # releases whose login has no `prompt`
        return bool(wandb.api.api_key)


class _Mlflow:
    """Goes where MLFLOW_TRACKING_URI says, into the experiment of MLFLOW_EXPERIMENT_NAME or `algoperf`."""

    def __init__(self, trial: TrackedTrial) -> None:
        mlflow = _client("mlflow", extra="mlflow")
        self._entities = importlib.import_module("mlflow.entities")
        self._client = mlflow.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment is not None else self._client.create_experiment(name)
        tags = {"trial_dir": str(trial.trial_dir), **dict.fromkeys(trial.tags, "")}
        self._run_id = self._client.create_run(number, run_name=trial.name, tags=tags).info.run_id
        config = json.plain(trial.config, unknown=str)
        params = [self._entities.Param(key, str(value)) for key, value in config.items() if value is not None]
        self._client.log_batch(self._run_id, params=params)

    def log(self, rows: Sequence[Row]) -> None:
        metrics = [
            self._entities.Metric(key, value, int(row.wall_time_s * _MILLISECONDS), row.global_step)
            for row in rows
            for key, value in row.metrics.items()
        ]
        for first in range(0, len(metrics), _BATCH):
            self._client.log_batch(self._run_id, metrics=metrics[first : first + _BATCH])

    def close(self) -> None:
        self._client.set_terminated(self._run_id, end_time=int(time.time() * _MILLISECONDS))


def _tensorboard(trial: TrackedTrial) -> Tracker:
    from algoperf.records.tensorboard import TensorBoardLog

    return TensorBoardLog(trial.trial_dir)


TENSORBOARD, WANDB, MLFLOW = "TensorBoard", "Weights & Biases", "MLflow"
TRACKERS: Mapping[str, Callable[[TrackedTrial], Tracker]] = MappingProxyType(
    {TENSORBOARD: _tensorboard, WANDB: _Wandb, MLFLOW: _Mlflow}
)


def _client(package: str, *, extra: str) -> ModuleType:
    """The package of a tracker.

    Raises:
      TrackerError: it is not installed, or it is and something that it needs is broken; says which.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            raise TrackerError(f"{package} is not installed: pip install 'algoperf[{extra}]'") from error
        raise TrackerError(f"{package} is installed, but {error.name}, which it needs, is not") from error
    except Exception as error:
        raise TrackerError(f"{package} is installed, but cannot be imported: {_shown(error)}") from error


def _shown(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, TrackerError) else f"{type(error).__name__}: {text}"
