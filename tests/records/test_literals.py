"""Column names, keys of `trial.json` and names of a trial's files are written in `algoperf.records` alone."""

import ast
import itertools
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from algoperf.definition import Split
from algoperf.records import columns, layout
from algoperf.records.trial import Ledger, TrialRecord

ROOT = Path(__file__).parents[2]
PACKAGES = ("algoperf", "scoring", "workloads", "reference_algorithms", "submissions")
COLUMNS = {value for name, value in vars(columns).items() if name.isupper() and not name.startswith("_")}
FILES = {value for name, value in vars(layout).items() if name.isupper() and str(value).endswith((".json", ".csv"))}
KEYS = {entry.name for kind in (TrialRecord, Ledger) for entry in fields(kind)}
# Keys that only a record has; the others (`seed`, `error`, ...) are ordinary words and count where a record is indexed.
OWN_KEYS = {"best_validation", "time_to_target_s", "submission_time_s", *(entry.name for entry in fields(Ledger))}
FOLDERS = ("study_", "trial_", "flags_", "meta_data_")
METRIC_PREFIXES = tuple(f"{columns.split_name(split)}/" for split in Split)
# Names of other things that are spelled alike: an argument of submissions, entries of a checkpoint, headings, a verb.
SPELLED_ALIKE = {
    ("algoperf/submissions/loading.py", columns.GLOBAL_STEP),
    ("algoperf/comparison/stepping.py", columns.GLOBAL_STEP),
    ("algoperf/harness/hooks.py", columns.GLOBAL_STEP),
    ("algoperf/harness/run_state.py", columns.GLOBAL_STEP),
    ("algoperf/cli/verbs.py", columns.SCORE),
    ("scoring/board_answer.py", columns.SCORE),
    ("scoring/differences.py", columns.SCORE),
    ("scoring/placement.py", columns.SCORE),
    ("scoring/report/__init__.py", "time_to_target_s"),
    ("scoring/score_submissions.py", columns.SCORE),
    ("scoring/scores_only.py", columns.SCORE),
}


def product_files() -> list[Path]:
    found = [ROOT / "submission_runner.py"]
    for package in PACKAGES:
        found += (ROOT / package).rglob("*.py")
    return sorted(file for file in found if ROOT / "algoperf" / "records" not in file.parents)


def stray_literals(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each literal that is a name of the records; docstrings and messages do not count."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(text)):
                if text in COLUMNS | FILES | OWN_KEYS or (text.startswith(METRIC_PREFIXES) and " " not in text):
                    yield node.lineno, text
            case ast.JoinedStr(values=parts):
                if any(_makes_a_name(*pair) for pair in itertools.pairwise([None, *parts, None])):
                    yield node.lineno, ast.unparse(node)
            case ast.Subscript(value=owner, slice=ast.Constant(value=key)) if key in KEYS and _is_record(owner):
                yield node.lineno, ast.unparse(node)
            case ast.Call(func=ast.Attribute(value=owner, attr="get"), args=[ast.Constant(value=key), *_]):
                if key in KEYS and _is_record(owner):
                    yield node.lineno, ast.unparse(node)


def _makes_a_name(part: ast.expr | None, following: ast.expr | None) -> bool:
    """Whether two neighbours in a format string, text and value, make a folder, a file or a column."""
    match part, following:
        case ast.Constant(value=str(text)), ast.FormattedValue():
            return text.endswith((*METRIC_PREFIXES, *FOLDERS))
        case ast.FormattedValue(value=value), ast.Constant(value=str(text)):
            return ast.unparse(value).startswith("Split.") and text.startswith("/")
    return False


def _is_record(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in ("record", "ending", "best", "ledger", "best_validation")


@pytest.mark.parametrize(
    "source",
    [
        'row["score"]',
        '{"accumulated_submission_time": 1.0}',
        'f"validation/{metric.name}"',
        'f"{Split.TEST}/{name}"',
        'row["validation/loss"]',
        'folder / "trial.json"',
        'root / f"study_{s}" / f"{w}_{f}"',
        'trial.record["seed"]',
        'record.get("outcome")',
        'best["time_to_target_s"]',
        'f"flags_{k}.json"',
    ],
)
def test_a_stray_literal_is_found(source):
    assert list(stray_literals(source))


@pytest.mark.parametrize("source", ['"""Reads trial.json."""', 'job["seed"]', "row[columns.SCORE]", 'x["train"]'])
def test_other_literals_are_not(source):
    assert not list(stray_literals(source))


def test_names_of_the_records_are_literals_in_records_alone():
    files = product_files()
    assert len(files) > 100
    stray = [
        f"{place}:{line}: {text}"
        for file in files
        for place in [file.relative_to(ROOT).as_posix()]
        for line, text in stray_literals(file.read_text())
        if (place, text) not in SPELLED_ALIKE
    ]
    assert not stray, "\n".join(stray)
