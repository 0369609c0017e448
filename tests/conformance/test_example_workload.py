"""docs/examples/regression_workload, from an installed package to a conforming workload and trained runs."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = [pytest.mark.jax, pytest.mark.torch]
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
PACKAGE = EXAMPLES / "regression_workload"
NAME = "waves_mini"


@pytest.fixture
def run(tmp_path: Path):
    """Runs Python with the example installed: its folder on the path, and the metadata that pip would write."""
    project = tomllib.loads((EXAMPLES / "pyproject.toml").read_text())["project"]
    metadata = tmp_path / f"site/{project['name']}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    header = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(header)
    lines = [f"{key} = {value}" for key, value in project["entry-points"]["algoperf.workloads"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[algoperf.workloads]", *lines]) + "\n")
    path = os.pathsep.join(map(str, (tmp_path / "site", EXAMPLES, ROOT)))
    environment = {**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def in_process(*command: str) -> str:
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    return in_process


def test_it_is_short() -> None:
    assert sum(len(file.read_text().splitlines()) for file in PACKAGE.glob("*.py")) <= 160


def test_it_passes_the_conformance_suite(run) -> None:
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "algoperf.testing.conformance", "-k", NAME]
    printed = run(*command)
    assert " passed" in printed
    assert "skipped" not in printed


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_the_default_submission_reaches_its_target(run, tmp_path: Path, framework: str) -> None:
    run(str(ROOT / "submission_runner.py"), f"--workload={NAME}", f"--framework={framework}", "--experiment_name=test")
    record = tmp_path / f"experiments/test/{NAME}_{framework}/trial_1/trial.json"
    assert json.loads(record.read_text())["outcome"] == "reached"
