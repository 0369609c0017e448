"""The import contracts of pyproject.toml: they hold, and each forbidden import breaks its contract and no other."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("algoperf", "workloads", "reference_algorithms", "scoring")
LIBRARY = "The library knows no workload, algorithm or scoring rule by name"
SCORING = "Scoring knows no framework, workload, algorithm or code that makes runs"


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the Python files of the four packages and of pyproject.toml."""
    root = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            copy = root / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    return root


def broken_contracts(tree: Path) -> tuple[int, list[str]]:
    """Exit status of import-linter in `tree`, and the names of the contracts that it reports as broken."""
    code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    environment = os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "200"}
    command = [sys.executable, "-c", code, "--no-logo"]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=120)
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return done.returncode, re.findall(r"^(\S.*?) ?BROKEN", done.stdout, flags=re.MULTILINE)


def test_the_tree_keeps_every_contract(tree):
    assert broken_contracts(tree) == (0, [])


@pytest.mark.parametrize(
    ("file", "forbidden", "contract"),
    [
        ("algoperf/backends/jax.py", "workloads", LIBRARY),
        ("algoperf/testing/fake_backend.py", "jax", "Fakes for tests know no framework"),
        ("reference_algorithms/common/jax_step.py", "torch", "JAX algorithms never import PyTorch"),
        ("reference_algorithms/common/torch_step.py", "jax", "PyTorch algorithms never import JAX"),
        ("reference_algorithms/common/schedules.py", "workloads", "Algorithms know the public types only"),
        ("scoring/merge.py", "workloads", SCORING),
    ],
)
def test_a_forbidden_import_breaks_its_contract_alone(tree, file, forbidden, contract):
    source = tree / file
    clean = source.read_text()
    try:
        source.write_text(f"{clean}\nimport {forbidden}\n")
        assert broken_contracts(tree) == (1, [contract])
    finally:
        source.write_text(clean)
