"""Writes the `run.toml` of a trial that starts."""

from typing import Any

from algoperf import __version__
from algoperf.records.layout import RUN_CONFIG_FILE, trial_number
from algoperf.runner.run_file import RunFile
from algoperf.runner.settings import SETTINGS
from algoperf.runner.trial_end import TrialPlan, TrialSettings

_NOT_WRITTEN = (
    "experiment_dir",
    "experiment_name",
    "resume_last_run",
    "overwrite",
    "append_timestamp",
    "tuning_search_space",
    "profile",
    "dry_run",
    "outdated",
    "num_studies",
    "launcher",
)


def write_run_file(settings: TrialSettings, *, run_seed: int) -> None:
    """Writes the `run.toml` of a trial that starts; the file of an earlier process of the trial stays.

    Args:
      run_seed: from which the seed of the trial was drawn.

    Raises:
      RecorderError: the disk is full or not writable.
    """
    path, number = settings.trial_dir / RUN_CONFIG_FILE, trial_number(settings.trial_dir.name)
    if path.exists() or number is None:
        return
    config = settings.config
    given = {name: value for name, value in config.flag_values.items() if name in SETTINGS and name not in _NOT_WRITTEN}
    own: dict[str, Any] = {
        "workload": settings.definition.name,
        "framework": config.framework,
        "submission_path": settings.submission_path.resolve(),
        "rng_seed": run_seed,
        "study": config.study_index,
        "data_dir": config.data_dir.resolve(),
    }
    if config.ruleset.tunable:
        own |= {
            "num_tuning_trials": config.num_trials,
            "hparam_start_index": number - 1,
            "hparam_end_index": number,
        }
    recorded = {"algoperf": __version__, "definition_digest": settings.definition.digest()}
    if isinstance(settings, TrialPlan):
        recorded["submission_digest"] = settings.submission.source_digest
    point = None if settings.hyperparameters is None else settings.hyperparameters.to_dict()
    chosen = {name: value for name, value in {**given, **own}.items() if value not in (None, "")}
    in_order = {name: chosen[name] for name in SETTINGS if name in chosen}
    RunFile(settings=in_order, hyperparameters=point, recorded=recorded).write(path)
