"""A source file with what its names mean: `np.load` is `numpy.load` after `import numpy as np`."""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from algoperf.submissions.loading import HOOK_ARGUMENTS

Function = ast.FunctionDef | ast.AsyncFunctionDef
ENTRY_POINTS = tuple(HOOK_ARGUMENTS)


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceFile:
    """One parsed file.

    Attributes:
      label: name for people, relative to the submission's folder.
      path: where it is.
      tree: its syntax.
      is_entry: whether it is the submission itself and not a file that it imports.
    """

    label: str
    path: Path
    tree: ast.Module
    is_entry: bool

    @functools.cached_property
    def imports(self) -> dict[str, str]:
        """Full dotted name by the name that an import statement gives it, wherever the statement stands."""
        names: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    names[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        return names

    @functools.cached_property
    def aliases(self) -> dict[str, str]:
        """As `imports`, with names that are assigned an imported one: `spawn = os.fork`."""
        names = dict(self.imports)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                full = _dotted(node.value, names)
                if full is not None and full.partition(".")[0] in {name.partition(".")[0] for name in names.values()}:
                    names.setdefault(node.targets[0].id, full)
        return names

    @functools.cached_property
    def functions(self) -> dict[str, Function]:
        """Functions at the top level of the file, by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, Function)}

    def dotted(self, node: ast.AST) -> str | None:
        """Full name of an expression such as `np.random.default_rng`; None where it is no chain of names.

        A `getattr` with a constant counts as the attribute.
        """
        return _dotted(node, self.aliases)

    def references(self, root: ast.AST | None = None) -> Iterator[tuple[ast.AST, str]]:
        """Every outermost chain of names that begins with an imported one, with its full name; imports themselves too.

        Below `root`, by default the whole file.
        """
        inner: set[int] = set()
        for node in ast.walk(root or self.tree):
            if isinstance(node, ast.Import):
                yield from ((node, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)
            elif id(node) not in inner and self._is_imported(node):
                full = self.dotted(node)
                if full is not None:
                    inner.update(id(below) for below in ast.walk(node) if below is not node)
                    yield node, full

    def attributes(self) -> Iterator[tuple[ast.AST, str]]:
        """Every attribute that is looked up, on whatever object; a `getattr` with a constant counts."""
        for node in ast.walk(self.tree):
            match node:
                case ast.Attribute(attr=name):
                    yield node, name
                case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
                    yield node, name

    def _is_imported(self, node: ast.AST) -> bool:
        """Whether a chain of names begins with what an import statement or a call of import gave."""
        match node:
            case ast.Name(id=name):
                return name in self.aliases
            case ast.Attribute(value=value) | ast.Call(func=ast.Name(id="getattr"), args=[value, *_]):
                return self._is_imported(value)
            case ast.Call() | ast.Subscript():
                return self.dotted(node) is not None
        return False


def parse(path: Path, label: str, *, is_entry: bool) -> SourceFile:
    """Parses a file.

    Raises:
      SyntaxError, ValueError: it is no Python.
      OSError: it cannot be read.
    """
    return SourceFile(label=label, path=path, tree=ast.parse(path.read_bytes(), str(path)), is_entry=is_entry)


def line_of(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 0))


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """What runs when `function` is called: its body without the functions that it only defines."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)


def _dotted(node: ast.AST, names: dict[str, str]) -> str | None:
    match node:
        case ast.Name(id=name):
            return names.get(name, name)
        case ast.Attribute(value=value, attr=attribute):
            head = _dotted(value, names)
            return None if head is None else f"{head}.{attribute}"
        case ast.Call(func=ast.Name(id="getattr"), args=[value, ast.Constant(value=str(attribute)), *_]):
            head = _dotted(value, names)
            return None if head is None else f"{head}.{attribute}"
        case ast.Call(func=ast.Name(id="__import__"), args=[ast.Constant(value=str(name)), *_]):
            return name
        case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]) if (
            _dotted(function, names) == "importlib.import_module"
        ):
            return name
        case ast.Subscript(value=value, slice=ast.Constant(value=str(name))) if _dotted(value, names) == "sys.modules":
            return name
    return None
