"""An installed package has everything that a checkout has below the packages."""

import os
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from toy_runs import ROOT

import algoperf

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


def test_every_dependency_has_a_tested_version_within_its_range():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    extras = PYPROJECT["project"]["optional-dependencies"]
    not_tested = {"mlflow", "wandb"}
    listed = PYPROJECT["project"]["dependencies"] + [r for name in set(extras) - not_tested for r in extras[name]]
    requirements = [r for r in map(Requirement, listed) if r.name != "algoperf"]
    assert len(requirements) > 20
    misfits = [str(r) for r in requirements if not r.specifier.contains(pins.get(canonicalize_name(r.name), "0"))]
    assert misfits == []


def test_make_and_the_image_install_the_tested_versions():
    assert "pip install --quiet -c constraints.txt" in (ROOT / "Makefile").read_text()
    assert "--constraint constraints.txt" in (ROOT / "docker/install.sh").read_text()


def test_the_version_has_one_home():
    assert re.fullmatch(r"\d+\.\d+\.\d+", algoperf.__version__)
    assert "version" in PYPROJECT["project"]["dynamic"]
    assert SETUPTOOLS["dynamic"]["version"] == {"attr": "algoperf.__version__"}


def test_the_licence_goes_with_the_package():
    assert PYPROJECT["project"]["license-files"] == ["LICENSE"]
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()


def dockerfile_arguments():
    return dict(re.findall(r"^ARG (\w+)=(\S+)$", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE))


def installed_in_the_image(tmp_path, **arguments):
    """What docker/install.sh passes to pip."""
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    pip.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **dockerfile_arguments(), **arguments}
    script = ["sh", str(ROOT / "docker/install.sh")]
    return subprocess.run(script, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ["--editable", ".[all]", "--extra-index-url", "https://download.pytorch.org/whl/cpu"]),
        ({"EXTRAS": "jax,data"}, ["--editable", ".[jax,data]"]),
        ({"ACCELERATOR": "cuda"}, ["--editable", ".[all]", "jax[cuda13]"]),
        ({"ACCELERATOR": "cuda", "EXTRAS": "torch,data"}, ["--editable", ".[torch,data]"]),
        ({"ACCELERATOR": "cuda", "EXTRAS": "data,jax", "JAX_CUDA": "cuda12"}, [".[data,jax]", "jax[cuda12]"]),
    ],
)
def test_the_image_installs_what_its_arguments_say(tmp_path, arguments, expected):
    done = installed_in_the_image(tmp_path, **arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-len(expected) :] == expected


def test_the_image_refuses_an_unknown_accelerator(tmp_path):
    done = installed_in_the_image(tmp_path, ACCELERATOR="gpu")
    assert done.returncode == 1
    assert "must be cpu or cuda, got 'gpu'" in done.stderr


def test_the_image_names_what_exists():
    text, arguments = (ROOT / "docker/Dockerfile").read_text(), dockerfile_arguments()
    assert set(arguments["EXTRAS"].split(",")) <= set(PYPROJECT["project"]["optional-dependencies"])
    assert re.search(r"^FROM \$BASE$", text, re.MULTILINE)
    assert arguments["BASE"].startswith("python:3.11."), "the version that is tested"
    assert sorted(named_files(text)) == ["docker/install.sh", "submission_runner.py"]
    assert all((ROOT / path).is_file() for path in named_files(text))


def named_files(text):
    return set(re.findall(r"(?:sh |/opt/algoperf/)([\w/]+\.(?:py|sh))", text))


def section(text, name):
    """Lines of a section of a definition file of Apptainer."""
    [body] = re.findall(rf"^%{name}\n((?: .*\n|\n)*)", text, re.MULTILINE)
    return [line.strip() for line in body.splitlines() if line.strip()]


def test_the_apptainer_image_is_the_same():
    text, dockerfile = (ROOT / "docker/apptainer.def").read_text(), (ROOT / "docker/Dockerfile").read_text()
    arguments = dict(line.split("=") for line in section(text, "arguments"))
    assert arguments == {"BOOTSTRAP": "docker", **dockerfile_arguments()}
    copied = {line.split()[0] for line in section(text, "files")}
    packages = {name.removesuffix("*") for name in SETUPTOOLS["packages"]["find"]["include"]}
    assert copied >= packages | {"docker", "pyproject.toml", "constraints.txt", "submission_runner.py", ".git"}
    assert all((ROOT / name).exists() for name in copied - {".git"})
    assert named_files(text) == named_files(dockerfile)
    for command in ("apt-get install --yes --no-install-recommends git g++", "sh docker/install.sh", "compileall -q"):
        assert command in text
        assert command in dockerfile


def test_the_runner_is_in_the_wheel():
    assert SETUPTOOLS["py-modules"] == ["submission_runner"]
    assert (ROOT / "submission_runner.py").is_file()
