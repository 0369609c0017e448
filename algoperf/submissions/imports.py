"""Finds the files of a multi-file submission, wherever its folder lies.

Three ways of importing a neighbour exist in the wild, and all work: `import helper`, `from . import helper` and
`from some.parents.helper import x`, the last one relative to any folder above the submission.

Entries of `sys.path` would not do: at its front the folder hides the standard library, at its end installed packages
hide neighbours, and a parent named like an installed package (`reference_algorithms`) is never searched.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

# A file of these names beside a submission never replaces the real module.
_PROTECTED = sys.stdlib_module_names | {"algoperf", "flax", "jax", "numpy", "optax", "torch", "workloads"}


class _SiblingFinder:
    """First on `sys.meta_path`: modules and packages that lie in the submission's folder, imported by plain name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.imported: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or "." in fullname or fullname in _PROTECTED:
            return None
        spec = PathFinder.find_spec(fullname, [str(self.folder)])
        if spec is None or spec.origin is None:  # a plain folder (wandb/, logs/) must not hide an installed package
            return None
        self.imported.add(fullname)
        return spec


class _ParentFinder:
    """Last on `sys.meta_path`: `a.b.helper`, where the submission lies in `.../a/b` or below."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.imported: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, *rest = fullname.split(".")
        if top in _PROTECTED:
            return None
        for ancestor in (self.folder, *self.folder.parents):
            if ancestor.name == top:
                search_path = ancestor.parent.joinpath(*([top, *rest][:-1]))
                spec = PathFinder.find_spec(fullname, [str(search_path)])
                if spec is not None:
                    self.imported.add(fullname)
                    return spec
        return None


def import_file(path: Path) -> ModuleType:
    """Imports the file `path` (absolute) with its folder's neighbours in reach; raises whatever the file raises.

    The module is named as seen from the working directory or from the package that the folder belongs to, so
    that every import style gives the same module; a folder that is neither becomes a package of its own.
    """
    open_folder(path.parent)
    for name in _names(path):
        if _leads_to(name, path):
            return importlib.import_module(name)
    return _import_as_own_package(path)


def add_working_directory() -> None:
    """Puts the working directory at the end of the search path."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def open_folder(folder: Path) -> None:
    """Replaces the finders of another submission by those of this one, and forgets the other's plain-name modules."""
    for finder in [f for f in sys.meta_path if isinstance(f, (_SiblingFinder, _ParentFinder))]:
        if finder.folder == folder:
            return
        sys.meta_path.remove(finder)
        for name in [n for n in sys.modules if n in finder.imported or n.partition(".")[0] in finder.imported]:
            del sys.modules[name]
    importlib.invalidate_caches()
    sys.meta_path.insert(0, _SiblingFinder(folder))
    sys.meta_path.append(_ParentFinder(folder))


def close_folder() -> None:
    """Takes the finders of the present submission away: none of its files is imported any more."""
    for finder in [f for f in sys.meta_path if isinstance(f, (_SiblingFinder, _ParentFinder))]:
        sys.meta_path.remove(finder)


def _names(path: Path) -> list[str]:
    names = []
    if path.is_relative_to(Path.cwd()):
        names.append(path.relative_to(Path.cwd()).with_suffix("").parts)
    root = path.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    if root != path.parent:
        names.append(path.relative_to(root).with_suffix("").parts)
    return [".".join(parts) for parts in names if len(parts) > 1 and all(part.isidentifier() for part in parts)]


def _leads_to(name: str, path: Path) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise  # a package on the way is there, and misses something else
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path.resolve()


def _import_as_own_package(path: Path) -> ModuleType:
    package = f"submission_{hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]}"
    if package not in sys.modules:
        parent = ModuleType(package)
        parent.__path__ = [str(path.parent)]
        sys.modules[package] = parent
    name = f"{package}.{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
