"""All trials of a suite, each in a process of its own, on this machine or in jobs of a cluster.

Finished trials are skipped, interrupted and crashed ones resume from their last checkpoint, and the failure of one does
not stop the others.
"""

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from algoperf.definition import Suite
from algoperf.records.layout import ExperimentPaths
from algoperf.registry import REGISTRY, Registry
from algoperf.reporting import Report
from algoperf.runner.calibration import AUTO, OFF
from algoperf.runner.compilation_cache import TRIAL
from algoperf.runner.executors.choice import Executor
from algoperf.runner.executors.local import LocalExecutor
from algoperf.runner.executors.resources import ResourceTable
from algoperf.runner.executors.results import duration
from algoperf.runner.executors.suite_folder import StoredSuite, StoredTrial, scores_dir
from algoperf.runner.run_config import ConfigError, RunConfig
from algoperf.runner.suite_plan import Outdated, PlannedTrial, data_lines, make_plan, submission_digest
from algoperf.runner.trial_lock import lock_trials

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
    "max_device_batch",
    "save_checkpoints",
    "save_intermediate_checkpoints",
    "keep_checkpoint_at_target",
    "strict_guards",
    "isolated",
    "use_wandb",
    "use_mlflow",
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
    "step_costs",
    "matmul_precision",
)
_PATHS = (
    "submission_path",
    "data_dir",
    "imagenet_v2_data_dir",
    "librispeech_tokenizer_vocab_path",
    "calibration",
    "step_costs",
)


class SuiteRun:
    """All trials of a suite for one submission, under `<experiment_dir>/<experiment_name>/study_<s>/`.

    A study has the trials that the rules ask for, or as many as the command names; fewer are reported.

    Args:
      suite: what to run.
      config: flags of the command; those that belong to a single trial are chosen per trial.
      num_studies: studies to run; None means as many as the rules ask for.
      launcher: words put before the runner's path, for example `torchrun --nproc_per_node=8`; `nodes` at their head
        stands for `algoperf.runner.launch`; empty means what the resources need, for one process Python alone.
      executor: where the trials run.
      executor_name: as the command named it.
      resources: what trials ask of a cluster.
      outdated: what to do with finished trials of another submission, workload definition or point; None refuses to
        run while there are any.
    """

    def __init__(
        self,
        suite: Suite,
        config: RunConfig,
        *,
        num_studies: int | None = None,
        launcher: Sequence[str] = (),
        executor: Executor | None = None,
        executor_name: str = "local",
        resources: ResourceTable | None = None,
        outdated: Outdated | None = None,
        registry: Registry = REGISTRY,
        report: Report,
    ) -> None:
        self.plan = make_plan(suite, config, num_studies, registry)
        self.trials = self.plan.trials
        self._config = config
        self._launcher = tuple(launcher)
        self._executor = executor or LocalExecutor()
        self._executor_name = executor_name
        self._resources = resources or ResourceTable()
        self._outdated_choice = outdated
        self._registry = registry
        self._report = report

    @property
    def root(self) -> Path:
        return self.plan.root

    @property
    def scores_dir(self) -> Path:
        return scores_dir(self.root)

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
        left = [trial for trial in self.trials if not self._is_done(trial)]
        return sum(trial.longest_s(starts_anew=self._is_rerun(trial)) for trial in left)

    def show_plan(self) -> None:
        """Reports what would run: every trial, time, disk space, shortfalls; starts nothing.

        Raises:
          ConfigError: `run` would refuse.
        """
        for trial in self.trials:
            self._report(f"{trial.label:44s} {self._state(trial)}")
        done = sum(map(self._is_done, self.trials))
        self._report(
            f"{len(self.trials)} trials, {done} finished; the rest takes at most {duration(self.longest_s())}; "
            f"results under {self.root}"
        )
        for line in data_lines(self.plan.suite, self._config.data_dir, self._registry):
            self._report(line)
        self._report_rules()
        self._check_outdated()

    def run(self) -> int:
        """Has the unfinished trials run. Returns the exit status: 0 when every trial has finished or is submitted.

        Raises:
          ConfigError: there are outdated trials, and nothing says what to do with them.
        """
        self._check_outdated()
        self._report_rules()
        stored = self._stored()
        stored.write()
        return self._executor.run(stored, list(self._to_run(stored)), self._report)

    def _to_run(self, stored: StoredSuite) -> Iterator[StoredTrial]:
        """The unfinished trials; outdated ones that are to run again are moved aside first."""
        for number, (trial, stored_trial) in enumerate(zip(self.trials, stored.trials, strict=True), start=1):
            if self._is_done(trial):
                note = f", {self._state(trial)}" if trial.folder in self._outdated else ""
                self._report(f"[{number}/{len(self.trials)}] {trial.label}: finished before ({trial.outcome}){note}")
                continue
            if self._is_rerun(trial):
                self._move_aside(trial)
            yield stored_trial

    def _stored(self) -> StoredSuite:
        plan, config = self.plan, self._config
        return StoredSuite(
            root=self.root,
            suite=plan.suite.name,
            rules=plan.suite.rules,
            framework=config.framework,
            tuning_ruleset=config.tuning_ruleset,
            executor=self._executor_name,
            num_studies=plan.studies,
            num_trials=plan.trials_per_study,
            workloads=tuple(plan.suite.workloads),
            launcher=self._launcher,
            resources={name: self._resources.of(name) for name in plan.suite.workloads},
            site=self._resources.site,
            remarks=tuple(self._remarks()),
            trials=tuple(
                StoredTrial(
                    key=trial.folder.relative_to(self.root).as_posix(),
                    workload=trial.definition.name,
                    budget_s=trial.budget_s,
                    longest_s=trial.longest_s(starts_anew=True),
                    arguments=tuple(self._arguments(trial)),
                )
                for trial in self.trials
            ),
        )

    def _state(self, trial: PlannedTrial) -> str:
        change = self._outdated.get(trial.folder)
        if change is not None:
            choice = {Outdated.KEEP: "kept", Outdated.RERUN: "runs again", None: "not decided"}
            return f"outdated ({change}), {choice[self._outdated_choice]}"
        return f"finished ({trial.outcome})" if trial.is_finished else f"at most {trial.budget_s:.0f} s"

    def _report_rules(self) -> None:
        for remark in self._remarks():
            self._report(remark)

    def _remarks(self) -> Iterator[str]:
        if self.plan.space is not None:
            yield f"search space of all workloads: {self.plan.space}"
        if self.plan.shortfalls:
            yield f"falls short of the rules: {'; '.join(self.plan.shortfalls)}"

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

    def _arguments(self, trial: PlannedTrial) -> Iterator[str]:
        """Flags of the runner for one trial, but for the folders of the experiment; paths are absolute."""
        config = self._config
        flags = {name: config.flag_values.get(name) for name in _PASSED_ON}
        flags |= {name: _absolute(flags[name]) for name in _PATHS}
        flags |= {
            "workload": trial.definition.name,
            "edition": self.plan.suite.edition,
            "resume_last_run": True,
            "study": trial.study,
            "data": "full",
            "compilation_cache": TRIAL,
        }
        if config.ruleset.tunable:
            flags["tuning_search_space"] = self.plan.space
            flags["num_tuning_trials"] = self.plan.trials_per_study
            flags["hparam_start_index"] = trial.trial - 1
            flags["hparam_end_index"] = trial.trial
        return (f"--{name}={value}" for name, value in flags.items() if value is not None)


def _absolute(path: str | Path | None) -> str | None:
    """The path of a file or folder that is there, else what was given: a word, or a module's name."""
    if path is None or path in (AUTO, OFF) or not Path(path).expanduser().exists():
        return None if path is None else str(path)
    return os.path.abspath(Path(path).expanduser())
