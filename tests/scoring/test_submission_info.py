"""`submission_info.yml`: who submitted what, on the board and in the data; what is wrong with it is an issue."""

import json
from pathlib import Path

import pytest

from scoring import merge, simulate
from scoring.log_issues import Severity
from scoring.logs import read_logs
from scoring.score_submissions import main
from scoring.simulate import simulated_field, write_logs
from scoring.submission_info import SubmissionInfo, read_info, read_infos

GOOD = """
submission_name: Swift
authors: Ada Lovelace, Charles Babbage
affiliations: [Analytical Society]
version: 1.0
ruleset: self-tuning
framework: jax
description: |
  Adds by engine,
  not by hand.
license: Apache-2.0
links: [https://example.org/paper, "javascript:alert(1)"]
"""


@pytest.fixture
def logs(tmp_path: Path, small_rules) -> Path:
    folder = tmp_path / "logs"
    tuning = small_rules.tuning["self"]
    write_logs(folder, simulated_field(small_rules, tuning, 2, seed=0), small_rules, tuning)
    return folder


def problems(tmp_path: Path, text: str | bytes) -> list[str]:
    path = tmp_path / "submission_info.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = read_info(path)[1]
    assert {severity for severity, _ in found} <= {Severity.NOTE}
    return [message for _, message in found]


def test_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "submission_info.yml"
    path.write_text(GOOD)
    info, found = read_info(path)
    assert info == SubmissionInfo(
        submission_name="Swift",
        authors=("Ada Lovelace", "Charles Babbage"),
        affiliations=("Analytical Society",),
        version="1.0",
        ruleset="self",
        framework="jax",
        description="Adds by engine, not by hand.",
        license="Apache-2.0",
        links=("https://example.org/paper",),
    )
    assert [message for _, message in found] == [
        "expected an address with https:// in links, got 'javascript:alert(1)'"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("license:", "pages:"), "unknown keys pages; known are"),
        (GOOD.replace("license:", "pages:"), "nothing about license"),
        (GOOD.replace("jax", "caffe"), "expected jax or pytorch as framework, got 'caffe'"),
        (GOOD.replace("license: Apache-2.0", "license: {a: 1}"), "expected text as license"),
        ("- a\n- list", "expected a mapping of keys to values"),
        ("a: b: c", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        ("[" * 5000, "cannot be read"),
        ("a: " + "b" * 70_000, "not read: larger than 65536 bytes"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
    ],
)
def test_what_is_wrong_is_a_note(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert any(message in found for found in problems(tmp_path, text))


def test_other_spellings_of_keys_are_understood(tmp_path: Path) -> None:
    text = GOOD.replace("license", "licence").replace("affiliations", "affiliation")
    assert problems(tmp_path, text) == problems(tmp_path, GOOD)


def test_without_any_file_nothing_is_said(logs: Path, small_rules) -> None:
    assert read_infos(read_logs(logs, small_rules.workloads), "self") == ({}, [])


def test_the_file_is_found_in_the_results_or_in_a_folder_of_submissions(logs: Path, small_rules, tmp_path) -> None:
    (logs / "simulated_00/submission_info.yml").write_text(GOOD)
    elsewhere = tmp_path / "submissions"
    (elsewhere / "simulated_01").mkdir(parents=True)
    (elsewhere / "simulated_01/submission_info.yml").write_text(GOOD.replace("Swift", "Slow"))
    tree = read_logs(logs, small_rules.workloads)
    assert not tree.findings
    infos, issues = read_infos(tree, "self")
    assert set(infos) == {"simulated_00"}
    assert [(i.path, i.severity) for i in issues if "there is no" in i.message] == [("simulated_01", Severity.NOTE)]
    infos, _ = read_infos(tree, "self", elsewhere)
    assert [infos[name].submission_name for name in tree.submissions] == ["Swift", "Slow"]


def test_a_file_that_contradicts_the_runs_is_a_warning(logs: Path, small_rules) -> None:
    wrong = GOOD.replace("self-tuning", "external").replace("jax", "pytorch")
    (logs / "simulated_00/submission_info.yml").write_text(wrong)
    _, issues = read_infos(read_logs(logs, small_rules.workloads), "self")
    warnings = [issue.message for issue in issues if issue.severity is Severity.WARNING]
    assert warnings == [
        "submission_info.yml: says ruleset external, and is scored under self",
        "submission_info.yml: says framework pytorch, and ran in jax",
    ]


def test_authors_and_links_are_on_the_board_and_in_the_data(tmp_path: Path) -> None:
    logs, results = tmp_path / "logs", tmp_path / "results"
    simulate.main([f"--output_dir={logs}", "--rules=mini_qualification", "--submissions=2"])
    (logs / "simulated_00/submission_info.yml").write_text(GOOD.replace("Ada", "<b>Ada|"))
    quick = ["--bootstrap_replicates=20", "--no-compute_performance_profiles", "--no-report"]
    assert main([f"--submission_directory={logs}", f"--output_dir={results}", *quick]) == 0
    board = (results / "leaderboard.md").read_text()
    assert "| simulated\\_00 | &lt;b&gt;Ada\\| Lovelace, Charles Babbage | Analytical Society | Apache-2.0 |" in board
    assert "Adds by engine, not by hand. <https://example.org/paper> |" in board
    data = json.loads((results / "results.json").read_text())["submission_info"]
    assert data["simulated_00"]["authors"] == ["<b>Ada| Lovelace", "Charles Babbage"]
    assert set(data) == {"simulated_00"}


def test_a_public_merge_keeps_the_file(logs: Path, tmp_path: Path) -> None:
    (logs / "simulated_00/submission_info.yml").write_text(GOOD)
    assert merge.main(["--public", f"--output_dir={tmp_path / 'public'}", str(logs)]) == 0
    assert (tmp_path / "public/simulated_00/submission_info.yml").read_text() == GOOD
