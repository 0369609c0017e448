"""Fixtures of the scoring tests."""

import json
import lzma
import tarfile
from pathlib import Path

import pytest
from scoring_boards import make_rules

from scoring.rules import Rules
from scoring.simulate import SimulatedSubmission, write_logs

ARCHIVE = Path(__file__).parents[3] / "shared/data/algoperf_v05_self_tuning_logs.tar.xz"


@pytest.fixture(scope="session")
def published_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published v0.5 self-tuning logs, where they are at hand."""
    if not ARCHIVE.exists():
        pytest.skip("the published v0.5 self-tuning logs are not at hand")
    folder = tmp_path_factory.mktemp("published")
    with lzma.open(ARCHIVE) as stream, tarfile.open(fileobj=stream) as archive:
        archive.extractall(folder, filter="data")
    return folder / "algoperf_v05/logs/self_tuning"


@pytest.fixture(scope="session")
def golden_board() -> dict:
    """Log files of a small generated board (`files`: path -> text) and its hand-checked results."""
    return json.loads((Path(__file__).parent / "golden_board.json").read_text())


@pytest.fixture
def small_rules() -> Rules:
    """Two base workloads, one guarded by a held-out variant; three studies; a budget of 100 s."""
    return make_rules({"digits": "maximize", "speech": "minimize"}, held_out={"digits_hard": "digits"})


@pytest.fixture
def written_board(tmp_path: Path, small_rules: Rules) -> Path:
    """A folder with the logs of two submissions under the small rules, self-tuning: `swift` beats `slow` everywhere."""
    folder = tmp_path / "logs"
    field = [
        SimulatedSubmission(name=name, noise=0.1, median_s=dict.fromkeys(small_rules.scored_workloads, median))
        for name, median in (("swift", 30.0), ("slow", 60.0))
    ]
    write_logs(folder, field, small_rules, small_rules.tuning["self"], evaluations=12)
    return folder
