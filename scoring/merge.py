"""Joins result folders into one: studies run on several machines become one board.

python -m scoring.merge --output_dir=OUT DIR [DIR ...] [--renumber_studies] [--public]
"""

import argparse
import filecmp
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from algoperf.records.json import dumps
from algoperf.records.layout import TRIAL_FILE, is_published_file, study_folder, study_number
from algoperf.records.trial import PRIVATE_KEYS
from scoring.log_issues import printable


class MergeError(ValueError):
    """Two folders hold different files in the same place, or a folder cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Copy:
    source: Path
    target: Path


def plan_merge(sources: Sequence[Path], output_dir: Path, *, renumber_studies: bool = False) -> list[Copy]:
    """What has to be copied to join `sources` in `output_dir`; nothing is written.

    Files that are the same in several places are copied once. With `renumber_studies`, the studies of a submission in
    a later folder get the next free numbers. Raises MergeError naming every conflict.
    """
    planned: dict[Path, Path] = {}
    conflicts = []
    next_study: dict[str, int] = {}
    for source in sources:
        if not source.is_dir():
            raise MergeError(f"{source} is no folder")
        if output_dir.resolve().is_relative_to(source.resolve()):
            raise MergeError(f"the output folder {output_dir} lies inside the source {source}")
        offsets = dict(next_study) if renumber_studies else {}
        for path in sorted(p for p in source.rglob("*") if p.is_file() and not p.is_symlink()):
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
    return [Copy(source=source, target=target) for target, source in sorted(planned.items())]


def public_copies(copies: Sequence[Copy]) -> list[Copy]:
    """Those copies that a published board needs: evaluations, hyperparameters, meta data and how trials ended."""
    return [copy for copy in copies if is_published_file(copy.target.name)]


def public_record(text: str) -> str:
    """The text of a `trial.json` without what names folders of the machine: paths, command line, traceback."""

    def redacted(value: object) -> object:
        if isinstance(value, dict):
            return {name: redacted(part) for name, part in value.items() if name not in PRIVATE_KEYS}
        return value

    return dumps(redacted(json.loads(text)), indent=1)


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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scoring.merge", description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+", type=Path, help="result folders, each <submission>/study_<s>/...")
    parser.add_argument("--output_dir", required=True, type=Path)
    parser.add_argument("--renumber_studies", action="store_true", help="give studies of later folders free numbers")
    parser.add_argument(
        "--public",
        action="store_true",
        help="only what scoring and readers need: no checkpoints, flags, commands, tracebacks or paths of the machine",
    )
    args = parser.parse_args(argv)
    try:
        copies = plan_merge(args.sources, args.output_dir, renumber_studies=args.renumber_studies)
    except MergeError as error:
        print("\n".join(f"error: {printable(line)}" for line in str(error).splitlines()), file=sys.stderr)
        return 2
    if args.public:
        copies = public_copies(copies)
    for copy in copies:
        copy.target.parent.mkdir(parents=True, exist_ok=True)
        if args.public and copy.target.name == TRIAL_FILE:
            copy.target.write_text(public_record(copy.source.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            shutil.copyfile(copy.source, copy.target)
    print(f"merged {len(args.sources)} folders: {len(copies)} files in {printable(str(args.output_dir))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
