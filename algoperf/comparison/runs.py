"""Runs of a comparison, each in a process of its own; what is finished is not run again."""

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from algoperf.comparison.entrants import Entrant
from algoperf.comparison.pairs import Pair, RunEnd, steps_that_decide
from algoperf.definition import SELF_TUNING, ReferenceBudget, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.harness.seeds import trial_seed
from algoperf.records.layout import study_folder, trial_path
from algoperf.records.step_costs import RelativeStepCost, StepCosts
from algoperf.registry import REGISTRY, Registry
from algoperf.reporting import Report
from algoperf.runner.compilation_cache import TRIAL
from algoperf.runner.parent import child_environment
from algoperf.runner.suite_plan import PlannedTrial

_RUN_SEED = 0


class RunFailedError(UserError):
    """A process of a comparison failed; one line with the last that it said."""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Makes and reads the runs of two entrants under the self-tuning rules.

    A run of the first entrant may end early, at the steps where the pair is decided; its folder says against whom.

    Attributes:
      mine, against: the entrants.
      framework: its name.
      folder: of all results: `<folder>/<entrant>/study_<s>/<workload>_<framework>/trial_1`.
      data_dir: prepared data.
      step_cost_s: seconds after which no further cycle of a step-cost measurement starts.
      step_cost_period: steps of a cycle.
      report: shown one line for each process that starts.
      baseline_logs: logs of a board, whose finished runs of the other entrant count as they are.
    """

    mine: Entrant
    against: Entrant
    framework: str
    folder: Path
    data_dir: Path
    step_cost_s: float
    step_cost_period: int
    report: Report
    registry: Registry = REGISTRY
    baseline_logs: Path | None = None

    @property
    def mine_folder(self) -> str:
        return f"{self.mine.folder_name}-against-{self.against.folder_name}"

    @property
    def against_folder(self) -> str:
        return self.against.folder_name

    def finished_pair(self, workload: str, study: int) -> Pair | None:
        """A pair whose runs and step cost are on record; None where something is missing."""
        cost = self._recorded_cost(workload)
        ends = [self._end(self._trial(side, workload, study)) for side in (self.against, self.mine)]
        if cost is None or None in ends:
            return None
        against, mine = ends
        assert against is not None
        assert mine is not None
        return Pair(workload=workload, study=study, mine=mine, against=against, cost=cost)

    def run_pair(self, workload: str, study: int) -> Pair:
        """Measures the step cost and runs what is missing, the other entrant first.

        Raises:
          RunFailedError, CrashedRunError: a process failed.
        """
        cost = self._recorded_cost(workload) or self._measure_cost(workload)
        against = self._run(self.against, workload, study, None)
        mine = self._run(self.mine, workload, study, steps_that_decide(against, cost))
        return Pair(workload=workload, study=study, mine=mine, against=against, cost=cost)

    def _trial(self, side: Entrant, workload: str, study: int) -> PlannedTrial:
        definition = self.registry.get(workload)
        name = self.mine_folder if side is self.mine else self.against_folder
        return PlannedTrial(
            definition=definition,
            study=study,
            trial=1,
            folder=self.folder / name / trial_path(study, workload, self.framework, 1),
            budget_s=definition.budget.max_runtime_s * SELF_TUNING.budget_factor,
            hyperparameters=None,
        )

    def _end(self, trial: PlannedTrial) -> RunEnd | None:
        digest = self.mine.digest if self.mine_folder in trial.folder.parts else self.against.digest
        if changes := trial.changes(digest):
            raise RunFailedError(f"{trial.folder} is of {changes[0]}; move it away, or choose another --experiment_dir")
        return RunEnd.read(trial.folder, trial.definition) if trial.is_finished else None

    def _run(self, side: Entrant, workload: str, study: int, max_steps: int | None) -> RunEnd:
        trial = self._trial(side, workload, study)
        if (end := self._end(trial)) is not None:
            return end
        if side is self.against and self._copy_of_baseline(trial) and (end := self._end(trial)) is not None:
            return end
        self.report(f"{workload} seed {study}: {side.label} runs")
        # The status 1 says that the run failed, which its record tells in full.
        what = f"{workload} seed {study}, {side.label}"
        self._call(self._run_command(side, workload, study, max_steps), what, accepted=(0, 1))
        end = RunEnd.read(trial.folder, trial.definition)
        if end is None:
            raise RunFailedError(f"{workload} seed {study}, {side.label}: the run left no record in {trial.folder}")
        return end

    def _copy_of_baseline(self, trial: PlannedTrial) -> bool:
        """Copies a run of the same submission, definition and seed from the logs of a board, where there is one."""
        if self.baseline_logs is None or trial.folder.exists():
            return False
        seed = trial_seed(_RUN_SEED, study=trial.study, trial=0)
        inner = trial_path(trial.study, trial.definition.name, self.framework, 1)
        for submission in sorted(path for path in self.baseline_logs.iterdir() if path.is_dir()):
            there = replace(trial, folder=submission / inner)
            record = there.record
            is_this_run = record is not None and record.seed == seed and record.outcome.is_final
            if is_this_run and not there.changes(self.against.digest):
                shutil.copytree(there.folder, trial.folder)
                self.report(f"{trial.label}: {self.against.label} as in {submission}")
                return True
        return False

    def _run_command(self, side: Entrant, workload: str, study: int, max_steps: int | None) -> list[str]:
        name = self.mine_folder if side is self.mine else self.against_folder
        flags = {
            "workload": workload,
            "framework": self.framework,
            "submission_path": side.path,
            "tuning_ruleset": SELF_TUNING.name,
            "experiment_dir": self.folder,
            "experiment_name": f"{name}/{study_folder(study)}",
            "study": study,
            "rng_seed": _RUN_SEED,
            "data": "full",
            "data_dir": self.data_dir,
            "resume_last_run": True,
            "stop_at_validation_target": True,
            "save_checkpoints": False,
            "compilation_cache": TRIAL,
            "use_tensorboard": False,
        }
        if max_steps is not None:
            flags["max_global_steps"] = max_steps
        return ["-m", "submission_runner", *(f"--{flag}={value}" for flag, value in flags.items())]

    def _cost_file(self, workload: str) -> Path:
        return self.folder / self.mine_folder / "step_costs" / f"{workload}.json"

    def _recorded_cost(self, workload: str) -> RelativeStepCost | None:
        """The cost that this machine measured before, if it did."""
        path = self._cost_file(workload)
        if not path.is_file():
            return None
        measured = StepCosts.load(path)
        return measured.step_costs.get(workload) if measured.machine == platform.node() else None

    def _measure_cost(self, workload: str) -> RelativeStepCost:
        path = self._cost_file(workload)
        self.report(f"{workload}: step cost of {self.mine.label} in steps of {self.against.label}")
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = {
            "submission_path": self.mine.path,
            "reference": self.against.path,
            "workload": workload,
            "framework": self.framework,
            "period": self.step_cost_period,
            "max_seconds": self.step_cost_s,
            "output": path,
        }
        command = ["-m", "algoperf.step_cost", *(f"--{flag}={value}" for flag, value in flags.items())]
        self._call(command, f"{workload}, step cost")
        measured = replace(StepCosts.load(path), machine=platform.node())
        measured.save(path)
        return measured.step_costs[workload]

    def _call(self, words: Sequence[str], what: str, accepted: Sequence[int] = (0,)) -> None:
        """Runs a Python program, whose exit status must be one of `accepted`."""
        done = subprocess.run(
            [sys.executable, *words],
            check=False,
            env=child_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if done.returncode not in accepted:
            last = (done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise RunFailedError(f"{what} failed: {last.removeprefix('error: ')}")

    def expected_s(self, definition: WorkloadDefinition) -> float:
        """Rough wall seconds of a pair of which nothing is known.

        Three times the reference's run: the second run of a pair takes at most 1.5 times the first, and set-up and
        evaluations add about a third. Where the reference's run is not declared, it is taken for a third of the budget.
        """
        budget = definition.budget
        if isinstance(budget, ReferenceBudget):
            return 3 * budget.max_runtime_s * budget.target_steps / budget.max_runtime_steps
        return budget.max_runtime_s
