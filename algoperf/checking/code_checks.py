"""What code of a submission does to objects that are not its own, and what it has written into itself."""

import ast
import re
from collections.abc import Iterator

from algoperf.checking.findings import RuleFinding
from algoperf.checking.source import Function, SourceFile, line_of
from algoperf.definition import Split
from algoperf.records.columns import metric_column
from algoperf.rules import Level

_COMMANDS = ("algoperf.check", "algoperf.compar", "algoperf.step_cost", "algoperf.target_setting", "algoperf.verif")
_SETTINGS = ("torch.backends.", "torch._dynamo.", "torch._inductor.", "jax.config.")
_OWNED = frozenset({"workload", "spec", "input_queue", "train_state", "eval_results"})
_BUILTINS = {
    "exec": "interpreter",
    "eval": "interpreter",
    "compile": "interpreter",
    "globals": "interpreter",
    "__import__": "interpreter",
    "breakpoint": "interpreter",
}
_WRITING = re.compile(r"[wax+]")
_DATA_PATH = re.compile(
    r"(^|[\s\"'])(~|/\w[\w.-]*)/\S*data|/data(sets?)?/|^/data\b|^~/data\b|"
    r"\.(npy|npz|tfrecords?|array_record|h5|hdf5|parquet|safetensors|pt|pth|ckpt|msgpack|pkl)$"
)
_TEST_METRIC = metric_column(Split.TEST, "")
_LONGEST_TEXT = 4_000  # characters of a string that is no docstring
_MOST_NUMBERS = 500  # in one literal collection


def patching(source: SourceFile) -> Iterator[RuleFinding]:
    """Assignments to attributes of imported modules and classes, of the workload and of what the harness passes."""
    for node, target in _assigned_attributes(source):
        root, full = _root(target), source.dotted(target) or ""
        what = ast.unparse(target)
        if root in _OWNED and root not in source.functions:
            yield _patch(source, node, f"it changes {what}")
        elif root in source.imports:
            if full.startswith(_SETTINGS):
                message = f"it sets {what}"
                advice = "settings of the framework are those of the edition; say in the description why it is needed"
                yield _finding(source, "environment", node, message, advice)
            elif full == "os.environ" or full.startswith("os.environ."):
                continue
            else:
                yield _patch(source, node, f"it changes {what}")
        elif isinstance(target, ast.Attribute) and target.attr in {"__class__", "__code__", "__dict__"}:
            yield _patch(source, node, f"it changes {what}")
    for node, name in source.references():
        if name.startswith("unittest.mock"):
            yield _patch(source, node, "it uses unittest.mock")


def internals(source: SourceFile) -> Iterator[RuleFinding]:
    """Private attributes of what the harness passes, and modules of the benchmark that are not for submissions."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and _root(node) in _OWNED:
            yield _finding(
                source, "internals", node, f"it reads {ast.unparse(node)}", "use what the submission guide names"
            )
    for node, name in source.references():
        if name.startswith(_COMMANDS):
            yield _finding(source, "internals", node, f"it uses {name}", "import algoperf.spec")
        if name.startswith("algoperf.registry.") and ".module" in name:
            yield _finding(source, "internals", node, f"it uses {name}", "of the registry, only get is for submissions")


def interpreter(source: SourceFile) -> Iterator[RuleFinding]:
    """Code that is made of texts, hidden imports, and finalizers."""
    advice = "write it out, so that it can be read and checked"
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in _BUILTINS and name not in source.functions:
                yield _finding(source, "interpreter", node, f"it calls {name}()", advice)
            case ast.ImportFrom(names=[ast.alias(name="*")], level=0):
                message = f"it imports everything of {node.module}"
                yield _finding(source, "interpreter", node, message, advice, Level.WARNING)
            case ast.FunctionDef(name="__del__"):
                message = "it defines __del__, which may run while the clock is paused"
                yield _finding(source, "interpreter", node, message, "release things in a hook", Level.WARNING)
            case ast.Call(func=ast.Name(id="getattr" | "setattr"), args=[owner, key, *_]):
                if not isinstance(key, ast.Constant) and _root(owner) in {*source.imports, *_OWNED}:
                    message = f"it looks up a computed name in {ast.unparse(owner)}"
                    yield _finding(source, "interpreter", node, message, advice, Level.WARNING)


def files(source: SourceFile) -> Iterator[RuleFinding]:
    """Calls of `open`; those that write are errors."""
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(func=ast.Name(id="open"), args=arguments, keywords=keywords):
                mode = (
                    arguments[1] if len(arguments) > 1 else next((k.value for k in keywords if k.arg == "mode"), None)
                )
            case ast.Call(func=ast.Attribute(attr="open", value=owner), args=arguments, keywords=keywords):
                if _root(owner) in source.imports and source.imports[_root(owner) or ""] not in {"io", "pathlib.Path"}:
                    continue
                mode = arguments[0] if arguments else next((k.value for k in keywords if k.arg == "mode"), None)
            case _:
                continue
        reads = mode is None or (isinstance(mode, ast.Constant) and not _WRITING.search(str(mode.value)))
        message = f"it opens a file{'' if reads else ' for writing'}"
        advice = "read nothing but settings next to the submission, and write nothing"
        yield _finding(source, "files", node, message, advice, Level.WARNING if reads else None)


def environment(source: SourceFile) -> Iterator[RuleFinding]:
    """Environment variables that are set."""
    for node in ast.walk(source.tree):
        match node:
            case (
                ast.Assign(targets=[ast.Subscript(value=owner), *_])
                | ast.Delete(targets=[ast.Subscript(value=owner), *_])
            ):
                pass
            case ast.Call(func=ast.Attribute(value=owner, attr="setdefault" | "update" | "pop" | "clear")):
                pass
            case _:
                continue
        if source.dotted(owner) == "os.environ":
            advice = "the environment is part of the machine; ask for a flag of the harness"
            yield _finding(source, "environment", node, "it changes os.environ", advice)


def texts(source: SourceFile) -> Iterator[RuleFinding]:
    """Paths of data, metrics of the test split, and weights that are written into the sources."""
    docstrings = _docstrings(source.tree)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in docstrings:
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            if _DATA_PATH.search(text) and "\n" not in text:
                message = f"it names a file of data, {text[:60]!r}"
                yield _finding(source, "data_access", node, message, "take batches from input_queue")
            if text.startswith(_TEST_METRIC):
                message = f"it reads {text!r} of an evaluation"
                yield _finding(source, "test_metrics", node, message, "decide on validation metrics")
            if len(text) > _LONGEST_TEXT:
                message = f"a text of {len(text)} characters"
                yield _finding(source, "stored_arrays", node, message, "keep no weights in the sources")
        elif isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict):
            values = node.values if isinstance(node, ast.Dict) else node.elts
            if len(values) > _MOST_NUMBERS:
                message = f"a literal of {len(values)} values"
                yield _finding(source, "stored_arrays", node, message, "keep no weights in the sources")


def randomness(source: SourceFile) -> Iterator[RuleFinding]:
    """Generators that are seeded from the operating system or the time."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        name = source.dotted(node.func) or ""
        unseeded = name in {"numpy.random.default_rng", "random.seed", "random.Random", "numpy.random.seed"}
        timed = any((source.dotted(n) or "").startswith("time.") for a in node.args for n in ast.walk(a))
        if (unseeded and not node.args and not node.keywords) or (timed and "random" in name):
            advice = "seed it from rng, so that the run can be repeated"
            yield _finding(source, "randomness", node, f"{name} takes its seed from elsewhere", advice)


def global_state(source: SourceFile) -> Iterator[RuleFinding]:
    """Globals that functions change: they outlive a trial and are lost on resume."""
    containers = {
        target.id
        for node in source.tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict | ast.List | ast.Set)
        for target in node.targets
        if isinstance(target, ast.Name) and not (getattr(node.value, "elts", None) or getattr(node.value, "keys", None))
    }
    advice = "keep what a run learns in the optimizer state"
    for function in (node for node in ast.walk(source.tree) if isinstance(node, Function)):
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                message = f"{function.name} sets the global {', '.join(node.names)}"
                yield _finding(source, "global_state", node, message, advice)
            elif (
                isinstance(node, ast.Subscript)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id in containers
            ):
                yield _finding(source, "global_state", node, f"{function.name} fills {node.value.id}", advice)


def _assigned_attributes(source: SourceFile) -> Iterator[tuple[ast.AST, ast.expr]]:
    for node in ast.walk(source.tree):
        targets: list[ast.expr] = []
        match node:
            case ast.Assign(targets=written) | ast.Delete(targets=written):
                targets = written
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                targets = [target]
            case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[owner, *_]):
                yield node, owner if isinstance(owner, ast.Attribute) else ast.Attribute(owner, "...", ast.Load())
            case ast.Call(func=ast.Attribute(value=ast.Name(id="object"), attr="__setattr__"), args=[owner, *_]):
                yield node, ast.Attribute(owner, "...", ast.Load())
        for written_to in targets:
            for part in written_to.elts if isinstance(written_to, ast.Tuple | ast.List) else [written_to]:
                inner = part.value if isinstance(part, ast.Subscript) else part
                if isinstance(inner, ast.Attribute) or (isinstance(part, ast.Subscript) and _root(inner) in _OWNED):
                    yield node, inner


def _root(node: ast.AST) -> str | None:
    """The name that a chain of attributes, items and calls begins with."""
    while True:
        match node:
            case ast.Attribute(value=value) | ast.Subscript(value=value) | ast.Starred(value=value):
                node = value
            case ast.Call(func=ast.Name(id="type" | "vars" | "super"), args=[value, *_]):
                node = value
            case ast.Name(id=name):
                return name
            case _:
                return None


def _docstrings(tree: ast.Module) -> set[int]:
    scopes = [node for node in ast.walk(tree) if isinstance(node, Function | ast.ClassDef | ast.Module)]
    return {id(s.body[0].value) for s in scopes if s.body and isinstance(s.body[0], ast.Expr)}


def _patch(source: SourceFile, node: ast.AST, message: str) -> RuleFinding:
    return _finding(source, "patching", node, message, "keep what is your own in the optimizer state")


def _finding(
    source: SourceFile, check: str, node: ast.AST, message: str, advice: str, level: Level | None = None
) -> RuleFinding:
    return RuleFinding.of(f"static.{check}", message, advice, file=source.label, line=line_of(node), level=level)
