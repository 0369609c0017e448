"""Small boards for the scoring tests."""

import json
import lzma
import tarfile
from pathlib import Path

import pytest

from algoperf.definition import Direction, MetricSpec
from scoring.rules import Rules, TuningRule, WorkloadRule

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


def make_rules(bases: dict[str, str], held_out: dict[str, str] | None = None, studies: int = 3) -> Rules:
    held_out = held_out or {}
    directions = {**bases, **{name: bases[base] for name, base in held_out.items()}}
    workloads = {
        name: WorkloadRule(
            name=name,
            base=held_out.get(name, name),
            metric=MetricSpec(name="accuracy" if direction == "maximize" else "wer", direction=Direction(direction)),
            validation_target=0.8 if direction == "maximize" else 0.2,
            test_target=None,
            max_runtime_s=100.0,
            step_hint=1000,
        )
        for name, direction in directions.items()
    }
    return Rules(
        name="small",
        description="for tests",
        base_workloads=tuple(sorted(bases)),
        held_out=held_out,
        workloads=workloads,
        tuning={
            "external": TuningRule(name="external", studies=studies, trials_per_study=2, budget_factor=1.0),
            "self": TuningRule(name="self", studies=studies, trials_per_study=1, budget_factor=1.5),
        },
    )
