"""The kept mini leaderboards are what scoring makes of their logs."""

import json
import math
import re
from pathlib import Path

import pytest

from scoring.score_submissions import main

BOARDS = sorted((Path(__file__).resolve().parents[2] / "docs/leaderboard").glob("*/report"))
_NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")
# Another processor may round the last digit of a logarithm differently; `make leaderboard-check` compares the bytes.
_TOLERANCE = 1e-9


@pytest.fixture(scope="module", params=BOARDS, ids=lambda report: report.parent.name)
def kept(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="module")
def made(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    rules = json.loads((kept / "results.json").read_text())["rules"]
    tuning = rules["tuning"]
    scored_by = [f"--rules={rules['name']}", f"--tuning_ruleset={tuning['name']}", f"--num_studies={tuning['studies']}"]
    folders = [f"--submission_directory={kept.parent / 'logs'}", f"--output_dir={folder}"]
    assert main([*folders, *scored_by, "--strict"]) == 0
    return folder


def test_the_report_has_the_same_files(kept: Path, made: Path) -> None:
    assert sorted(path.name for path in kept.iterdir()) == sorted(path.name for path in made.iterdir())


def test_tables_are_the_kept_ones(kept: Path, made: Path) -> None:
    tables = [path for path in sorted(kept.iterdir()) if path.suffix in {".csv", ".json", ".md"}]
    assert len(tables) > 10
    for path in tables:
        was, now = path.read_text(), (made / path.name).read_text()
        assert _NUMBER.sub("#", now) == _NUMBER.sub("#", was), path.name
        for old, new in zip(_NUMBER.findall(was), _NUMBER.findall(now), strict=True):
            assert math.isclose(float(old), float(new), rel_tol=_TOLERANCE, abs_tol=_TOLERANCE), (path.name, old, new)
