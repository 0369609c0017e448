"""Which search space a run draws from: the rules ask for one for all workloads, so suites and single runs differ."""

from collections.abc import Iterable
from pathlib import Path

from algoperf.definition import WorkloadDefinition
from algoperf.reporting import Report
from algoperf.runner.run_config import ConfigError, RunConfig, default_submission
from algoperf.submissions.tuning import SearchSpace

_FOLDER = "search_spaces"


def for_single_run(config: RunConfig, definition: WorkloadDefinition, submission: Path, report: Report) -> SearchSpace:
    """The search space of `--tuning_search_space`, else the first that there is of these.

    `search_spaces/<workload>.json` beside the submission; for one trial of the reference algorithm the workload's
    `reference_hyperparameters`; `search_spaces/default.json` and `tuning_search_space.json` beside the submission.
    The first two are for this workload alone, and reported.

    Args:
      config: of the run.
      definition: of the workload that runs.
      submission: file of the submission.
      report: told which space is for this workload alone.

    Raises:
      ConfigError: there is none.
      SearchSpaceError: it cannot be used.
    """
    if config.tuning_search_space:
        return SearchSpace.load(config.tuning_search_space)
    own = _own_space(submission, definition.name)
    if own.is_file():
        report(f"search space: {own}, for single runs of {definition.name}; suites take one space for all workloads")
        return SearchSpace.load(own)
    if definition.reference_hyperparameters and config.num_trials == 1 and _is_reference(submission, config.framework):
        source = f"the reference point of {definition.name}"
        report(f"hyperparameters: {source}, for single runs; suites take one space for all workloads")
        return SearchSpace.parse([definition.reference_hyperparameters], source=source)
    return SearchSpace.load(_common_space(submission))


def for_suite(config: RunConfig, workloads: Iterable[str], submission: Path) -> Path:
    """File of the one search space of all workloads of a suite.

    Raises:
      ConfigError: there is none, or one for a single workload is there too.
    """
    if config.tuning_search_space:
        return Path(config.tuning_search_space).expanduser().resolve()
    own = [path for path in (_own_space(submission, name) for name in workloads) if path.is_file()]
    if own:
        raise ConfigError(
            f"{own[0]} is a search space for one workload, and the rules ask for one space for all workloads of a "
            "suite; name that one with --tuning_search_space, or remove the file"
        )
    return _common_space(submission)


def _own_space(submission: Path, workload: str) -> Path:
    return submission.parent / _FOLDER / f"{workload}.json"


def _common_space(submission: Path) -> Path:
    candidates = (submission.parent / _FOLDER / "default.json", submission.parent / "tuning_search_space.json")
    for path in candidates:
        if path.is_file():
            return path
    raise ConfigError(
        "--tuning_ruleset=external needs --tuning_search_space, a JSON file; there is none next to "
        f"{submission} either ({candidates[-1].name})"
    )


def _is_reference(submission: Path, framework: str) -> bool:
    try:
        return submission.resolve() == default_submission(framework).resolve()
    except ConfigError:
        return False
