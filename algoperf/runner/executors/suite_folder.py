"""What is kept in a suite's folder, so that jobs can run its trials and any shell can ask how far they are.

`<suite>/.suite/suite.json` says what is run, `jobs.json` which jobs were submitted, `runner.json` which process runs
the suite on a machine, and `journal/` has a file for each trial with a line for each start and end. A journal has one
writer at a time, the one that holds the trial.
"""

import dataclasses
import json as std_json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from algoperf.errors import UserError
from algoperf.records import json
from algoperf.records.files import RecordError, explained
from algoperf.records.layout import SUITE_FOLDER
from algoperf.records.trial import TrialRecord
from algoperf.runner.executors.resources import Resources, Site
from algoperf.runner.suite_plan import EVALUATION_SHARE, SET_UP_S

_SUITE, _JOBS, _PROCESS, _JOURNAL = "suite.json", "jobs.json", "runner.json", "journal"
_KEY = "{study}/{workload}/{trial}"
SCHEMA_VERSION = 1


class SuiteFolderError(UserError):
    """A folder is no suite's, or has not what was asked for."""


@dataclass(frozen=True, kw_only=True)
class StoredTrial:
    """One trial of a stored suite.

    Attributes:
      key: its folder below the suite's, which also names it.
      workload: its name.
      budget_s: submission time that it may use, seconds.
      longest_s: wall time that it takes at most from its start to its end, seconds.
      arguments: of the runner, without the folders of the experiment.
    """

    key: str
    workload: str
    budget_s: float
    longest_s: float
    arguments: tuple[str, ...]

    @property
    def label(self) -> str:
        study, _, trial = self.key.split("/")
        return f"{self.workload} {study} {trial}"


@dataclass(frozen=True, kw_only=True)
class Event:
    """A line of a trial's journal.

    Attributes:
      event: `started` or `ended`.
      time_s: seconds since 1970.
      details: of a start the job, the machine, the process and its neighbours; of an end its status and reason.
    """

    event: str
    time_s: float
    details: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StoredSuite:
    """A suite as it was last started.

    Attributes:
      root: folder of the suite.
      suite, rules, framework, tuning_ruleset: their names.
      executor: as the command named it.
      num_studies, num_trials: how many; trials of each workload in a study.
      workloads: in the order of the suite.
      launcher: words before the runner; empty means Python.
      resources: of each workload.
      site: what the cluster allows.
      remarks: what the results fall short in, a line each.
      trials: in the order in which they run.
    """

    root: Path
    suite: str
    rules: str
    framework: str
    tuning_ruleset: str
    executor: str
    num_studies: int
    num_trials: int
    workloads: tuple[str, ...]
    launcher: tuple[str, ...] = ()
    resources: Mapping[str, Resources] = field(default_factory=dict)
    site: Site = field(default_factory=Site)
    remarks: tuple[str, ...] = ()
    trials: tuple[StoredTrial, ...]

    @property
    def scores_dir(self) -> Path:
        return scores_dir(self.root)

    def write(self) -> None:
        """Replaces what an earlier command stored."""
        content = {**dataclasses.asdict(self), "schema_version": SCHEMA_VERSION}
        del content["root"]
        with explained(self.root):
            (self.root / SUITE_FOLDER).mkdir(parents=True, exist_ok=True)
        json.write(self.root / SUITE_FOLDER / _SUITE, content)

    @classmethod
    def read(cls, root: Path) -> Self:
        """The suite that was last started in a folder.

        Raises:
          SuiteFolderError: none was.
        """
        path = root.expanduser() / SUITE_FOLDER / _SUITE
        try:
            content = json.read(path)
            if content.pop("schema_version", None) != SCHEMA_VERSION:
                raise SuiteFolderError(f"{path} is of another version; run the suite's command again")
            return cls(
                **content
                | {
                    "root": root.expanduser().resolve(),
                    "workloads": tuple(content["workloads"]),
                    "launcher": tuple(content["launcher"]),
                    "remarks": tuple(content["remarks"]),
                    "resources": {name: Resources(**values) for name, values in content["resources"].items()},
                    "site": Site(**{**content["site"], "setup": tuple(content["site"]["setup"])}),
                    "trials": tuple(
                        StoredTrial(**{**trial, "arguments": tuple(trial["arguments"])}) for trial in content["trials"]
                    ),
                }
            )
        except (RecordError, KeyError, TypeError) as error:
            raise SuiteFolderError(
                f"{root} is not the folder of a suite ({error}); expected <experiment_dir>/<experiment_name> of one "
                "that was started"
            ) from error

    def trial(self, name: str) -> StoredTrial:
        """The trial of a key or of a number, counted from 0.

        Raises:
          SuiteFolderError: there is none.
        """
        if name.isdigit() and int(name) < len(self.trials):
            return self.trials[int(name)]
        for trial in self.trials:
            if trial.key == name:
                return trial
        raise SuiteFolderError(
            f"{self.root} has no trial {name!r}; expected 0 to {len(self.trials) - 1}, or for example "
            f"{self.trials[0].key if self.trials else _KEY}"
        )

    def record(self, trial: StoredTrial) -> TrialRecord | None:
        return TrialRecord.read(self.root / trial.key)

    def is_finished(self, trial: StoredTrial) -> bool:
        record = self.record(trial)
        return record is not None and record.outcome.is_final

    def left_s(self, trial: StoredTrial) -> float:
        """Upper bound on the wall time that a trial still takes, seconds."""
        record = self.record(trial)
        if record is None:
            return trial.longest_s
        if record.outcome.is_final:
            return 0.0
        return max(trial.longest_s - record.submission_time_s * (1 + EVALUATION_SHARE), SET_UP_S)

    def unfinished(self) -> list[StoredTrial]:
        return [trial for trial in self.trials if not self.is_finished(trial)]

    # -- the journal of a trial

    def journal(self, trial: StoredTrial) -> list[Event]:
        """Starts and ends in order; lines that were cut short are left out."""
        try:
            lines = self._journal_file(trial).read_text().splitlines()
        except OSError:
            return []
        events = []
        for line in lines:
            try:
                details = std_json.loads(line)
                events.append(Event(event=details.pop("event"), time_s=details.pop("time_s"), details=details))
            except (ValueError, KeyError, AttributeError):
                continue
        return events

    def append(self, trial: StoredTrial, event: str, **details: Any) -> None:
        """Adds a line to a trial's journal."""
        path = self._journal_file(trial)
        line = json.dumps({"event": event, "time_s": round(time.time(), 3), **details}, indent=0).replace("\n", "")
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(descriptor, f"{line}\n".encode())
            finally:
                os.close(descriptor)

    def num_starts(self, trial: StoredTrial) -> int:
        return sum(event.event == STARTED for event in self.journal(trial))

    def _journal_file(self, trial: StoredTrial) -> Path:
        return self.root / SUITE_FOLDER / _JOURNAL / f"{trial.key.replace('/', '.')}.jsonl"

    # -- jobs and the process of this machine

    @property
    def jobs(self) -> dict[str, str]:
        """The job that each trial was last submitted as, by key."""
        content = json.read_if_intact(self.root / SUITE_FOLDER / _JOBS) or {}
        return {str(key): str(job) for key, job in content.items()}

    def add_jobs(self, jobs: Mapping[str, str]) -> None:
        json.write(self.root / SUITE_FOLDER / _JOBS, {**self.jobs, **jobs})

    @property
    def process(self) -> dict[str, Any] | None:
        """Host, number and start of the process that runs or ran the suite on one machine."""
        return json.read_if_intact(self.root / SUITE_FOLDER / _PROCESS)

    def set_process(self, **details: Any) -> None:
        json.write(self.root / SUITE_FOLDER / _PROCESS, details)

    @property
    def job_folder(self) -> Path:
        """Where the scheduler writes what jobs print."""
        return self.root / SUITE_FOLDER / "jobs"


def scores_dir(root: Path) -> Path:
    """Where the scores of a suite go."""
    return root.with_name(root.name + "_scores")


STARTED, ENDED = "started", "ended"


def keys(trials: Sequence[StoredTrial]) -> list[str]:
    return [trial.key for trial in trials]
