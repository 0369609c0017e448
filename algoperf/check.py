"""Checks a submission against the rules of the benchmark (docs/rules.md), before it is run.

  python -m algoperf.check SUBMISSION [--json=FILE] [--strict]

SUBMISSION is a submission's file or dotted module. Its sources are read and not imported. Exit status: 0 without
errors, 1 with errors (with --strict: with warnings too), 2 where the submission cannot be checked.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from algoperf.checking.findings import RuleFinding, has_errors, summary
from algoperf.checking.static import check_sources
from algoperf.errors import UserError
from algoperf.records import json
from algoperf.submissions.loading import locate_submission


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m algoperf.check", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("submission", metavar="SUBMISSION", help="a .py file or a dotted module")
    add("--static", action="store_true", help="read the sources only")
    add("--json", type=Path, metavar="FILE", help="also write the findings there; - is the standard output")
    add("--strict", action="store_true", help="warnings count as errors")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 for errors (or warnings, with --strict) and 2 for what cannot be checked."""
    options = build_parser().parse_args(argv)
    try:
        findings = check(options.submission)
        _show(findings, options.json)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if has_errors(findings) or (options.strict and findings) else 0


def check(submission: str) -> list[RuleFinding]:
    """All findings about a submission, those about its sources first.

    Args:
      submission: a file or a dotted module.

    Raises:
      SubmissionError: there is no such submission.
    """
    return check_sources(locate_submission(submission))


def _show(findings: Sequence[RuleFinding], json_file: Path | None) -> None:
    if json_file == Path("-"):
        print(json.dumps([finding.as_json() for finding in findings], indent=1))
        return
    for finding in findings:
        print(finding)
    print(summary(findings))
    if json_file is not None:
        json.write(json_file, {"findings": [finding.as_json() for finding in findings]})


if __name__ == "__main__":
    sys.exit(main())
