"""The checks of one trial, in order, and their verdict."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import algoperf
from algoperf import prepare, prepared_data
from algoperf.definition import RULESETS, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.records import columns
from algoperf.records.consistency import contradictions
from algoperf.records.provenance import cpu_model, package_versions
from algoperf.records.verification import Answer, Verification, VerificationCheck, files_digest
from algoperf.registry import REGISTRY, Registry
from algoperf.runner.child import ask
from algoperf.submissions import sources
from algoperf.verification.tables import ELSEWHERE, SAME_MACHINE, Comparison, by_step, compare
from algoperf.verification.trial_files import TrialFiles

REPLAY_STEPS = 20
_REEVALUATION = "algoperf.verification.reevaluation"
_REPLAY = "algoperf.verification.replay"
_DEFAULT_PRECISION = "float32"
# Flags of the runner that change what is computed, and are recorded.
_REPLAYED_FLAGS = ("torch_compile", "edition", "matmul_precision", "rng_seed", "librispeech_tokenizer_vocab_path")

Ask = Callable[..., Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerificationPlan:
    """What is verified, and with what.

    Attributes:
      data_dir: prepared data.
      imagenet_v2_data_dir: of the test split, if it is another.
      submission: its file; None takes the one that the record names.
      replay_steps: first steps that are taken again; 0 takes none.
      ask: runs a module in a process of its own, as `child.ask`.
    """

    data_dir: Path
    imagenet_v2_data_dir: Path | None = None
    submission: Path | None = None
    replay_steps: int = REPLAY_STEPS
    registry: Registry = REGISTRY
    ask: Ask = ask


def verify_trial(folder: Path, plan: VerificationPlan) -> Verification:
    """Makes all checks of a trial.

    Raises:
      UnverifiableError: `folder` is not that of a finished trial.
      UserError: its workload is not installed.
    """
    files = TrialFiles.read(folder)
    definition = plan.registry.get(files.record.workload).of_edition(files.record.edition)
    checks = [
        _records(files),
        _definition(files, definition),
        _data(files, definition, plan),
        _sources(files, plan),
        _checkpoint_record(files),
        *_evaluations(files, definition, plan),
        _replay(files, plan),
    ]
    return Verification(checks=checks, files_digest=files_digest(folder), version=algoperf.__version__)


def _records(files: TrialFiles) -> VerificationCheck:
    if not files.evaluations:
        return _unknown("records", "there is no evaluation")
    problems = contradictions(files.record, files.evaluations)
    return _contradicted("records", "; ".join(problems)) if problems else _confirmed("records", "they agree")


def _definition(files: TrialFiles, definition: WorkloadDefinition) -> VerificationCheck:
    if files.record.definition_digest == definition.digest():
        return _confirmed("definition", definition.digest())
    reason = f"the trial has {files.record.definition_digest}, this version of the benchmark {definition.digest()}"
    return _unknown("definition", reason)


def _data(files: TrialFiles, definition: WorkloadDefinition, plan: VerificationPlan) -> VerificationCheck:
    recorded = files.record.provenance.get("data_digest")
    try:
        prepare.ensure_prepared(definition, plan.data_dir, report=lambda message: None, registry=plan.registry)
        actual = prepared_data.data_digest(definition, plan.data_dir)
    except UserError as error:
        return _unknown("data", f"they cannot be read here ({error})")
    if recorded == actual:
        return _confirmed("data", str(actual))
    return _unknown("data", f"the trial has the digest {recorded}, the data here {actual}")


def _sources(files: TrialFiles, plan: VerificationPlan) -> VerificationCheck:
    path = _submission(files, plan)
    recorded = files.record.provenance.get("submission_digest")
    if path is None:
        return _unknown("sources", "they are not at hand; give --submission")
    if recorded is None:
        return _unknown("sources", "the trial has recorded no digest of them")
    actual = sources.digest({label: sources.file_digest(file) for label, file in sources.python_files(path).items()})
    if actual == recorded:
        return _confirmed("sources", actual)
    reason = f"{path} and what it imports have the digest {actual}, what ran {recorded}"
    return _unknown("sources", reason) if plan.submission is None else _contradicted("sources", reason)


def _submission(files: TrialFiles, plan: VerificationPlan) -> Path | None:
    if plan.submission is not None:
        return plan.submission
    recorded = files.record.submission
    return Path(recorded) if recorded is not None and Path(recorded).is_file() else None


def _checkpoint_record(files: TrialFiles) -> VerificationCheck:
    """Evaluations that the newest checkpoint remembers against those in the log."""
    name, step = "checkpoint", files.last_evaluated_checkpoint()
    if step is None:
        return _unknown(name, "none was kept at an evaluation; run with --save_checkpoints")
    remembered = files.recorded_evaluations(step)
    if remembered is None:
        return _contradicted(name, f"checkpoint_{step} has no readable record of its evaluations")
    logged = by_step(files.evaluations)
    for number, row in remembered:
        if number not in logged:
            return _contradicted(name, f"checkpoint_{step} remembers an evaluation at step {number}, the log has none")
        for column, value in row.items():
            if column != columns.PREEMPTION_COUNT and compare({column: value}, logged[number], 1e-9).differing:
                text = f"{column} at step {number} is {logged[number][column]:.7g} in the log and {value:.7g} in it"
                return _contradicted(name, f"checkpoint_{step} disagrees: {text}")
            if column in {columns.SCORE, columns.SUBMISSION_TIME} and abs(value - logged[number].get(column, value)):
                text = f"{column} at step {number} is {logged[number][column]:.7g} in the log and {value:.7g} in it"
                return _contradicted(name, f"checkpoint_{step} disagrees: {text}")
    return _confirmed(name, f"checkpoint_{step} remembers {len(remembered)} evaluations as they are in the log")


def _evaluations(files: TrialFiles, definition: WorkloadDefinition, plan: VerificationPlan) -> list[VerificationCheck]:
    """The last checkpoint, and the one at the target, evaluated again."""
    last, target = files.last_evaluated_checkpoint(), files.step_at_target(definition)
    wanted_steps = {"last evaluation": last, "evaluation at the target": target}
    steps = sorted({step for step in wanted_steps.values() if step in files.checkpoints and step is not None})
    results: dict[str, Any] = {}
    same_machine, problem = False, ""
    if steps:
        try:
            answer = plan.ask(_REEVALUATION, _evaluation_request(files, plan, steps))
            results = answer["metrics"]
            same_machine = _is_same_machine(files, answer["devices"])
        except UserError as error:
            problem = str(error)
    checks = []
    for name, step in wanted_steps.items():
        if step is None:
            if name == "last evaluation":
                checks.append(_unknown(name, "no checkpoint was kept at an evaluation"))
        elif step not in files.checkpoints:
            checks.append(_unknown(name, f"no checkpoint of step {step}; run with --keep_checkpoint_at_target"))
        elif problem:
            checks.append(_unknown(name, f"it could not be repeated here: {problem}"))
        else:
            metrics = results[str(files.checkpoints[step])]
            checks.append(_of_evaluation(name, step, files.evaluation_at(step) or {}, metrics, same_machine))
    return checks


def _evaluation_request(files: TrialFiles, plan: VerificationPlan, steps: list[int]) -> dict[str, Any]:
    v2 = plan.imagenet_v2_data_dir
    return {
        "workload": files.record.workload,
        "framework": files.record.framework,
        "data_dir": str(plan.data_dir),
        "imagenet_v2_data_dir": None if v2 is None else str(v2),
        "matmul_precision": files.record.matmul_precision or _DEFAULT_PRECISION,
        "checkpoints": [str(files.checkpoints[step]) for step in steps],
    }


def _of_evaluation(
    name: str, step: int, logged: Mapping[str, float], metrics: Any, same_machine: bool
) -> VerificationCheck:
    if not isinstance(metrics, Mapping):
        return _contradicted(name, f"the checkpoint of step {step}: {metrics}")
    comparison = compare(logged, metrics, SAME_MACHINE if same_machine else ELSEWHERE)
    if not comparison.shared:
        return _contradicted(name, f"the log has no metric of step {step}")
    return _judged(name, comparison, f"of step {step}", same_machine)


def _replay(files: TrialFiles, plan: VerificationPlan) -> VerificationCheck:
    name, path = "replay", _submission(files, plan)
    if plan.replay_steps < 1 or path is None:
        return _unknown(name, "none was asked for" if path is not None else "it needs the sources; give --submission")
    record = files.record
    flags = {flag: files.flags[flag] for flag in _REPLAYED_FLAGS if files.flags.get(flag) not in (None, "")}
    request = {
        "flags": {
            **flags,
            "workload": record.workload,
            "framework": record.framework,
            "submission_path": str(path),
            "tuning_ruleset": record.ruleset,
            "data_dir": str(plan.data_dir),
            "data": "full",
            "max_global_steps": plan.replay_steps,
        },
        "seed": record.seed,
        "hyperparameters": dict(record.hyperparameters) if RULESETS[record.ruleset].tunable else None,
    }
    try:
        answer = plan.ask(_REPLAY, request)
    except UserError as error:
        return _unknown(name, f"it failed: {error}")
    again, logged = by_step(answer["rows"]), by_step([*files.measurements, *files.evaluations])
    same_machine = _is_same_machine(files, None)
    total = Comparison(shared=0, equal=0, differing=())
    for step in sorted(again.keys() & logged.keys()):
        total += compare(logged[step], again[step], SAME_MACHINE if same_machine else ELSEWHERE)
    if not total.shared:
        why = f" ({answer['outcome']}: {' '.join(answer['error'])})" if answer["error"] else ""
        return _unknown(name, f"{plan.replay_steps} steps log nothing that the trial has logged{why}")
    return _judged(name, total, f"in {plan.replay_steps} steps", same_machine)


def _judged(name: str, comparison: Comparison, where: str, same_machine: bool) -> VerificationCheck:
    if comparison.differing:
        return _contradicted(name, f"{comparison.worst} ({len(comparison.differing)} of {comparison.shared} {where})")
    if comparison.equal == comparison.shared:
        return _confirmed(name, f"{comparison.shared} values {where} are the same to the last bit")
    tolerance = SAME_MACHINE if same_machine else ELSEWHERE
    machine = "this machine" if same_machine else "another machine"
    return _confirmed(name, f"{comparison.shared} values {where} agree within {tolerance:g}, on {machine}")


def _is_same_machine(files: TrialFiles, devices: Mapping[str, Any] | None) -> bool:
    """Whether the trial ran on this kind of processor and devices, with these versions."""
    provenance = files.record.provenance
    hardware, software = provenance.get("hardware", {}), provenance.get("software", {})
    if hardware.get("cpu_model") != cpu_model() or software.get("packages") != package_versions():
        return False
    recorded = hardware.get("devices") or {}
    return devices is None or recorded.get("device_names") == devices.get("device_names")


def _confirmed(name: str, reason: str) -> VerificationCheck:
    return VerificationCheck(name=name, answer=Answer.CONFIRMED, reason=reason)


def _unknown(name: str, reason: str) -> VerificationCheck:
    return VerificationCheck(name=name, answer=Answer.UNKNOWN, reason=reason)


def _contradicted(name: str, reason: str) -> VerificationCheck:
    return VerificationCheck(name=name, answer=Answer.CONTRADICTED, reason=reason)
