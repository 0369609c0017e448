"""One call of the runner: resolves the workload and its data, draws hyperparameters, runs the trials in turn."""

import dataclasses
import sys
import time
from pathlib import Path

from algoperf.backends import base
from algoperf.backends.base import Backend
from algoperf.definition import Tier, WorkloadDefinition
from algoperf.harness import seeds
from algoperf.harness.pauses import OwnWork
from algoperf.prepare import MissingDatasetError, data_digest, ensure_prepared
from algoperf.records import json
from algoperf.records.layout import HYPERPARAMETERS_FILE, SEED_FILE, ExperimentPaths, prepare_experiment_dir
from algoperf.records.outcome import Outcome
from algoperf.records.trial import TrialRecord
from algoperf.registry import REGISTRY, Registry
from algoperf.reporting import Report
from algoperf.runner import search_space
from algoperf.runner.run_config import ConfigError, RunConfig
from algoperf.runner.trial import TrialPlan, TrialResult, run_trial
from algoperf.submissions import sources as submission_sources
from algoperf.submissions.loading import Submission, load_submission, resolve_batch_size
from algoperf.submissions.tuning import Hyperparameters

_SEED = "seed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Imported:
    """A submission, the seconds that its import took, and what the benchmark had started before."""

    submission: Submission
    seconds: float
    own_work: OwnWork


def run(config: RunConfig, *, registry: Registry = REGISTRY, report: Report | None = None) -> list[TrialResult]:
    """Runs every selected trial that is not finished yet and returns the results of all selected trials.

    Raises:
      ConfigError, UnknownWorkloadError, MissingDatasetError, SubmissionError, SearchSpaceError,
      ExperimentExistsError: the request cannot be run; nothing was started.
    """
    report = report or report_to_stderr
    registry.get(config.workload)
    backend = base.load(config.framework)
    try:
        own_work, begun_s = OwnWork(), time.monotonic()
        submission = load_submission(config.submission_path)
        imported = _Imported(submission=submission, seconds=time.monotonic() - begun_s, own_work=own_work)
        definition = choose_definition(config, registry, report if backend.rank == 0 else _silent)
        definition = _with_tokenizer(definition, config)
        points = _hyperparameters(config, definition, submission, report if backend.rank == 0 else _silent)
        batch_size = resolve_batch_size(submission, definition, backend.num_devices)
        if submission.has_eval_batch_size and backend.rank == 0:
            report(
                "warning: get_eval_batch_size is ignored; the benchmark fixes the evaluation batch size "
                f"({definition.eval_batch_size} for {definition.name})"
            )
        _prepare_data(definition, config, registry, backend, report)
        return _run_trials(config, registry, backend, definition, imported, points, batch_size, report)
    finally:
        backend.close()


def choose_definition(config: RunConfig, registry: Registry, report: Report) -> WorkloadDefinition:
    """The workload to run: the one asked for, or its mini where the full dataset is not at hand and that is allowed."""
    definition = registry.get(config.workload)
    if definition.tier is Tier.MINI or definition.mini_name is None:
        if config.data == "mini" and definition.tier is not Tier.MINI:
            raise ConfigError(f"{definition.name} has no mini version; leave --data=mini out")
        return definition
    if config.data == "mini":
        return registry.get(definition.mini_name)
    try:
        ensure_prepared(definition, config.data_dir, report=report, registry=registry)
    except MissingDatasetError:
        if config.data == "full":
            raise
        report(
            f"{definition.name}: the full dataset is not under {config.data_dir}, so this run uses "
            f"{definition.mini_name} (generated data, its own target) and is logged under that name; --data=full "
            f"insists on the full dataset; python -m algoperf.prepare {definition.name} --how_to_get says where it "
            "comes from."
        )
        return registry.get(definition.mini_name)
    return definition


def _with_tokenizer(definition: WorkloadDefinition, config: RunConfig) -> WorkloadDefinition:
    path = config.librispeech_tokenizer_vocab_path
    if path is None:
        return definition
    if not hasattr(definition.data, "tokenizer_vocab_path"):
        raise ConfigError(f"--librispeech_tokenizer_vocab_path is for speech workloads, not for {definition.name}")
    return dataclasses.replace(definition, data=dataclasses.replace(definition.data, tokenizer_vocab_path=str(path)))


def _prepare_data(
    definition: WorkloadDefinition, config: RunConfig, registry: Registry, backend: Backend, report: Report
) -> None:
    if backend.rank == 0:
        ensure_prepared(definition, config.data_dir, report=report, registry=registry)
    backend.barrier()


def _hyperparameters(
    config: RunConfig, definition: WorkloadDefinition, submission: Submission, report: Report
) -> list[Hyperparameters | None]:
    if not config.ruleset.tunable:
        return [None]
    space = search_space.for_single_run(config, definition, submission.path, report)
    return list(space.draw(config.num_trials, study=config.study_index))


def _run_trials(
    config: RunConfig,
    registry: Registry,
    backend: Backend,
    definition: WorkloadDefinition,
    imported: _Imported,
    points: list[Hyperparameters | None],
    batch_size: int,
    report: Report,
) -> list[TrialResult]:
    paths = _open_experiment(config, backend, definition)
    run_seed = config.rng_seed if config.rng_seed is not None else backend.broadcast_object(seeds.fresh_seed())
    first, last = config.trial_range
    import_s = imported.seconds  # in the ledger of the first trial that runs
    results = []
    for index in range(first, last):
        trial_dir = paths.trial_dir(index + 1)
        finished = _finished_result(trial_dir, is_shown=backend.rank == 0)
        if finished is not None:
            if backend.rank == 0:
                report(f"{trial_dir} is finished ({finished.outcome}); not run again")
            results.append(finished)
            continue
        plan = TrialPlan(
            config=config,
            registry=registry,
            definition=definition,
            submission=imported.submission,
            hyperparameters=points[index],
            batch_size=batch_size,
            seed=_trial_seed(trial_dir, seeds.trial_seed(run_seed, study=config.study_index, trial=index), backend),
            trial_dir=trial_dir,
            import_submission_s=import_s,
            own_work=imported.own_work,
            data_digest=data_digest(definition, config.data_dir),
        )
        import_s = 0.0
        if backend.rank == 0:
            _write_trial_inputs(plan, report)
            report(
                f"trial {index + 1} of {last}: {definition.name}, {backend.framework}, {points[index] or 'self-tuning'}"
            )
        backend.barrier()
        result = run_trial(plan, backend, report if backend.rank == 0 else _silent)
        results.append(result)
        if result.outcome is Outcome.INTERRUPTED:
            break
    return results


def _open_experiment(config: RunConfig, backend: Backend, definition: WorkloadDefinition) -> ExperimentPaths:
    """Rank 0 makes the folders; a refusal is raised on every rank."""
    answer: ExperimentPaths | Exception
    if backend.rank == 0:
        try:
            answer = prepare_experiment_dir(
                config.experiment_dir,
                config.experiment_name,
                workload=definition.name,
                framework=config.framework,
                overwrite=config.overwrite,
                resume=config.resume_last_run,
                append_timestamp=config.append_timestamp,
                trials=range(config.trial_range[0] + 1, config.trial_range[1] + 1),
            )
        except Exception as error:
            answer = error
    else:
        answer = RuntimeError("rank 0 gave no answer")
    answer = backend.broadcast_object(answer)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _finished_result(trial_dir: Path, *, is_shown: bool) -> TrialResult | None:
    record = TrialRecord.read(trial_dir)
    if record is None or not record.outcome.is_final:
        return None
    return TrialResult(outcome=record.outcome, trial_dir=trial_dir, record=record, is_shown=is_shown)


def _trial_seed(trial_dir: Path, drawn: int, backend: Backend) -> int:
    """The seed that the trial started with, where it was started before; else the drawn one."""
    path = trial_dir / SEED_FILE
    seed = json.read(path)[_SEED] if backend.rank == 0 and path.is_file() else drawn
    return int(backend.broadcast_object(seed))


def _write_trial_inputs(plan: TrialPlan, report: Report) -> None:
    """Records what the trial starts with before its first step, so that a resumed process continues the same trial.

    A submission may be fixed in between; what changed is reported and recorded.
    """
    plan.trial_dir.mkdir(parents=True, exist_ok=True)
    json.write(plan.trial_dir / SEED_FILE, {_SEED: plan.seed})
    if plan.hyperparameters is not None:
        _write_hyperparameters(plan)
    changed = submission_sources.record_version(plan.trial_dir, plan.submission.source_files)
    if changed:
        report(
            f"warning: {', '.join(changed)} changed since {plan.trial_dir} was started or last resumed; "
            "it continues with the submission as it is now, and trial.json records both"
        )


def _write_hyperparameters(plan: TrialPlan) -> None:
    path = plan.trial_dir / HYPERPARAMETERS_FILE
    values = plan.hyperparameters.to_dict()
    if path.is_file() and json.read(path) != json.plain(values):
        raise ConfigError(
            f"{path} holds other hyperparameters than this run draws; resume with the search space and study of the "
            "first run, or choose another --experiment_name"
        )
    json.write(path, values)


def report_to_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _silent(message: str) -> None:
    pass
