"""Writes result folders with known truth: for trying out a board, for tests, and for measuring coverage and speed.

python -m scoring.simulate --output_dir=DIR [--rules=mini] [--tuning_ruleset=self] [--submissions=4] [--seed=0]
"""

import argparse
import csv
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf.definition import EXTERNAL, FRAMEWORKS, JAX, RULESETS, SELF_TUNING, Direction
from algoperf.records import columns, json, layout
from scoring.rules import Rules, TuningRule, WorkloadRule, load_rules


@dataclass(frozen=True, kw_only=True)
class SimulatedSubmission:
    """A submission with a known law of times.

    A run of configuration k on workload w reaches the target after `median_s[w] * config_factors[k] * exp(noise * z)`
    seconds, z standard normal; a workload absent from `median_s` is never solved.
    """

    name: str
    median_s: Mapping[str, float]
    noise: float = 0.1
    config_factors: Sequence[float] = (1.0, 1.3, 1.7, 2.5, 5.0)
    framework: str = JAX.name
    step_s: float = 0.1


def write_logs(
    directory: Path | str,
    submissions: Sequence[SimulatedSubmission],
    rules: Rules,
    tuning: TuningRule,
    *,
    seed: int = 0,
    evaluations: int = 40,
) -> None:
    """Writes `directory/<submission>/study_<s>/<workload>_<framework>/trial_<k>/` for all base and held-out workloads.

    Runs are evaluated `evaluations` times per budget and stop at the target or at the budget, as a harness would.
    """
    for submission in submissions:
        for workload in rules.scored_workloads:
            rule = rules.workloads[workload]
            for study in range(tuning.studies):
                for number in range(1, tuning.trials_per_study + 1):
                    key = [seed, _number(submission.name), _number(workload), study, number]
                    trial = layout.trial_path(study, workload, submission.framework, number)
                    _write_trial(
                        Path(directory) / submission.name / trial, submission, rule, tuning, number, key, evaluations
                    )


def _write_trial(
    folder: Path,
    submission: SimulatedSubmission,
    rule: WorkloadRule,
    tuning: TuningRule,
    number: int,
    key: list[int],
    evaluations: int,
) -> None:
    random = np.random.default_rng(key)
    budget_s = tuning.budget_factor * rule.max_runtime_s
    factor = submission.config_factors[number - 1] if tuning.trials_per_study > 1 else 1.0
    median_s = submission.median_s.get(rule.name, np.inf)
    reached_s = median_s * factor * np.exp(submission.noise * random.standard_normal())
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / layout.EVALUATIONS).open("w", newline="") as stream:
        writer = csv.writer(stream)
        rows = _rows(rule, submission.step_s, reached_s, budget_s, evaluations, random)
        writer.writerow(sorted(rows[0]))
        writer.writerows([[row[name] for name in sorted(row)] for row in rows])
    flags = {"workload": rule.name, "framework": submission.framework, "tuning_ruleset": tuning.name}
    meta = {"gpu_model_name": "simulated", "gpu_count": 1, "gpu_driver": "1.0", "cpu_model_name": "simulated"}
    meta |= {"python_version": "3.11", "git_commit_hash": "0" * 40, "rng_seed": int(random.integers(2**31))}
    json.write(folder / layout.flags_file(0), flags)
    json.write(folder / layout.meta_data_file(0), meta)
    if tuning.name == EXTERNAL.name:
        json.write(folder / layout.HYPERPARAMETERS_FILE, {"learning_rate": 10.0**-number})


def _rows(
    rule: WorkloadRule, step_s: float, reached_s: float, budget_s: float, evaluations: int, random: np.random.Generator
) -> list[dict[str, float]]:
    """Evaluations of one run: the metric closes in on the target and meets it first at or after `reached_s`."""
    target, wobble = rule.validation_target, 0.002 * random.standard_normal(evaluations)
    rows: list[dict[str, float]] = []
    wall = 0.0
    for i in range(evaluations):
        time_s = budget_s * max(i, 0.01) / (evaluations - 1) * 0.9999
        is_reached = time_s >= reached_s
        ahead = 0.001 if is_reached else -0.01 - 0.5 * max(0.0, 1 - time_s / min(reached_s, budget_s)) - abs(wobble[i])
        sign = 1 if rule.metric.direction is Direction.MAXIMIZE else -1
        value = target + sign * ahead * abs(target)
        wall += time_s - (rows[-1][columns.SUBMISSION_TIME] if rows else 0.0) + 0.01 * budget_s / evaluations
        step = max(1, int(time_s / step_s))
        rows.append(
            {
                columns.EVALUATION_TIME: 0.01 * budget_s / evaluations * (i + 1),
                columns.LOGGING_TIME: 0.0,
                columns.SUBMISSION_TIME: time_s,
                columns.GLOBAL_STEP: step,
                columns.PREEMPTION_COUNT: 0,
                columns.SCORE: time_s,
                columns.TOTAL_DURATION: wall,
                rule.validation_column: value,
                rule.test_column: value,
            }
        )
        if is_reached:
            break
    return rows


def simulated_field(rules: Rules, tuning: TuningRule, count: int, seed: int) -> list[SimulatedSubmission]:
    """`count` submissions whose speeds differ by up to a factor of two, workload by workload."""
    random = np.random.default_rng(seed)
    field = []
    for i in range(count):
        speed = 0.25 * (1 + i / max(1, count - 1))
        medians = {
            name: speed * np.exp(0.2 * random.standard_normal()) * rules.workloads[name].max_runtime_s
            for name in rules.scored_workloads
        }
        framework = tuple(FRAMEWORKS)[i % len(FRAMEWORKS)]
        field.append(SimulatedSubmission(name=f"simulated_{i:02d}", median_s=medians, framework=framework))
    return field


def _number(text: str) -> int:
    return zlib.crc32(text.encode())


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scoring.simulate", description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", required=True, help="folder to write the result folders to")
    parser.add_argument("--rules", default="mini", help="rule set: a name or a TOML file")
    parser.add_argument("--tuning_ruleset", choices=tuple(RULESETS), default=SELF_TUNING.name)
    parser.add_argument("--submissions", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    output_dir = Path(args.output_dir)
    rules = load_rules(args.rules)
    tuning = rules.tuning[args.tuning_ruleset]
    submissions = simulated_field(rules, tuning, args.submissions, args.seed)
    taken = [submission.name for submission in submissions if (output_dir / submission.name).exists()]
    if taken:
        parser.error(f"{output_dir / taken[0]} exists; choose another --output_dir, nothing is overwritten")
    write_logs(output_dir, submissions, rules, tuning, seed=args.seed)
    print(f"wrote {args.submissions} submissions to {args.output_dir}")


if __name__ == "__main__":
    main()
