"""Which source files make up a submission, and whether they changed while a trial was under way.

A submission is the Python files in its folder and in the packages below, and every file that it imports from
elsewhere, directly or through others, a shared training step for example. Not counted are the standard library,
installed packages and the benchmark itself, which is recorded by its commit. Import statements are read, wherever they
stand; a module that is loaded in another way, `importlib.import_module` for example, is not seen.
"""

import ast
import hashlib
import importlib.util
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from algoperf.records import json
from algoperf.records.layout import SUBMISSION_FILE
from algoperf.submissions.imports import open_folder

_BENCHMARK = frozenset({"algoperf", "workloads", "scoring"})
_SHARED = "reference_algorithms"  # counts wherever it is installed
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def source_files(module: ModuleType) -> dict[str, str]:
    """Returns the digests (16 hex digits) of a submission's files, by path.

    Paths are relative to the folder of `module`; those of the package `reference_algorithms` start with its name.
    """
    folder = Path(str(module.__file__)).resolve().parent
    labels = {file: file.relative_to(folder).as_posix() for file in _below(folder)}
    for name, file in _imported(module):
        if file not in labels:
            labels[file] = _label(name, file, folder)
    return {label: file_digest(file) for file, label in sorted(labels.items(), key=lambda entry: entry[1])}


def python_files(path: Path, *, only_imported: bool = False) -> dict[str, Path]:
    """The files of the submission at `path`, by the labels of `source_files`; nothing is imported.

    With `only_imported`, without the files in its folder that it does not import.
    """
    path = path.resolve()
    open_folder(path.parent)
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    below = [] if only_imported else _below(path.parent)
    files = {file.relative_to(path.parent).as_posix(): file for file in below}
    for name, file in _imported(module):
        if file not in files.values():
            files[_label(name, file, path.parent)] = file
    return dict(sorted(files.items()))


def digest(files: Mapping[str, str]) -> str:
    """Hash of what `source_files` returned; the same wherever the files lie."""
    entries = sorted(
        f"{label.rpartition('/')[2] if label.startswith('../') else label}\0{files[label]}" for label in files
    )
    return hashlib.sha256("\n".join(entries).encode()).hexdigest()[:16]


def record_version(trial_dir: Path, files: Mapping[str, str]) -> list[str]:
    """Notes the files of the process that starts or continues a trial; returns those that differ from the last time.

    Where nothing changed, and at the first time, the list is empty.
    """
    versions = _versions(trial_dir)
    previous = versions[-1]["files"] if versions else files
    changed = sorted(label for label in {*previous, *files} if previous.get(label) != files.get(label))
    if changed or not versions:
        versions.append({"digest": digest(files), "files": dict(files)})
        json.write(trial_dir / SUBMISSION_FILE, {"versions": versions})
    return changed


def recorded_digests(trial_dir: Path) -> list[str]:
    """Digests of the versions of the submission that worked on a trial, in order."""
    return [version["digest"] for version in _versions(trial_dir)]


def _versions(trial_dir: Path) -> list[dict[str, Any]]:
    path = trial_dir / SUBMISSION_FILE
    return list(json.read(path)["versions"]) if path.is_file() else []


def _below(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.py"))
    for below in sorted(p for p in folder.iterdir() if (p / "__init__.py").is_file() and not p.is_symlink()):
        files += _below(below)
    return files


def _label(name: str, file: Path, folder: Path) -> str:
    if name.partition(".")[0] == _SHARED:
        return name.replace(".", "/") + ("/__init__.py" if file.name == "__init__.py" else ".py")
    return Path(os.path.relpath(file, folder)).as_posix()


def file_digest(file: Path) -> str:
    """Hash of one file (16 hex digits), `unreadable` where it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    except OSError as error:
        print(f"cannot read {file} for the digest of the submission: {error}", file=sys.stderr)
        return "unreadable"


def _imported(module: ModuleType) -> Iterator[tuple[str, Path]]:
    """Name and file of every module that counts and that `module` imports, itself included."""
    root = Path(str(module.__file__)).resolve()
    waiting, seen = deque([(module.__name__, module.__package__ or "", root)]), {root}
    while waiting:
        name, package, file = waiting.popleft()
        yield name, file
        for imported in _import_names(file, package):
            spec = _find(imported)
            if spec is None or not _counts(imported, spec):
                continue
            source = Path(str(spec.origin)).resolve()
            if source not in seen:
                seen.add(source)
                waiting.append((imported, spec.parent or "", source))


def _import_names(file: Path, package: str) -> Iterator[str]:
    """Names that the import statements of `file` may import, packages before what lies in them."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            try:
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:
                continue
            targets = [f"{base}.{alias.name}" for alias in node.names if alias.name != "*"] or [base]
        else:
            continue
        for target in targets:
            parts = target.split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _counts(name: str, spec: ModuleSpec) -> bool:
    top, file = name.partition(".")[0], Path(spec.origin or "")
    if file.suffix != ".py" or top in _BENCHMARK or top in sys.stdlib_module_names:
        return False
    return top == _SHARED or not (_INSTALLED & set(file.parts) or _is_of_a_distribution(top, file))


def _is_of_a_distribution(top: str, file: Path) -> bool:
    """Whether the top-level module `top` was put beside its metadata, as `pip install --target` does in any folder."""
    package = next((folder for folder in file.parents if folder.name == top), None)
    folder, name = (file.parent, f"{top}.py") if package is None else (package.parent, f"{top}/")
    return any(
        line.startswith(name)
        for record in folder.glob("*.dist-info/RECORD")
        for line in record.read_text(errors="replace").splitlines()
    )


def _find(name: str) -> ModuleSpec | None:
    """Where a module is or would be imported from; imports nothing."""
    spec, path = None, None
    for count in range(1, name.count(".") + 2):
        part = ".".join(name.split(".")[:count])
        module = sys.modules.get(part)
        if module is not None:
            spec, path = getattr(module, "__spec__", None), getattr(module, "__path__", None)
        elif count > 1 and path is None:
            return None
        else:
            spec = _search(part, path)
            path = spec.submodule_search_locations if spec is not None else None
            if spec is None:
                return None
    return spec


def _search(name: str, path: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find_spec(name, path) if find_spec is not None else None
        if spec is not None:
            return spec
    return None
