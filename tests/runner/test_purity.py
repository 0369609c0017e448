"""One process imports one framework, and nothing imports TensorFlow: real runs with the others made unimportable."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BLOCKER = """
import importlib.machinery
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ImportError(spec.name + " must not be imported here")

    def exec_module(self, module):
        pass


BLOCKED = {blocked!r}
sys.meta_path.insert(0, Blocker())
"""


def run(code: str, blocked: set[str], cwd: Path) -> subprocess.CompletedProcess:
    script = BLOCKER.replace("{blocked!r}", repr(blocked)) + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, timeout=300)


RUN = """
import runpy
sys.path.insert(0, {root!r})
sys.argv = ["submission_runner.py", "--workload=mnist", "--framework={framework}", "--max_global_steps=3",
            "--data_dir=data", "--experiment_name=purity"]
try:
    runpy.run_path({runner!r}, run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
loaded = [name for name in BLOCKED if name in sys.modules]
assert not loaded, loaded
"""


@pytest.mark.parametrize(
    ("framework", "blocked"),
    [
        pytest.param("jax", {"torch", "tensorflow", "scoring"}, marks=pytest.mark.jax),
        pytest.param("pytorch", {"jax", "jaxlib", "flax", "optax", "tensorflow", "scoring"}, marks=pytest.mark.torch),
    ],
)
def test_a_run_needs_its_own_framework_only(framework, blocked, tmp_path):
    code = RUN.format(root=str(ROOT), runner=str(ROOT / "submission_runner.py"), framework=framework)
    done = run(code, blocked, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"experiments/purity/mnist_mini_{framework}/trial_1/trial.json").is_file()


def test_scoring_needs_no_framework_and_no_harness(tmp_path):
    code = f"""
    sys.path.insert(0, {str(ROOT)!r})
    import scoring.score_submissions
    import pkgutil, importlib, scoring
    for module in pkgutil.walk_packages(scoring.__path__, "scoring."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    """
    blocked = {"torch", "jax", "flax", "tensorflow"}
    done = run(code + "\n    assert 'algoperf.harness' not in sys.modules\n", blocked, tmp_path)
    assert done.returncode == 0, done.stderr


def test_reading_every_definition_needs_the_standard_library_only(tmp_path):
    code = f"""
    sys.path.insert(0, {str(ROOT)!r})
    from algoperf.registry import REGISTRY, suites
    import algoperf.spec
    assert len(REGISTRY.names()) > 20
    for suite in suites().values():
        for name in suite.workloads:
            REGISTRY.get(name)
    """
    done = run(code, {"numpy", "torch", "jax", "tensorflow", "absl", "pandas"}, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_missing_framework_says_how_to_install_it(tmp_path):
    code = RUN.format(root=str(ROOT), runner=str(ROOT / "submission_runner.py"), framework="jax")
    done = run(code, {"jax"}, tmp_path)
    assert done.returncode != 0
    assert "pip install 'algoperf[jax]'" in done.stderr
