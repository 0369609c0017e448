"""Runs every workload, study and trial of a suite in turn, each in a process of its own.

Finished trials are skipped, interrupted and crashed ones resume from their last checkpoint, and the failure of one does
not stop the others.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

from algoperf.definition import Suite, WorkloadDefinition
from algoperf.harness.signals import STOP_SIGNALS
from algoperf.prepare import MissingDatasetError, ensure_prepared
from algoperf.records.layout import study_folder, trial_folder, trial_path
from algoperf.records.outcome import Outcome
from algoperf.records.trial import TrialRecord
from algoperf.registry import REGISTRY, Registry, suites
from algoperf.reporting import Report
from algoperf.runner.parent import child_environment
from algoperf.runner.run_config import RunConfig

# Building a model, compiling it and the final evaluation, per trial: a round figure for the estimate only.
_SET_UP_S = 30.0
_PASSED_ON = (
    "framework",
    "submission_path",
    "tuning_ruleset",
    "tuning_search_space",
    "data_dir",
    "imagenet_v2_data_dir",
    "librispeech_tokenizer_vocab_path",
    "torch_compile",
    "save_checkpoints",
    "save_intermediate_checkpoints",
    "use_wandb",
    "use_tensorboard",
    "max_global_steps",
    "set_pytorch_max_split_size",
    "capture_jax_trace",
    "skip_evals",
    "stop_at_validation_target",
)


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """One trial of one study of one workload; `trial` counts from 1 and is 1 under the self-tuning rules."""

    definition: WorkloadDefinition
    study: int
    trial: int
    folder: Path
    budget_s: float

    @property
    def label(self) -> str:
        return f"{self.definition.name} {study_folder(self.study)} {trial_folder(self.trial)}"

    @property
    def record(self) -> TrialRecord | None:
        return TrialRecord.read(self.folder)

    @property
    def outcome(self) -> Outcome | None:
        record = self.record
        return record.outcome if record else None

    @property
    def is_finished(self) -> bool:
        outcome = self.outcome
        return outcome is not None and outcome.is_final


class SuiteRun:
    """All trials of a suite for one submission, under `<experiment_dir>/<experiment_name>/study_<s>/`.

    Args:
      suite: what to run.
      config: flags of the command; those that belong to a single trial are chosen per trial.
      num_studies: studies to run; None means as many as the rules ask for.
      launcher: words put before the runner's path, for example `torchrun --nproc_per_node=8`; empty means Python.
    """

    def __init__(
        self,
        suite: Suite,
        config: RunConfig,
        *,
        num_studies: int | None = None,
        launcher: Sequence[str] = (),
        registry: Registry = REGISTRY,
        report: Report,
    ) -> None:
        self.suite = suite
        self._config = config
        self._launcher = list(launcher) or [sys.executable]
        self._report = report
        submission = Path(config.submission_path)
        self.name = config.experiment_name or f"{suite.name}-{submission.parent.name}-{submission.stem}"
        self._studies = num_studies or suite.studies[config.tuning_ruleset]
        rules = config.ruleset
        self._trials = (config.num_tuning_trials if rules.tunable else None) or rules.trials_per_study
        self.trials = [
            PlannedTrial(
                definition=definition,
                study=study,
                trial=trial,
                folder=self.root / trial_path(study, definition.name, config.framework, trial),
                budget_s=definition.budget.max_runtime_s * config.ruleset.budget_factor,
            )
            for study in range(self._studies)
            for definition in map(registry.get, suite.workloads)
            for trial in range(1, self._trials + 1)
        ]

    @property
    def root(self) -> Path:
        return self._config.experiment_dir.resolve() / self.name

    @property
    def _scores_dir(self) -> Path:
        return self.root.with_name(self.root.name + "_scores")

    def longest_s(self) -> float:
        """Upper bound on the time that the unfinished trials need: budgets, plus set-up and paused time."""
        return sum(_longest_s(trial) for trial in self.trials if not trial.is_finished)

    def show_plan(self) -> None:
        """Reports every trial and the estimate; starts nothing."""
        for trial in self.trials:
            state = f"finished ({trial.outcome})" if trial.is_finished else f"at most {trial.budget_s:.0f} s"
            self._report(f"{trial.label:44s} {state}")
        finished = sum(trial.is_finished for trial in self.trials)
        self._report(
            f"{len(self.trials)} trials, {finished} finished; the rest takes at most {_duration(self.longest_s())}; "
            f"results under {self.root}"
        )

    def run(self) -> int:
        """Runs the unfinished trials and scores the suite. Returns the exit status: 0 when every trial has finished."""
        with _StopSignals() as signals:
            failed = self._run_trials(signals)
        if failed is None:
            return 128 + signal.SIGTERM
        self._show_table()
        status = self._score()
        self._report(f"tables and report: {self._scores_dir}")
        for trial in failed:
            self._report(
                f"not finished: {trial.label} ({trial.outcome or 'no record'}); the same command tries it again"
            )
        return 1 if failed else status

    def _run_trials(self, signals: "_StopSignals") -> list[PlannedTrial] | None:
        """Runs the unfinished trials in turn; returns those that failed, or None when a signal stopped the suite."""
        failed = []
        for number, trial in enumerate(self.trials, start=1):
            if trial.is_finished:
                self._report(f"[{number}/{len(self.trials)}] {trial.label}: finished before ({trial.outcome})")
                continue
            self._report(
                f"[{number}/{len(self.trials)}] {trial.label}: starts; all that is left takes at most "
                f"{_duration(self.longest_s())}"
            )
            status = signals.wait_for(subprocess.Popen(self._command(trial), env=child_environment()))
            if signals.received or status in (-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM):
                self._report(f"stopped at {trial.label}; the same command continues from here")
                return None
            if not trial.is_finished:
                failed.append(trial)
            self._report(f"[{number}/{len(self.trials)}] {self._result_line(trial, status)}")
        return failed

    def _command(self, trial: PlannedTrial) -> list[str]:
        config = self._config
        runner = Path(sys.argv[0]).resolve()
        flags = {name: config.flag_values.get(name) for name in _PASSED_ON}
        flags |= {
            "workload": trial.definition.name,
            "experiment_dir": str(config.experiment_dir.resolve()),
            "experiment_name": f"{self.name}/{study_folder(trial.study)}",
            "resume_last_run": True,
            "study": trial.study,
            "data": "full",
        }
        if config.rng_seed is not None:
            flags["rng_seed"] = config.rng_seed
        if config.ruleset.tunable:
            flags["num_tuning_trials"] = self._trials
            flags["hparam_start_index"] = trial.trial - 1
            flags["hparam_end_index"] = trial.trial
        words = [f"--{name}={value}" for name, value in flags.items() if value is not None]
        return [*self._launcher, str(runner), *words]

    def _result_line(self, trial: PlannedTrial, status: int) -> str:
        record = trial.record
        if record is None:
            return f"{trial.label}: failed with exit status {status}"
        reached = "" if record.time_to_target_s is None else f", target after {record.time_to_target_s:.1f} s"
        return f"{trial.label}: {record.outcome} after {record.submission_time_s:.1f} s{reached}"

    def _show_table(self) -> None:
        """One row per workload: times to target of its trials in order of study and trial."""
        self._report("")
        self._report(f"{'workload':32s} times to target (s); '-' means not reached")
        for name in self.suite.workloads:
            records = [trial.record for trial in self.trials if trial.definition.name == name]
            times = [record and record.time_to_target_s for record in records]
            self._report(f"{name:32s} " + "  ".join("-" if t is None else f"{t:.1f}" for t in times))

    def _score(self) -> int:
        command = [
            sys.executable,
            "-m",
            "scoring.score_submissions",
            f"--submission_directory={self.root.parent}",
            f"--include_submissions={self.root.name}",
            f"--rules={self.suite.rules}",
            f"--num_studies={self._studies}",
            f"--num_trials={self._trials}",
            f"--tuning_ruleset={self._config.tuning_ruleset}",
            f"--output_dir={self._scores_dir}",
        ]
        return subprocess.run(command, check=False, cwd=Path(sys.argv[0]).resolve().parent).returncode


def choose_suite(name: str, config: RunConfig, report: Report, registry: Registry = REGISTRY) -> Suite:
    """The suite called `name`, or its mini where a full dataset is missing and `--data` allows it."""
    suite = suites()[name]
    if config.data == "mini" and suite.mini:
        return suites()[suite.mini]
    if suite.mini is None:
        return suite
    try:
        for workload in suite.workloads:
            ensure_prepared(registry.get(workload), config.data_dir, report, registry=registry)
    except MissingDatasetError as error:
        if config.data == "full":
            raise
        report(
            f"{suite.name}: not every full dataset is under {config.data_dir}, so this runs the suite {suite.mini} "
            f"(generated data, its own targets). --data=full insists on the full datasets.\n"
            f"{str(error).splitlines()[0]}"
        )
        return suites()[suite.mini]
    return suite


class _StopSignals:
    """Remembers requests to stop and passes them on to the running child, which writes its checkpoint and ends."""

    def __init__(self) -> None:
        self.received = False
        self._child: subprocess.Popen[bytes] | None = None
        self._previous: dict[int, Any] = {}

    def wait_for(self, child: subprocess.Popen[bytes]) -> int:
        """Waits for a child and returns its exit status."""
        self._child = child
        if self.received:
            child.send_signal(signal.SIGTERM)
        return child.wait()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        if self._child is not None:
            self._child.send_signal(signal.SIGTERM)

    def __enter__(self) -> Self:
        for number in filter(None, (getattr(signal, name, None) for name in STOP_SIGNALS)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def _longest_s(trial: PlannedTrial) -> float:
    record = trial.record
    spent_s = record.submission_time_s if record else 0.0
    return max(trial.budget_s - spent_s, 0.0) * 1.25 + _SET_UP_S


def _duration(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(seconds)) if seconds < 86400 else f"{seconds / 86400:.1f} days"
