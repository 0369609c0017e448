"""How far a suite is, from any shell; its results; and its end.

  python -m algoperf.suite status|collect|cancel DIR

DIR is the suite's folder, `<experiment_dir>/<experiment_name>`. `status` says what ran, failed, runs and waits, and how
long is left; `collect` shows the times to target and scores what has finished; `cancel` ends what runs and waits, and
running trials write a checkpoint first. `submission_runner.py --workload=<suite>` starts suites.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from algoperf.errors import UserError

ACTIONS = {
    "status": "what ran, failed, runs or waits, and how long is left",
    "collect": "times to target, and scores of what has finished",
    "cancel": "end what runs and waits; running trials write a checkpoint",
}


def parser() -> argparse.ArgumentParser:
    """The parser of this command."""
    parser = argparse.ArgumentParser(prog="python -m algoperf.suite", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=tuple(ACTIONS), help="; ".join(f"{k}: {v}" for k, v in ACTIONS.items()))
    parser.add_argument("folder", metavar="DIR", type=Path, help="of the suite: <experiment_dir>/<experiment_name>")
    parser.add_argument("--json", action="store_true", help="with status: print it as JSON")
    return parser


def run(options: argparse.Namespace) -> int:
    """Does what the parsed arguments ask for; returns the exit status.

    Raises:
      SuiteFolderError: DIR is no suite's folder.
      SchedulerError: jobs are to be cancelled, and SLURM does not answer.
    """
    from algoperf.records import json
    from algoperf.reporting import report_to_stderr
    from algoperf.runner.executors.results import collect
    from algoperf.runner.executors.status import cancel, suite_status
    from algoperf.runner.executors.suite_folder import StoredSuite

    suite = StoredSuite.read(options.folder)
    if options.action == "collect":
        return collect(suite, report_to_stderr)
    if options.action == "cancel":
        if not cancel(suite, report_to_stderr):
            report_to_stderr("nothing of this suite runs or waits")
        return 0
    status = suite_status(suite)
    if options.json:
        print(json.dumps(status.to_json()), end="")
    else:
        status.show(print)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 where `collect` misses trials, or 2 for an error that a user can fix."""
    options = parser().parse_args(arguments)
    try:
        return run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
