"""An isolated run writes its results and nothing else, and has no network."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import toy_runs
from toy_runs import ROOT

from algoperf.runner import driver, isolation
from algoperf.runner.isolation import command
from algoperf.runner.run_config import ConfigError

PROBES = """
import json, os, socket, sys
def can(action, *arguments):
    try:
        action(*arguments)
        return True
    except OSError:
        return False
def write(path):
    open(path, 'w').close()
print(json.dumps({
    'results': can(write, sys.argv[1] + '/a'),
    'temporary': can(write, sys.argv[2] + '/a'),
    'elsewhere': can(write, sys.argv[3] + '/a'),
    'network': can(socket.create_connection, ('127.0.0.1', int(sys.argv[4])), 1),
    'undo': os.system('umount ' + sys.argv[2] + ' 2>/dev/null') == 0,
    'remount': os.system('mount -o remount,bind,rw / 2>/dev/null') == 0,
}))
"""


def is_available() -> bool:
    with tempfile.TemporaryDirectory() as results, tempfile.TemporaryDirectory() as temporary:
        try:
            return subprocess.run(command(["true"], Path(results), temporary), capture_output=True).returncode == 0
        except OSError:
            return False


needs_namespaces = pytest.mark.skipif(not is_available(), reason="user namespaces are not available")


@needs_namespaces
def test_nothing_but_the_results_can_be_written_and_nobody_reached(tmp_path):
    import socket

    folders = [tmp_path / "my results", tmp_path / "temporary", tmp_path / "elsewhere"]
    for folder in folders:
        folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = [sys.executable, "-c", PROBES, *map(str, folders), str(server.getsockname()[1])]
        done = subprocess.run(
            command(words, folders[0], str(folders[1])), capture_output=True, text=True, check=True, timeout=60
        )
    assert json.loads(done.stdout) == {
        "results": True,
        "temporary": True,
        "elsewhere": False,
        "network": False,
        "undo": False,
        "remount": False,
    }
    assert [path.name for path in folders[0].iterdir()] == ["a"]
    assert list(folders[1].iterdir()) == list(folders[2].iterdir()) == []


@needs_namespaces
@pytest.mark.jax
def test_a_run_is_isolated_to_its_end(tmp_path):
    hostile = (
        "import socket\ntry:\n    open('/tmp/algoperf_isolation_test', 'w')\n    raise SystemExit('a file')\n"
        "except OSError:\n    pass\n"
    )
    submission = tmp_path / "submission.py"
    submission.write_text(hostile + toy_runs.SUBMISSIONS["jax"].read_text().replace('== "toy"', '== "mnist"'))
    flags = {
        "workload": "mnist_mini",
        "framework": "jax",
        "tuning_ruleset": "self",
        "submission_path": submission,
        "experiment_dir": tmp_path / "experiments",
        "experiment_name": "test",
        "data_dir": tmp_path / "data",
        "max_global_steps": 2,
    }
    words = [f"--{name}={value}" for name, value in flags.items()]
    done = subprocess.run(
        [sys.executable, str(ROOT / "submission_runner.py"), *words, "--isolated", "--calibration=off"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    trial = tmp_path / "experiments/test/mnist_mini_jax/trial_1"
    assert json.loads((trial / "trial.json").read_text())["outcome"] == "completed"
    assert json.loads((trial / "flags_0.json").read_text())["isolated"] is True


def test_what_cannot_be_isolated_is_refused_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="use the command"):
        driver.run(toy_runs.config(tmp_path, "jax", isolated=True), registry=toy_runs.REGISTRY)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="one process"):
        isolation.isolate(tmp_path)
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setattr(isolation, "_UNSHARE", ("false",))
    with pytest.raises(ConfigError, match="which this machine refuses"):
        isolation.isolate(tmp_path)
