"""What lies next to the sources of a submission: requirements, stored weights, native code."""

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from algoperf.checking.findings import RuleFinding
from algoperf.checking.source import SourceFile
from algoperf.records.provenance import PACKAGES
from algoperf.rules import Level

_REQUIREMENTS = "*requirements*.txt"
_ARRAYS = frozenset(
    (".npy", ".npz", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".safetensors", ".msgpack", ".h5", ".hdf5", ".bin")
)
_SOURCE = frozenset({".c", ".cc", ".cpp", ".cu", ".cuh"})
_NATIVE = _SOURCE | {".so", ".pyd", ".dll", ".dylib", ".pyc"}
_LARGEST_BYTES = 1_000_000


def folder(entry: SourceFile) -> Iterator[RuleFinding]:
    """Findings about the files in the submission's folder and in the packages below."""
    root = entry.path.parent
    for path in _files(root):
        label, suffix = path.relative_to(root).as_posix(), path.suffix.lower()
        if suffix in _ARRAYS or (suffix in {".json", ".toml", ".txt"} and path.stat().st_size > _LARGEST_BYTES):
            message = f"a file of {path.stat().st_size} bytes that may hold weights"
            advice = "start from the weights that the benchmark draws"
            yield _finding("stored_arrays", message, advice, label, level=Level.WARNING)
        elif suffix in _NATIVE:
            message = "native or compiled code, which no check reads"
            level = Level.WARNING if suffix in _SOURCE else None
            yield _finding("interpreter", message, "hand in Python sources", label, level=level)
    for path in sorted(root.glob(_REQUIREMENTS)):
        yield from _requirements(path)


def _files(folder: Path) -> list[Path]:
    """Files in a folder and in the packages below, links left out."""
    files: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or path.name.startswith("."):
            continue
        if path.is_file():
            files.append(path)
        elif (path / "__init__.py").is_file():
            files += _files(path)
    return files


def _requirements(path: Path) -> Iterator[RuleFinding]:
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text or text.startswith("-"):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            message, advice = f"{text!r} is no requirement", "write it as in PEP 508: package>=1.2"
            yield _finding("requirements", message, advice, path.name, line=number)
            continue
        installed = _pinned_version(requirement.name)
        if installed is not None and not requirement.specifier.contains(installed, prereleases=True):
            message = f"{text} conflicts with {requirement.name} {installed} of the benchmark"
            yield _finding("requirements", message, "work with the benchmark's version", path.name, line=number)


def _pinned_version(name: str) -> str | None:
    """The installed version of a package that the benchmark needs; None where it does not need it."""
    canonical = re.sub(r"[-_.]+", "-", name).lower()
    if canonical not in PACKAGES:
        return None
    try:
        return importlib.metadata.version(canonical)
    except importlib.metadata.PackageNotFoundError:
        return None


def _finding(
    check: str, message: str, advice: str, file: str, *, line: int = 0, level: Level | None = None
) -> RuleFinding:
    return RuleFinding.of(f"static.{check}", message, advice, file=file, line=line, level=level)
