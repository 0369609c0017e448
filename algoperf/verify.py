"""Verifies finished trials: evaluates their checkpoints again, and takes their first steps again.

  algoperf verify RESULT [--submission=FILE] [--data_dir=~/data] [--replay_steps=20]

RESULT is the folder of a trial, or one above several. The verdict of each is verified, plausible (nothing is
contradicted, and something could not be checked) or contradicted, with reasons; it is written to verification.json in
the trial's folder and shown on the board. Exit status: 0; 1 where a trial is contradicted; 2 where nothing can be
verified.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from algoperf.answer import Answer, add_json_option, answer_command
from algoperf.errors import UserError
from algoperf.records.json import plain
from algoperf.records.verification import Answer as CheckAnswer
from algoperf.records.verification import Verification, VerificationVerdict
from algoperf.submissions.loading import locate_submission
from algoperf.verification.trial_check import REPLAY_STEPS, VerificationPlan, verify_trial
from algoperf.verification.trial_files import trials_below

_MARKS = {CheckAnswer.CONFIRMED: "ok", CheckAnswer.UNKNOWN: "open", CheckAnswer.CONTRADICTED: "no"}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="algoperf verify", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("result", metavar="RESULT", type=Path, help="folder of a trial, or one above several")
    add("--submission", help="the submission's file (default: the one that the record names, where it is there)")
    add("--data_dir", type=Path, default=Path("~/data"), help="prepared data; those of minis are generated there")
    add("--imagenet_v2_data_dir", type=Path, help="of the test split, where it is elsewhere")
    add("--replay_steps", type=int, default=REPLAY_STEPS, help=f"0 replays nothing (default: {REPLAY_STEPS})")
    add_json_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 where a trial is contradicted, 2 where there is nothing to verify."""
    return answer_command("verify", parser(), arguments, _run)


def _run(options: argparse.Namespace, answer: Answer) -> int:
    v2 = options.imagenet_v2_data_dir
    verifications: list[tuple[Path, Verification]] = []
    try:
        plan = VerificationPlan(
            data_dir=options.data_dir.expanduser().resolve(),
            imagenet_v2_data_dir=None if v2 is None else v2.expanduser().resolve(),
            submission=None if options.submission is None else locate_submission(options.submission),
            replay_steps=options.replay_steps,
        )
        for folder in trials_below(options.result.expanduser().resolve()):
            verification = verify_trial(folder, plan)
            verification.write(folder)
            verifications.append((folder, verification))
            _show(folder, verification)
    except UserError as error:
        return answer.fail(str(error), status=2)
    answer.result = {
        "trials": [
            {"trial_dir": str(f), "verdict": str(v.verdict), "checks": plain(v.checks)} for f, v in verifications
        ]
    }
    return 1 if any(v.verdict is VerificationVerdict.CONTRADICTED for _, v in verifications) else 0


def _show(folder: Path, verification: Verification) -> None:
    print(f"{folder}: {verification.verdict}")
    for check in verification.checks:
        print(f"  {_MARKS[check.answer]:>4}  {check.name}: {check.reason}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
