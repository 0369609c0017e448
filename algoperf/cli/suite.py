"""`algoperf suite`: runs every workload, study and trial of a suite for one submission, and scores it."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from algoperf.answer import Answer, answer_command
from algoperf.cli.run_options import options_parser, plain_switches, settings_of
from algoperf.errors import UserError
from algoperf.records.json import plain
from algoperf.registry import suites
from algoperf.runner.run_config import SINGLE_RUN_FLAGS, ConfigError

if TYPE_CHECKING:
    from algoperf.runner.suite import SuiteRun


def parser() -> argparse.ArgumentParser:
    text = (__doc__ or "").partition(": ")[2]
    return options_parser("suite", text, names=sorted(suites()), left_out=SINGLE_RUN_FLAGS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 1 where a trial has not finished, 2 for a mistake of the user."""
    return answer_command("suite", parser(), plain_switches(arguments), _run)


def _run(options: argparse.Namespace, answer: Answer) -> int:
    try:
        values = settings_of(options)
        if values["workload"] not in suites():
            names = ", ".join(sorted(suites()))
            raise ConfigError(f"{values['workload']} is no suite ({names}); a workload is run with: algoperf run")
    except UserError as error:
        return answer.fail(str(error), status=2)
    from algoperf.runner.command import run_command  # with it comes all that trains

    end = run_command(values)
    answer.error = end.error
    if end.suite is not None:
        answer.result = suite_state(end.suite)
    return end.status


def suite_state(suite: "SuiteRun") -> dict[str, Any]:
    """Every trial of a suite, and how far it is, in types of JSON."""
    trials = []
    for trial in suite.trials:
        record = trial.record
        trials.append(
            {
                "workload": trial.definition.name,
                "study": trial.study,
                "trial": trial.trial,
                "folder": str(trial.folder),
                "budget_s": trial.budget_s,
                "outcome": trial.outcome,
                "target_after_s": None if record is None else record.time_to_target_s,
            }
        )
    result: dict[str, Any] = plain(
        {
            "root": suite.root,
            "scores_dir": suite.scores_dir,
            "longest_s": suite.longest_s(),
            "shortfalls": suite.plan.shortfalls,
            "trials": trials,
        }
    )
    return result
