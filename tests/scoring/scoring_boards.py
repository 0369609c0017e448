"""Small rule sets and boards in memory for the scoring tests."""

import dataclasses
from pathlib import Path

import numpy as np

from algoperf.definition import Direction, MetricSpec
from algoperf.records.cost import Cost
from algoperf.records.trial import TrialRecord
from scoring.logs import LogStatus, LogTree, Trial
from scoring.rules import Rules, TuningRule, WorkloadRule

GOLDEN_TRIAL = Path(__file__).parents[1] / "records/golden/version_6/study_0/mnist_mini_jax/trial_1"


def make_rules(bases: dict[str, str], held_out: dict[str, str] | None = None, studies: int = 3) -> Rules:
    held_out = held_out or {}
    directions = {**bases, **{name: bases[base] for name, base in held_out.items()}}
    workloads = {
        name: WorkloadRule(
            name=name,
            base=held_out.get(name, name),
            metric=MetricSpec(name="accuracy" if direction == "maximize" else "wer", direction=Direction(direction)),
            validation_target=0.8 if direction == "maximize" else 0.2,
            test_target=None,
            max_runtime_s=100.0,
            step_hint=1000,
        )
        for name, direction in directions.items()
    }
    return Rules(
        name="small",
        description="for tests",
        base_workloads=tuple(sorted(bases)),
        held_out=held_out,
        workloads=workloads,
        tuning={
            "external": TuningRule(name="external", studies=studies, trials_per_study=2, budget_factor=1.0),
            "self": TuningRule(name="self", studies=studies, trials_per_study=1, budget_factor=1.5),
        },
    )


def make_trial(rules: Rules, submission: str, workload: str, study: int, number: int, reached_s: float) -> Trial:
    """A trial in memory that is off target at 0.5 s and on target at `reached_s`; inf never is, NaN left no log."""
    rule = rules.workloads[workload]
    step = 0.1 if rule.metric.direction is Direction.MAXIMIZE else -0.1
    logged = not np.isnan(reached_s)
    times = np.array([0.5, 99.0] if np.isinf(reached_s) else [min(0.5, reached_s / 2), reached_s])
    values = np.array(
        [rule.validation_target - step, rule.validation_target + (-step if np.isinf(reached_s) else step)]
    )
    blank = np.empty(0)
    return Trial(
        submission=submission,
        study=study,
        workload=workload,
        framework="jax",
        number=number,
        path=Path("does/not/exist") / submission / workload / str(study) / str(number),
        status=LogStatus.READ if logged else LogStatus.MISSING,
        time_s=times if logged else blank,
        step=times * 10 if logged else blank,
        validation=values if logged else blank,
        test=values if logged else blank,
        eval_time_s=times if logged else blank,
        logging_time_s=times if logged else blank,
        wall_s=2 * times if logged else blank,
        raw_time_s=times if logged else blank,
        raw_validation=values if logged else blank,
    )


def make_tree(rules: Rules, times_s: np.ndarray) -> LogTree:
    """Logs in memory from times [submissions, scored workloads, studies, trials]; see `make_trial`."""
    names = [f"s{i}" for i in range(len(times_s))]
    trials = [
        make_trial(rules, names[i], rules.scored_workloads[j], study, number + 1, float(times_s[i, j, study, number]))
        for i, j, study, number in np.ndindex(times_s.shape)
    ]
    return LogTree(root=Path("does/not/exist"), submissions=tuple(names), trials=tuple(trials), findings=())


def give_costs(board: Path, costs: dict[str, Cost], provenance: dict) -> None:
    """Writes a record with the cost of its submission into each trial of a board."""
    record = TrialRecord.read(GOLDEN_TRIAL)
    for evaluations in board.rglob("eval_measurements.csv"):
        trial = evaluations.parent
        cost = costs.get(trial.relative_to(board).parts[0])
        workload, _, framework = trial.parent.name.rpartition("_")
        changes = {"workload": workload, "framework": framework, "cost": cost, "provenance": provenance}
        dataclasses.replace(record, **changes).write(trial)
