"""An installed package has everything that a checkout has below the packages."""

import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import PurePosixPath

import pytest
from toy_runs import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]


def tracked_files():
    try:
        listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a working copy")
    return [PurePosixPath(line) for line in listed.splitlines()]


def test_every_data_file_of_a_package_is_in_the_wheel():
    packages, globs = SETUPTOOLS["packages"]["find"], SETUPTOOLS["package-data"]["*"]
    assert packages.get("namespaces", True), "folders of search spaces are no regular packages"
    data = [
        path
        for path in tracked_files()
        if path.suffix != ".py" and any(fnmatch(path.parts[0], name) for name in packages["include"])
    ]
    assert len(data) > 40
    assert {path.suffix for path in data} >= {".json", ".toml", ".html"}
    assert [str(path) for path in data if not any(fnmatch(path.name, glob) for glob in globs)] == []


def test_the_runner_is_in_the_wheel():
    assert SETUPTOOLS["py-modules"] == ["submission_runner"]
    assert (ROOT / "submission_runner.py").is_file()
