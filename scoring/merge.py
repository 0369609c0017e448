"""Joins result folders into one: studies run on several machines become one board.

algoperf merge --output_dir=OUT DIR [DIR ...] [--renumber_studies] [--public]
"""

import argparse
import filecmp
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from algoperf.answer import Answer, add_json_option, answer_command
from algoperf.records.files import RecordError
from algoperf.records.json import dumps, read
from algoperf.records.layout import TRIAL_FILE, is_published_file, study_folder, study_number
from algoperf.records.trial import PRIVATE_KEYS
from scoring.log_issues import LogIssue, Severity, printable
from scoring.logs import INFO_FILES


class MergeError(ValueError):
    """Two folders hold different files in the same place, or a folder cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Copy:
    source: Path
    target: Path


def plan_merge(
    sources: Sequence[Path], output_dir: Path, *, renumber_studies: bool = False
) -> tuple[list[Copy], list[LogIssue]]:
    """What has to be copied to join `sources` in `output_dir`, and what is left out; nothing is written.

    Links to folders are followed; links to files, pipes, devices and folders that cannot be read are left out. Files
    that are the same in several places are copied once. With `renumber_studies`, the studies of a submission in a later
    folder get the next free numbers.

    Raises:
      MergeError: names every conflict.
    """
    planned: dict[Path, Path] = {}
    conflicts = []
    left_out: list[LogIssue] = []
    next_study: dict[str, int] = {}
    for source in sources:
        if not source.is_dir():
            raise MergeError(f"{source} is no folder")
        if output_dir.resolve().is_relative_to(source.resolve()):
            raise MergeError(f"the output folder {output_dir} lies inside the source {source}")
        offsets = dict(next_study) if renumber_studies else {}
        for path in sorted(_files(source, left_out)):
            target = output_dir / _renumbered(path.relative_to(source), offsets, next_study)
            earlier = planned.get(target, target if target.exists() else None)
            if earlier is None:
                planned[target] = path
            elif not filecmp.cmp(earlier, path, shallow=False):
                conflicts.append(f"{path} and {earlier} differ, and both belong at {target}")
    if conflicts:
        shown = "\n".join(conflicts[:10])
        raise MergeError(
            f"{len(conflicts)} conflicts, nothing written (separate studies? --renumber_studies keeps both):\n{shown}"
        )
    return [Copy(source=source, target=target) for target, source in sorted(planned.items())], left_out


def _files(source: Path, left_out: list[LogIssue]) -> Iterator[Path]:
    """Regular files below `source`, those in linked folders too; anything else is added to `left_out`."""

    def report(path: Path | str, message: str) -> None:
        where = os.path.relpath(path, source)
        left_out.append(LogIssue(path=where, code="not_merged", severity=Severity.WARNING, message=message))

    def unreadable(error: OSError) -> None:
        report(error.filename, f"the folder cannot be read ({error.strerror}); left out")

    real = {str(source): os.path.realpath(source)}
    for folder, folders, files in os.walk(source, onerror=unreadable, followlinks=True):
        for name in sorted(folders):
            path = os.path.join(folder, name)
            real[path] = os.path.realpath(path)
            if real[folder] == real[path] or real[folder].startswith(real[path] + os.sep):
                folders.remove(name)
                report(path, "a link to a folder that it lies in; left out")
        for name in files:
            file = Path(folder, name)
            if file.is_symlink():
                report(file, "a link to a file; left out, copy the file to keep it")
            elif stat.S_ISREG(file.lstat().st_mode):
                yield file
            else:
                report(file, "not a regular file; left out")


def public_copies(copies: Sequence[Copy]) -> list[Copy]:
    """Copies that a published board needs: evaluations, hyperparameters, meta data, how trials ended, who submitted."""
    return [copy for copy in copies if is_published_file(copy.target.name) or copy.target.name in INFO_FILES]


def public_record(path: Path) -> str:
    """The text of a `trial.json` without what names folders of the machine: paths, command line, traceback.

    Raises MergeError when the file holds no record.
    """

    def redacted(value: object) -> object:
        if isinstance(value, dict):
            return {name: redacted(part) for name, part in value.items() if name not in PRIVATE_KEYS}
        return value

    try:
        return dumps(redacted(read(path)), indent=1)
    except RecordError as error:
        raise MergeError(str(error)) from error


def _renumbered(relative: Path, offsets: dict[str, int], next_study: dict[str, int]) -> Path:
    """The place with its study moved up by the submission's offset; `next_study` learns the first free number."""
    for depth, part in enumerate(relative.parts):
        number = study_number(part)
        if number is not None:
            submission = "/".join(relative.parts[:depth])
            study = number + offsets.get(submission, 0)
            next_study[submission] = max(next_study.get(submission, 0), study + 1)
            return Path(*relative.parts[:depth], study_folder(study), *relative.parts[depth + 1 :])
    return relative


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="algoperf merge", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sources", nargs="+", type=Path, help="result folders, each <submission>/study_<s>/...")
    parser.add_argument("--output_dir", required=True, type=Path)
    parser.add_argument("--renumber_studies", action="store_true", help="give studies of later folders free numbers")
    parser.add_argument(
        "--public",
        action="store_true",
        help="only what scoring and readers need: no checkpoints, flags, commands, tracebacks or paths of the machine",
    )
    add_json_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 2 where nothing can be merged, 3 where the output cannot be written."""
    return answer_command("merge", parser(), argv, _run)


def _run(options: argparse.Namespace, answer: Answer) -> int:
    try:
        copies, left_out = plan_merge(options.sources, options.output_dir, renumber_studies=options.renumber_studies)
        for issue in left_out:
            print(issue, file=sys.stderr)
        count = copy_files(copies, is_public=options.public)
    except (MergeError, OSError) as error:
        message = "\n".join(printable(line) for line in str(error).splitlines())
        return answer.fail(message, status=2 if isinstance(error, MergeError) else 3)
    answer.result = {
        "output_dir": str(options.output_dir),
        "files": count,
        "left_out": [{"path": printable(issue.path), "message": printable(issue.message)} for issue in left_out],
    }
    print(f"merged {len(options.sources)} folders: {count} files in {printable(str(options.output_dir))}")
    return 0


def copy_files(copies: Sequence[Copy], *, is_public: bool) -> int:
    """Copies the files, or those of a published board alone and cleaned; returns how many.

    Raises:
      MergeError: a `trial.json` that is to be cleaned holds no record.
      OSError: the output cannot be written.
    """
    if is_public:
        copies = public_copies(copies)
    for copy in copies:
        copy.target.parent.mkdir(parents=True, exist_ok=True)
        if is_public and copy.target.name == TRIAL_FILE:
            copy.target.write_text(public_record(copy.source), encoding="utf-8")
        else:
            shutil.copyfile(copy.source, copy.target)
    return len(copies)


if __name__ == "__main__":
    sys.exit(main())
