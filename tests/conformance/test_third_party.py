"""A workload of another package gets the same suite, found through its entry point."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from algoperf.testing import toy_workload

pytestmark = [pytest.mark.jax, pytest.mark.torch]


def install(site: Path, change: tuple[str, str] | None = None) -> None:
    """Puts the package `acme_regression`, a renamed toy workload, with its metadata into the folder `site`."""
    package = site / "acme_regression"
    shutil.copytree(Path(toy_workload.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (package / "definition.py").read_text()
    text = text.replace('"toy_mini"', '"acme_mini"').replace('"toy"', '"acme"')
    if change is not None:
        assert change[0] in text
        text = text.replace(*change)
    (package / "definition.py").write_text(text)
    metadata = site / "acme_regression-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme_regression\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[algoperf.workloads]\nacme = acme_regression\n")


def run_suite(site: Path, cases: str = "acme") -> subprocess.CompletedProcess:
    project = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(project)))}
    options = ["-q", "--strict-markers", "-p", "no:cacheprovider", "-k", cases]
    command = ["-m", "pytest", *options, "--pyargs", "algoperf.testing.conformance"]
    return subprocess.run([sys.executable, *command], cwd=site, env=environment, capture_output=True, text=True)


def test_plugin_passes_the_suite(tmp_path):
    install(tmp_path)
    done = run_suite(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_fault_of_a_plugin_is_found(tmp_path):
    install(tmp_path, ("parameter_count=4", "parameter_count=7"))
    done = run_suite(tmp_path, "acme and parameter_count")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "4 parameters in 2 tensors, declared 7" in done.stdout
