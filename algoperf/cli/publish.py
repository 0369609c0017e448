"""`algoperf publish`: makes a folder of results that others can check, merge and run again.

It holds cleaned logs, the submissions' sources, the report, checksums and a manifest. With `--to` it says where it
would be sent, and with `--send` it is sent, by the client of Hugging Face or GitHub.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from algoperf.answer import Answer, add_json_option, answer_command
from algoperf.errors import UserError
from algoperf.reporting import report_to_stderr

if TYPE_CHECKING:
    from algoperf.publishing.folder import Publication


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="algoperf publish", description=(__doc__ or "").partition(": ")[2])
    add = parser.add_argument
    add("folder", metavar="DIR", type=Path, help="results, <submission>/study_<s>/...; with --check a published folder")
    add("--output_dir", type=Path, help="the new folder (default: DIR_published)")
    add("--submission", type=Path, metavar="FILE", help="of results of one submission, where its file was moved")
    add("--rules", help="of the report, as for algoperf score")
    add("--tuning_ruleset", help="of the report, as for algoperf score")
    add("--noreport", action="store_true", help="leave the report out, for logs that no rule set knows")
    add("--check", action="store_true", help="compare a published folder with its checksums, publish nothing")
    add("--to", metavar="WHERE", help="hf:OWNER/DATASET, or github:OWNER/REPOSITORY for a pull request")
    add("--send", action="store_true", help="really send it; without this, only say what would be sent")
    add_json_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 where nothing can be published or sent."""
    return answer_command("publish", parser(), arguments, _run)


def _run(options: argparse.Namespace, answer: Answer) -> int:
    from algoperf.publishing import folder, upload
    from scoring.merge import MergeError

    try:
        where = None if options.to is None else upload.Destination.parse(options.to)
        publication = folder.check(options.folder) if options.check else _publish(options)
        files = publication.manifest["files"]
        size = sum(entry["bytes"] for entry in files.values())
        answer.result = {
            "folder": str(publication.folder),
            "files": len(files),
            "bytes": size,
            "submissions": publication.manifest["submissions"],
            "sent_to": None,
        }
        print(f"{publication.folder}: {len(files)} files, {size:,} bytes, as in its manifest")
        if where is not None and options.send:
            answer.result["sent_to"] = upload.send(publication, where, report_to_stderr)
            print(f"sent: {answer.result['sent_to']}")
        elif where is not None:
            print(f"not sent: --send would send it to {where.kind}:{where.name}")
    except (UserError, MergeError) as error:
        return answer.fail(str(error), status=2)
    return 0


def _publish(options: argparse.Namespace) -> "Publication":
    from algoperf.publishing import folder

    output = options.output_dir or options.folder.with_name(f"{options.folder.resolve().name}_published")
    submissions = folder.write_logs(options.folder.resolve(), output, options.submission)
    if not options.noreport:
        _write_report(output, options)
    return folder.seal(output, submissions)


def _write_report(output: Path, options: argparse.Namespace) -> None:
    """Scores the published logs.

    Raises:
      PublishError: no rule set fits them.
    """
    from algoperf.publishing import folder
    from algoperf.publishing.sources import PublishError
    from scoring import score_submissions

    words = [f"--submission_directory={output / folder.LOGS}", f"--output_dir={output / folder.REPORT}"]
    given = {"rules": options.rules, "tuning_ruleset": options.tuning_ruleset}
    words += [f"--{name}={value}" for name, value in given.items() if value is not None]
    with contextlib.redirect_stdout(sys.stderr):
        status = score_submissions.main(words)
    if status:
        raise PublishError("the published logs cannot be scored; choose --rules and --tuning_ruleset, or --noreport")
