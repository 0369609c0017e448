"""`algoperf status`: says how far a suite is: what ran, failed, runs and waits, and how long is left."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from algoperf.answer import Answer, add_json_option, answer_command
from algoperf.errors import UserError


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="algoperf status", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("folder", metavar="DIR", type=Path, help="of the suite: <experiment_dir>/<experiment_name>")
    add_json_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 where the folder is no suite's."""
    return answer_command("status", parser(), arguments, _run)


def _run(options: argparse.Namespace, answer: Answer) -> int:
    from algoperf.runner.executors.status import suite_status
    from algoperf.runner.executors.suite_folder import StoredSuite

    try:
        status = suite_status(StoredSuite.read(options.folder))
    except UserError as error:
        return answer.fail(str(error), status=2)
    answer.result = status.to_json()
    status.show(print)
    return 0
