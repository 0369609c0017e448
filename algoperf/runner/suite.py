"""Runs every workload, study and trial of a suite in turn, each in a process of its own.

Finished trials are skipped, interrupted and crashed ones resume from their last checkpoint, and the failure of one does
not stop the others.
"""

import contextlib
import functools
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Self

from algoperf.definition import Suite
from algoperf.harness.signals import STOP_SIGNALS
from algoperf.records.layout import ExperimentPaths, study_folder
from algoperf.registry import REGISTRY, Registry
from algoperf.reporting import Report
from algoperf.runner.parent import child_environment
from algoperf.runner.run_config import ConfigError, RunConfig
from algoperf.runner.suite_plan import Outdated, PlannedTrial, data_lines, make_plan, submission_digest
from algoperf.runner.trial_lock import lock_trials

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
    "deterministic",
    "save_checkpoints",
    "save_intermediate_checkpoints",
    "keep_checkpoint_at_target",
    "use_wandb",
    "use_tensorboard",
    "max_global_steps",
    "rng_seed",
    "rank_timeout_s",
    "set_pytorch_max_split_size",
    "capture_jax_trace",
    "profile",
    "skip_evals",
    "stop_at_validation_target",
    "calibration",
    "matmul_precision",
)


class SuiteRun:
    """All trials of a suite for one submission, under `<experiment_dir>/<experiment_name>/study_<s>/`.

    A study has the trials that the rules ask for, or as many as the command names; fewer are reported.

    Args:
      suite: what to run.
      config: flags of the command; those that belong to a single trial are chosen per trial.
      num_studies: studies to run; None means as many as the rules ask for.
      launcher: words put before the runner's path, for example `torchrun --nproc_per_node=8`; empty means Python.
      outdated: what to do with finished trials of another submission, workload definition or point; None refuses to
        run while there are any.
      runner: the script that runs a trial; by default the one that is running.
    """

    def __init__(
        self,
        suite: Suite,
        config: RunConfig,
        *,
        num_studies: int | None = None,
        launcher: Sequence[str] = (),
        outdated: Outdated | None = None,
        registry: Registry = REGISTRY,
        runner: Path | None = None,
        report: Report,
    ) -> None:
        self.plan = make_plan(suite, config, num_studies, registry)
        self.trials = self.plan.trials
        self._config = config
        self._launcher = list(launcher) or [sys.executable]
        self._outdated_choice = outdated
        self._registry = registry
        self._runner = runner or Path(sys.argv[0]).resolve()
        self._report = report

    @property
    def root(self) -> Path:
        return self.plan.root

    @property
    def scores_dir(self) -> Path:
        return self.root.with_name(self.root.name + "_scores")

    @functools.cached_property
    def _outdated(self) -> dict[Path, str]:
        """What differs in each finished trial that the present command would not give, by folder."""
        finished = [trial for trial in self.trials if trial.is_finished]
        if not finished:
            return {}
        digest = submission_digest(self._config.submission_path)
        return {trial.folder: ", ".join(changes) for trial in finished if (changes := trial.changes(digest))}

    def _is_done(self, trial: PlannedTrial) -> bool:
        """Whether there is nothing to run: the trial has ended, and the result is one of now or kept."""
        return trial.is_finished and (trial.folder not in self._outdated or self._outdated_choice is Outdated.KEEP)

    def _is_rerun(self, trial: PlannedTrial) -> bool:
        return trial.folder in self._outdated and self._outdated_choice is Outdated.RERUN

    def longest_s(self) -> float:
        """Upper bound on the time that the unfinished trials need: budgets, plus set-up and paused time."""
        return sum(_longest_s(trial, self._is_rerun(trial)) for trial in self.trials if not self._is_done(trial))

    def show_plan(self) -> None:
        """Reports what would run: every trial, time, disk space, shortfalls; starts nothing.

        Raises:
          ConfigError: `run` would refuse.
        """
        for trial in self.trials:
            self._report(f"{trial.label:44s} {self._state(trial)}")
        done = sum(map(self._is_done, self.trials))
        self._report(
            f"{len(self.trials)} trials, {done} finished; the rest takes at most {_duration(self.longest_s())}; "
            f"results under {self.root}"
        )
        for line in data_lines(self.plan.suite, self._config.data_dir, self._registry):
            self._report(line)
        self._report_rules()
        self._check_outdated()

    def run(self) -> int:
        """Runs the unfinished trials and scores the suite. Returns the exit status: 0 when every trial has finished.

        Raises:
          ConfigError: there are outdated trials, and nothing says what to do with them.
        """
        self._check_outdated()
        self._report_rules()
        with _StopSignals() as signals:
            failed = self._run_trials(signals)
        if failed is None:
            return 128 + signal.SIGTERM
        self._show_table()
        status = self._score()
        self._report(f"tables and report: {self.scores_dir}")
        self._report_rules()
        for trial in failed:
            self._report(
                f"not finished: {trial.label} ({trial.outcome or 'no record'}); the same command tries it again"
            )
        return 1 if failed else status

    def _state(self, trial: PlannedTrial) -> str:
        change = self._outdated.get(trial.folder)
        if change is not None:
            choice = {Outdated.KEEP: "kept", Outdated.RERUN: "runs again", None: "not decided"}
            return f"outdated ({change}), {choice[self._outdated_choice]}"
        return f"finished ({trial.outcome})" if trial.is_finished else f"at most {trial.budget_s:.0f} s"

    def _report_rules(self) -> None:
        if self.plan.space is not None:
            self._report(f"search space of all workloads: {self.plan.space}")
        if self.plan.shortfalls:
            self._report(f"falls short of the rules: {'; '.join(self.plan.shortfalls)}")

    def _check_outdated(self) -> None:
        if self._outdated and self._outdated_choice is None:
            trial = next(trial for trial in self.trials if trial.folder in self._outdated)
            raise ConfigError(
                f"{len(self._outdated)} of {len(self.trials)} trials under {self.root} are outdated, first "
                f"{trial.label} ({self._outdated[trial.folder]}); --outdated=keep counts them, --outdated=rerun moves "
                "them aside and runs them again, another --experiment_name leaves them alone"
            )

    def _move_aside(self, trial: PlannedTrial) -> None:
        """Renames the folder of an outdated trial, which scoring then ignores; refused while a process works on it."""
        paths = ExperimentPaths(
            experiment_dir=self.root.parent, experiment_name=self.plan.name, workload_dir=trial.folder.parent
        )
        number = 1
        while (aside := trial.folder.with_name(f"{trial.folder.name}.outdated_{number}")).exists():
            number += 1
        with contextlib.ExitStack() as locks:
            lock_trials(paths, [trial.trial], locks, self._report)
            trial.folder.rename(aside)
        self._report(f"{trial.label}: outdated ({self._outdated.pop(trial.folder)}), moved to {aside}")

    def _run_trials(self, signals: "_StopSignals") -> list[PlannedTrial] | None:
        """Runs the unfinished trials in turn; returns those that failed, or None when a signal stopped the suite."""
        failed = []
        for number, trial in enumerate(self.trials, start=1):
            if self._is_done(trial):
                note = f", {self._state(trial)}" if trial.folder in self._outdated else ""
                self._report(f"[{number}/{len(self.trials)}] {trial.label}: finished before ({trial.outcome}){note}")
                continue
            if self._is_rerun(trial):
                self._move_aside(trial)
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
        flags = {name: config.flag_values.get(name) for name in _PASSED_ON}
        flags |= {
            "workload": trial.definition.name,
            "experiment_dir": str(config.experiment_dir.resolve()),
            "experiment_name": f"{self.plan.name}/{study_folder(trial.study)}",
            "resume_last_run": True,
            "study": trial.study,
            "data": "full",
        }
        if config.ruleset.tunable:
            flags["tuning_search_space"] = self.plan.space
            flags["num_tuning_trials"] = self.plan.trials_per_study
            flags["hparam_start_index"] = trial.trial - 1
            flags["hparam_end_index"] = trial.trial
        words = [f"--{name}={value}" for name, value in flags.items() if value is not None]
        return [*self._launcher, str(self._runner), *words]

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
        for name in self.plan.suite.workloads:
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
            f"--rules={self.plan.suite.rules}",
            f"--num_studies={self.plan.studies}",
            f"--num_trials={self.plan.trials_per_study}",
            f"--tuning_ruleset={self._config.tuning_ruleset}",
            f"--output_dir={self.scores_dir}",
        ]
        return subprocess.run(command, check=False, cwd=self._runner.parent).returncode


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


def _longest_s(trial: PlannedTrial, starts_anew: bool) -> float:
    record = None if starts_anew else trial.record
    spent_s = record.submission_time_s if record else 0.0
    return max(trial.budget_s - spent_s, 0.0) * 1.25 + _SET_UP_S


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
