"""A run from Python: one trial in this process, and its record."""

from pathlib import Path
from typing import Any

from algoperf.records.trial import TrialRecord
from algoperf.registry import REGISTRY, Registry, suites
from algoperf.runner import driver
from algoperf.runner.run_config import ConfigError, RunConfig
from algoperf.runner.run_file import RunFile
from algoperf.runner.settings import complete


def run(*, config: str | Path | None = None, registry: Registry = REGISTRY, **settings: Any) -> TrialRecord:
    """Runs one trial, or resumes it, and returns its record, as `algoperf run` does.

    Args:
      config: a `run.toml`; `settings` go before what it says.
      registry: where the workload is found.
      **settings: of `algoperf run`, by the names of its options; `workload` and `framework` are needed here or there.

    Raises:
      ConfigError: a setting is unknown or does not fit, or the settings ask for more than one trial.
      UserError: the run cannot be made; nothing was started. How a trial ended is in its record instead.
    """
    file = RunFile(settings={}) if config is None else RunFile.read(Path(config))
    values = complete({**file.settings, **settings})
    if not values["workload"] or not values["framework"]:
        raise ConfigError("algoperf.run needs a workload and a framework, as arguments or in the file of config")
    if values["workload"] in suites():
        raise ConfigError(f"{values['workload']} is a suite; algoperf.run runs one workload")
    if file.hyperparameters is not None and settings.get("tuning_search_space") is None:
        values["hyperparameters"] = file.hyperparameters
    run_config = RunConfig.from_flags(values)
    first, last = run_config.trial_range
    if last - first != 1:
        raise ConfigError(
            f"algoperf.run returns one record, and these settings ask for {last - first} trials; choose one with "
            "hparam_start_index and hparam_end_index"
        )
    [result] = driver.run(run_config, registry=registry)
    return result.record
