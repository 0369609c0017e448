"""Checks a submission against the rules of the benchmark (docs/rules.md), before it is run.

  algoperf check SUBMISSION [--framework=jax|pytorch] [--workloads=mnist_mini,criteo1tb_mini] [--static] [--strict]

SUBMISSION is a submission's file or dotted module. Its sources are read, and a few steps are taken on random batches of
two workloads, in a process of its own. Exit status: 0 without errors, 1 with errors (with --strict: with warnings too),
2 where the submission cannot be checked.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from algoperf.answer import Answer, add_json_option, answer_command
from algoperf.checking.dry_run import WORKLOADS, dry_run
from algoperf.checking.findings import RuleFinding, has_errors, summary
from algoperf.checking.static import check_sources, framework_of
from algoperf.definition import FRAMEWORKS
from algoperf.errors import UserError
from algoperf.registry import REGISTRY
from algoperf.submissions.loading import locate_submission


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="algoperf check", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("submission", metavar="SUBMISSION", help="a .py file or a dotted module")
    add("--framework", choices=tuple(FRAMEWORKS), help="default: the one that its sources import")
    add("--workloads", default=",".join(WORKLOADS), help=f"of the dry run, comma list (default: {','.join(WORKLOADS)})")
    add("--tuning_search_space", help="of the dry run (default: as in a run; without any, the self-tuning rules)")
    add("--data_dir", type=Path, default=Path("~/data"), help="of prepared data, which a submission may not open")
    add("--static", action="store_true", help="read the sources only")
    add("--strict", action="store_true", help="warnings count as errors")
    add_json_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 for errors (or warnings, with --strict) and 2 for what cannot be checked."""
    return answer_command("check", parser(), arguments, _run)


def _run(options: argparse.Namespace, answer: Answer) -> int:
    try:
        findings = check(
            options.submission,
            framework=options.framework,
            workloads=() if options.static else tuple(options.workloads.split(",")),
            data_dir=options.data_dir,
            tuning_search_space=options.tuning_search_space,
        )
    except UserError as error:
        return answer.fail(str(error), status=2)
    answer.result = {"findings": [finding.as_json() for finding in findings]}
    for finding in findings:
        print(finding)
    print(summary(findings))
    return 1 if has_errors(findings) or (options.strict and findings) else 0


def check(
    submission: str,
    *,
    framework: str | None = None,
    workloads: Sequence[str] = WORKLOADS,
    data_dir: Path = Path("~/data"),
    tuning_search_space: str | None = None,
) -> list[RuleFinding]:
    """All findings about a submission, those about its sources first.

    Args:
      submission: a file or a dotted module.
      framework: None takes the one that the sources import.
      workloads: of the dry run; none leaves it out.
      data_dir: of prepared data.
      tuning_search_space: file whose first point is taken; None looks for one as a run does.

    Raises:
      SubmissionError: there is no such submission.
      UnknownWorkloadError: there is no such workload.
    """
    path = locate_submission(submission)
    for name in workloads:
        REGISTRY.get(name)
    findings = check_sources(path)
    if workloads:
        framework = framework or framework_of(path)
        data_dir = data_dir.expanduser().resolve()
        findings += dry_run(path, framework, tuple(workloads), data_dir, tuning_search_space)
    return findings


if __name__ == "__main__":
    sys.exit(main())
