"""`algoperf clean`: removes what finished trials no longer need.

That is the checkpoints of trials that have ended for good, profiler traces with `--traces`, and what an interrupted
write left. Logs and records stay, and so does every trial that can be resumed. Without `--delete` it only says what.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from algoperf.answer import Answer, add_json_option, answer_command
from algoperf.data.disk_space import format_bytes, written_bytes
from algoperf.errors import UserError
from algoperf.ownership import remove_folder
from algoperf.records.layout import COMPILATION, TRACES, is_checkpoint_folder, is_run_file, trial_number
from algoperf.records.trial import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Removable:
    """A folder of a finished trial that nothing reads any more, and its size on the disk."""

    path: Path
    size_bytes: int


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="algoperf clean", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("folder", type=Path, metavar="DIR", help="searched for trials")
    parser.add_argument("--traces", action="store_true", help="profiler traces too")
    parser.add_argument("--delete", action="store_true", help="remove it; without this, only list it")
    add_json_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    return answer_command("clean", parser(), arguments, _run)


def _run(options: argparse.Namespace, answer: Answer) -> int:
    if not options.folder.is_dir():
        return answer.fail(f"{options.folder} is no folder; name one that holds results", status=2)
    folders = list(removable(options.folder, traces=options.traces))
    try:
        for folder in folders:
            print(f"{format_bytes(folder.size_bytes):>10}  {folder.path}")
            if options.delete:
                _remove(folder.path)
    except (UserError, OSError) as error:
        return answer.fail(str(error), status=2)
    total = sum(folder.size_bytes for folder in folders)
    answer.result = {
        "is_deleted": options.delete,
        "bytes": total,
        "folders": [{"path": str(folder.path), "bytes": folder.size_bytes} for folder in folders],
    }
    print(f"{format_bytes(total):>10}  in all, {'removed' if options.delete else 'not removed: --delete does it'}")
    return 0


def removable(root: Path, *, traces: bool = False) -> Iterator[Removable]:
    """What can be removed of the finished trials below `root`, in order of their paths."""
    unneeded = (COMPILATION, TRACES) if traces else (COMPILATION,)
    for trial in sorted(path for path in root.rglob("*") if trial_number(path.name) is not None and path.is_dir()):
        record = TrialRecord.read(trial)
        if record is None or not record.outcome.is_final:
            continue
        for path in sorted(trial.iterdir()):
            is_unneeded = path.name in unneeded or is_checkpoint_folder(path.name)
            if is_unneeded and path.is_dir() and not path.is_symlink():
                yield Removable(path=path, size_bytes=written_bytes([path]))


def _remove(folder: Path) -> None:
    remove_folder(folder, lambda name: is_run_file(f"{folder.name}/{name}"))
