"""The kept mini leaderboard is what scoring makes of the kept logs."""

import json
import math
import re
from pathlib import Path

import pytest

from scoring.score_submissions import main

BOARD = Path(__file__).resolve().parents[2] / "docs/leaderboard/mini"
_NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")
# Another processor may round the last digit of a logarithm differently; `make leaderboard-check` compares the bytes.
_TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    rules = json.loads((BOARD / "report" / "results.json").read_text())["rules"]
    tuning = rules["tuning"]
    scored_by = [f"--rules={rules['name']}", f"--tuning_ruleset={tuning['name']}", f"--num_studies={tuning['studies']}"]
    folders = [f"--submission_directory={BOARD / 'logs'}", f"--output_dir={folder}"]
    assert main([*folders, *scored_by, "--strict"]) == 0
    return folder


def test_the_report_has_the_same_files(made: Path) -> None:
    kept, new = (sorted(path.name for path in folder.iterdir()) for folder in (BOARD / "report", made))
    assert kept == new


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (BOARD / "report").glob("*") if path.suffix in {".csv", ".json", ".md"})
)
def test_tables_are_the_kept_ones(made: Path, name: str) -> None:
    kept, new = ((folder / name).read_text() for folder in (BOARD / "report", made))
    assert _NUMBER.sub("#", new) == _NUMBER.sub("#", kept)
    for was, now in zip(_NUMBER.findall(kept), _NUMBER.findall(new), strict=True):
        assert math.isclose(float(was), float(now), rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
