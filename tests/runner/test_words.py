"""Names and texts use the standard terms of the field; CONTRIBUTING.md lists what replaced which word."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = (
    "algoperf",
    "workloads",
    "reference_algorithms",
    "scoring",
    "benchmarks",
    "submissions",
    "submission_runner.py",
)
# Lower case, without underscores at the ends. Words that are also terms of a model (an LSTM's cell, the probe of ViT's
# attention pooling) or of the data (parts of a day) are not in the list.
REFUSED_NAMES = frozenset(
    {
        "soundings",
        "sounding",
        "agreement",
        "jax_probe",
        "torch_probe",
        "probe_batch",
        "time_law",
        "timelaw",
        "duel",
        "duels",
        "first_passage",
        "first_passages",
        "passages",
        "crossings",
        "first_hit",
        "on_target",
        "execute_order",
        "eased",
        "facts",
        "place",
        "places",
        "wanted",
        "found",
        "kept",
    }
)
REFUSED_PHRASES = (
    r"\bmend(s|ed|ing)?\b",
    r"\bgo(es)? on (with|where|uncompiled|from)\b",
    r"\blies? beside\b",
    r"\bwhere (it|they) lies?\b",
    r"\btells? of\b",
    r"\bwhichever is\b",
    r"\bmade again\b",
    r"\btold apart\b",
    r"\bsoundings?\b",
    r"\bduels?\b",
    r"\bfirst passages?\b",
)
_PHRASES = re.compile("|".join(REFUSED_PHRASES), re.IGNORECASE)


def product_files() -> list[Path]:
    paths = [ROOT / name for name in PRODUCT]
    return [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]


def pages() -> list[Path]:
    """Pages that people wrote; reports of runs are left out."""
    docs = [page for page in (ROOT / "docs").rglob("*.md") if not page.is_relative_to(ROOT / "docs" / "leaderboard")]
    return [ROOT / "README.md", *sorted(docs)]


def defined_names(source: str) -> Iterator[tuple[int, str]]:
    """(line, name) of every variable, attribute, argument, function and class that `source` defines."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name


def refused_names(source: str) -> list[tuple[int, str]]:
    return [(line, name) for line, name in defined_names(source) if name.strip("_").lower() in REFUSED_NAMES]


def refused_phrases(text: str) -> list[tuple[int, str]]:
    return [(text.count("\n", 0, match.start()) + 1, match[0]) for match in _PHRASES.finditer(text)]


def test_product_code_defines_no_refused_name():
    assert {str(file): names for file in product_files() if (names := refused_names(file.read_text()))} == {}


def test_code_and_pages_hold_no_refused_phrase():
    files = [*product_files(), *pages()]
    assert len(files) > 300
    assert {str(file): phrases for file in files if (phrases := refused_phrases(file.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "found = 1",
        "self._found = 1",
        "def f(*, wanted): ...",
        "class Duel: ...",
        "for place in x: ...",
        "_KEPT: int = 2",
    ],
)
def test_a_refused_name_is_seen_wherever_it_is_defined(source):
    assert len(refused_names(source)) == 1


def test_every_refused_name_is_in_the_table_of_contributing():
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Words")[2].lower().replace("`", "")
    missing = [name for name in REFUSED_NAMES if not re.search(rf"\b{re.escape(name)}\b", table)]
    assert missing == []
