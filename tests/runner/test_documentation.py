"""The command blocks of README and docs work as they are written there, page by page, from top to bottom."""

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from toy_runs import ROOT

from scoring.rules import load_rules

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
GENERATED = "report"
FENCE = re.compile(
    r"(?:^<!-- (?P<marker>first|not run): (?P<note>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.M | re.S,
)
LANGUAGES = {"bash", "python", "json", "toml", "text", "yaml"}
LONGEST_LINE = 140


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block. `first` sets up what a reader is assumed to have; `not_run` is the reason why no test runs it."""

    language: str
    text: str
    first: str
    not_run: str


def blocks(page: Path) -> list[Block]:
    found = []
    for match in FENCE.finditer(page.read_text()):
        notes = {match["marker"]: match["note"]}
        found.append(
            Block(
                language=match["language"],
                text=match["text"],
                first=notes.get("first", ""),
                not_run=notes.get("not run", ""),
            )
        )
    return found


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


RUN_PAGES = [page for page in PAGES if any(b.language == "bash" and not b.not_run for b in blocks(page))]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a fresh checkout: nothing is in it but links to what git tracks."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("algoperf", "docs", "reference_algorithms", "scoring", "submissions", "workloads"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "submission_runner.py").symlink_to(ROOT / "submission_runner.py")
    return folder


def script(page: Path) -> str:
    """The page's commands as one script; a Python block with a file name in its first line is written to that file."""
    commands = {"python": "", "algoperf": "-m algoperf", "torchrun": "-m torch.distributed.run"}
    parts = [f'{name}() {{ "$PYTHON" {words} "$@"; }}' for name, words in commands.items()]
    for block in blocks(page):
        file = re.match(r"# ([\w/]+\.py)\n", block.text)
        if block.language == "python" and file:
            parts.append(f"cat > {file[1]} <<'END'\n{block.text}END\npython {file[1]}")
        if block.language == "bash" and not block.not_run:
            parts += [block.first, block.text]
    return "\n".join(parts)


@pytest.mark.jax
@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_PAGES, ids=named)
def test_commands_run_as_written(page: Path, checkout: Path) -> None:
    environment = {"PYTHON": sys.executable, "HOME": str(checkout / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-euxc", script(page)],
        cwd=checkout,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_says_what_it_is_and_is_valid(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    assert len(blocks(page)) * 2 == len(re.findall(r"^ *```", text, re.M)), "a block that no test sees"
    for block in blocks(page):
        assert block.language in LANGUAGES, f"say what this is, one of {sorted(LANGUAGES)}: {block.text[:80]}"
        if block.language == "python":
            compile(block.text, page.name, "exec")
        if block.language == "json":
            json.loads(block.text)
        if block.language == "toml" and "base_workloads" in tomllib.loads(block.text):
            (tmp_path / "rules.toml").write_text(block.text)
            load_rules(str(tmp_path / "rules.toml"))


def test_the_pages_that_a_newcomer_reads_are_run() -> None:
    assert {named(page) for page in RUN_PAGES} >= {"README.md", "docs/scoring.md", "docs/submission_guide.md"}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_linked_file_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=named)
def test_lines_are_short(page: Path) -> None:
    if GENERATED in page.relative_to(ROOT).parts:
        pytest.skip("written by the scorer and kept unchanged")
    long = [line for line in page.read_text().splitlines() if len(line) > LONGEST_LINE and not line.startswith("|")]
    assert long == []
