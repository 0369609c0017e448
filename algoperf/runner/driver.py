"""One call of the runner: resolves the workload and its data, draws hyperparameters, runs the trials in turn."""

import dataclasses
import os
from pathlib import Path

from algoperf.backends import base
from algoperf.definition import Tier, WorkloadDefinition
from algoperf.harness import seeds
from algoperf.harness.ranks import RankWatch
from algoperf.harness.signals import StopSignals
from algoperf.prepare import MissingDatasetError, ensure_prepared
from algoperf.registry import REGISTRY, Registry
from algoperf.reporting import Report, report_to_stderr
from algoperf.runner import search_space
from algoperf.runner.run_config import ConfigError, RunConfig
from algoperf.runner.study import Study
from algoperf.runner.trial_end import TrialResult
from algoperf.submissions.loading import locate_submission
from algoperf.submissions.tuning import Hyperparameters, SearchSpace

_PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"


def run(
    config: RunConfig, *, registry: Registry = REGISTRY, report: Report | None = None, stop: StopSignals | None = None
) -> list[TrialResult]:
    """Runs every selected trial that is not finished yet and returns the results of all selected trials.

    A submission that raises at its import or later is no error here: its trials have the outcome `crashed`.

    Raises:
      ConfigError, UnknownWorkloadError, EditionError, MissingDatasetError, SubmissionError, SearchSpaceError,
      ExperimentExistsError: the request cannot be run; nothing was started.
      StopRequestedError: a signal came before there was a trial to record it in.
    """
    if stop is None:
        with StopSignals() as stop:
            return run(config, registry=registry, report=report, stop=stop)
    if config.isolated:
        os.environ.setdefault(_PREALLOCATE, "false")  # two processes share the devices
    edition = config.edition or registry.get(config.workload).edition
    registry.get(config.workload).of_edition(edition)
    config = dataclasses.replace(config, edition=edition)
    backend = base.load(config.framework, matmul_precision=config.precision, deterministic=config.deterministic)
    show = report or report_to_stderr
    if config.isolated and backend.world_size > 1:
        raise ConfigError("--isolated is for runs of one process; leave it out where there are several")
    report = show if backend.rank == 0 else _silent
    watch = RankWatch(backend, timeout_s=config.rank_timeout_s, report=show, stop=stop)
    try:
        watch.start()
        run_seed = config.rng_seed if config.rng_seed is not None else backend.broadcast_object(seeds.fresh_seed())
        seeds.seed_host_generators(run_seed)
        path = locate_submission(config.submission_path)
        definition = _with_tokenizer(choose_definition(config, registry, report).at_horizon(config.horizon), config)
        points = _hyperparameters(config, definition, path, report)
        study = Study(
            config=config, registry=registry, definition=definition, submission_path=path, points=points, seed=run_seed
        )
        return study.run(backend, report, stop, watch)
    finally:
        watch.close()
        if not watch.is_broken:
            backend.close()


def choose_definition(config: RunConfig, registry: Registry, report: Report) -> WorkloadDefinition:
    """The workload to run: the one asked for, or its mini where the full dataset is not at hand and that is allowed.

    Of the edition that is asked for, or else of the first that has the workload.
    """
    definition = registry.get(config.workload)
    edition = config.edition or definition.edition
    return _available(definition, config, registry, report).of_edition(edition)


def _available(
    definition: WorkloadDefinition, config: RunConfig, registry: Registry, report: Report
) -> WorkloadDefinition:
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


def _hyperparameters(
    config: RunConfig, definition: WorkloadDefinition, submission_path: Path, report: Report
) -> list[Hyperparameters | None]:
    if not config.ruleset.tunable:
        return [None]
    if config.hyperparameters is not None:
        space = SearchSpace.parse([config.hyperparameters], source="the hyperparameters of the configuration")
        return [space.draw(1)[0]] * config.num_trials
    space = search_space.for_single_run(config, definition, submission_path, report)
    return list(space.draw(config.num_trials, study=config.study_index))


def _silent(message: str) -> None:
    pass
