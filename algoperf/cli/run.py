"""`algoperf run`: trains one workload with one submission, against the clock.

The settings are those of `submission_runner.py`. Every trial has them in its `run.toml`, and `--config` repeats it.
"""

import argparse
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algoperf.answer import Answer, answer_command
from algoperf.cli.run_options import options_parser, plain_switches, settings_of
from algoperf.errors import UserError
from algoperf.records.json import plain
from algoperf.registry import REGISTRY, Registry, suites
from algoperf.reporting import report_to_stderr
from algoperf.runner.run_config import SUITE_FLAGS, ConfigError
from algoperf.runner.run_file import RunFile

if TYPE_CHECKING:
    from algoperf.runner.trial_end import TrialResult

_DIGESTS = ("definition_digest", "submission_digest")


def parser() -> argparse.ArgumentParser:
    return options_parser("run", (__doc__ or "").partition(": ")[2], names=REGISTRY.names(), left_out=SUITE_FLAGS)


def main(arguments: Sequence[str] | None = None, *, registry: Registry = REGISTRY) -> int:
    """Runs the command; returns the exit status: 1 for a failed trial, 2 for an error that a user can fix."""
    return answer_command("run", parser(), plain_switches(arguments), functools.partial(_run, registry))


def _run(registry: Registry, options: argparse.Namespace, answer: Answer) -> int:
    try:
        values = settings_of(options)
        if values["workload"] in suites():
            raise ConfigError(f"{values['workload']} is a suite; run it with: algoperf suite {values['workload']}")
    except UserError as error:
        return answer.fail(str(error), status=2)
    from algoperf.runner.command import run_command  # with it comes all that trains

    end = run_command(values, registry=registry)
    answer.error, answer.result = end.error, {"trials": [_trial(result) for result in end.results]}
    answer.is_printed = end.error is not None or any(result.is_shown for result in end.results)
    if options.config is not None:
        _report_changes(options.config, end.results)
    if end.has_lost_ranks:  # leaving in order would wait for processes that are gone
        answer.status = 1
        answer.print()
        os._exit(1)
    return end.status


def _trial(result: "TrialResult") -> dict[str, Any]:
    return {"trial_dir": str(result.trial_dir.absolute()), "record": plain(result.record)}


def _report_changes(config: Path, results: "Sequence[TrialResult]") -> None:
    """Says what is not as it was when the trial ran whose settings were repeated."""
    recorded = RunFile.read(config).recorded
    for record in (result.record for result in results if result.is_shown):
        now = {**record.provenance, "definition_digest": record.definition_digest}
        changed = [name.removesuffix("_digest") for name in _DIGESTS if recorded.get(name) not in (None, now.get(name))]
        if changed:
            report_to_stderr(f"warning: {' and '.join(changed)} changed since the run of {config}")
