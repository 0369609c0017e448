"""What a call of the runner does once its settings are known: a single run or a suite, and how it ended."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import reporting
from algoperf.errors import UserError
from algoperf.harness.signals import StopRequestedError, StopSignals
from algoperf.records.outcome import Outcome
from algoperf.registry import REGISTRY, Registry, suites
from algoperf.reporting import report_to_stderr
from algoperf.runner import driver, summary
from algoperf.runner.executors.choice import LOCAL, choose_executor
from algoperf.runner.executors.resources import ResourceTable
from algoperf.runner.parent import end_with_suite
from algoperf.runner.run_config import ConfigError, RunConfig, check_flags_apply
from algoperf.runner.suite import SuiteRun
from algoperf.runner.suite_plan import Outdated, choose_suite
from algoperf.runner.trial_end import TrialResult

INTERRUPTED_EXIT_CODE = 128 + 15


@dataclass(frozen=True, kw_only=True)
class CommandEnd:
    """How a call of the runner ended.

    Attributes:
      status: the exit status of the command.
      error: of the call as a whole, one line; None where there was none.
      results: of the trials of a single run.
      suite: of a suite.
    """

    status: int
    error: str | None = None
    results: Sequence[TrialResult] = ()
    suite: SuiteRun | None = None

    @property
    def has_lost_ranks(self) -> bool:
        """Whether other processes are gone, so that leaving in order would wait for ever."""
        return any(result.has_lost_ranks for result in self.results)


def run_command(values: Mapping[str, Any], *, registry: Registry = REGISTRY) -> CommandEnd:
    """Runs what the settings ask for and shows a person how it ended.

    Args:
      values: settings by name; see `algoperf.runner.settings`.
      registry: where the workload is found.
    """
    reporting.guard_standard_streams()
    end_with_suite()
    try:
        with StopSignals() as stop:
            return _run(values, registry, stop)
    except UserError as error:
        report_to_stderr(f"error: {error}")
        return CommandEnd(status=2, error=str(error))
    except (StopRequestedError, KeyboardInterrupt) as request:
        message = f"stopped by {request or 'SIGINT'} while no trial was running"
        report_to_stderr(message)
        return CommandEnd(status=INTERRUPTED_EXIT_CODE, error=message)


def _run(values: Mapping[str, Any], registry: Registry, stop: StopSignals) -> CommandEnd:
    if values.get("set_pytorch_max_split_size"):
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:256")
    config = RunConfig.from_flags(values)
    check_flags_apply(values, suites())
    if config.workload in suites():
        return _run_suite(config, values)
    results = driver.run(config, registry=registry, stop=stop)
    with stop.deferred():
        summary.show(results, ledger=config.profile)
    return CommandEnd(status=_status(results), results=results)


def _status(results: Sequence[TrialResult]) -> int:
    if any(result.outcome is Outcome.INTERRUPTED for result in results):
        return INTERRUPTED_EXIT_CODE
    return 1 if any(result.outcome.is_failure for result in results) else 0


def _run_suite(config: RunConfig, values: Mapping[str, Any]) -> CommandEnd:
    dry_run = values["dry_run"]
    try:
        launcher = shlex.split(values["launcher"])
    except ValueError as error:
        raise ConfigError(f"--launcher={values['launcher']}: {error}; expected words as in a shell") from error
    executor, resources = values.get("executor") or LOCAL, values.get("resources")
    suite = choose_suite(config.workload, config, report_to_stderr, is_dry_run=dry_run)
    run = SuiteRun(
        suite,
        config,
        num_studies=values["num_studies"],
        launcher=launcher,
        outdated=values["outdated"] and Outdated(values["outdated"]),
        executor=choose_executor(executor),
        executor_name=executor,
        resources=ResourceTable.read(resources and Path(resources), suite.workloads),
        report=report_to_stderr,
    )
    if dry_run:
        run.show_plan()
        return CommandEnd(status=0, suite=run)
    return CommandEnd(status=run.run(), suite=run)
