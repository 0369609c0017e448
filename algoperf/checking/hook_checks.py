"""What the functions of a submission take, return and do, read from their sources."""

import ast
from collections.abc import Iterator

from algoperf.checking.findings import RuleFinding
from algoperf.checking.source import ENTRY_POINTS, Function, SourceFile, line_of, own_nodes
from algoperf.registry import REGISTRY
from algoperf.rules import Level
from algoperf.submissions.loading import HOOK_ARGUMENTS

_BATCH_SIZE = "get_batch_size"
_STATE = "init_optimizer_state"
_OPTIONAL = {"prepare_for_eval"}
_TRIPLE = {"update_params", "prepare_for_eval"}
_MODEL_WORK = frozenset({"model_fn", "loss_fn", "backward"})
# Calls that run the functions they are given, where `jit` and `compile` only wrap them.
_RUNS_ARGUMENTS = frozenset({"fori_loop", "while_loop", "scan", "cond", "map"})
_METRIC = "target_metric_name"
_SIZES = frozenset(
    {
        "num_train_examples",
        "num_eval_train_examples",
        "num_validation_examples",
        "num_test_examples",
        "validation_target_value",
        "test_target_value",
        _METRIC,
        "max_allowed_runtime_sec",
        "eval_period_time_sec",
        "step_hint",
        "param_shapes",
    }
)
_NAMES = frozenset({"name", "base", "mini_name", "title", "dataset", "__class__"})
_TEXT_TESTS = frozenset({"startswith", "endswith", "find", "index", "count", "split", "get", "__eq__", "__contains__"})


def signatures(source: SourceFile) -> Iterator[RuleFinding]:
    """Functions that are missing, or lack an argument. Names that are bound in another way are checked by running."""
    if not source.is_entry:
        return
    bound = _names_bound(source.tree)
    for name, arguments in HOOK_ARGUMENTS.items():
        expected = f"{name}({', '.join(arguments)})"
        function = source.functions.get(name)
        if name not in bound and name not in _OPTIONAL and "*" not in bound:
            yield _finding(source, "signatures", source.tree, f"there is no {expected}", "add it", line=1)
        if function is None or name == _BATCH_SIZE or function.args.kwarg is not None:
            continue
        taken = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
        missing = [argument for argument in arguments if argument not in taken]
        if missing:
            message = f"{name} does not take {', '.join(missing)}"
            yield _finding(source, "signatures", function, message, f"write {expected}")


def returns(source: SourceFile) -> Iterator[RuleFinding]:
    """Return statements whose value is written down and is not what the hook has to return."""
    for name in ENTRY_POINTS:
        function = source.functions.get(name)
        if function is None or not source.is_entry:
            continue
        found_return = False
        for node in own_nodes(function):
            if isinstance(node, ast.Return):
                found_return = True
                problem = _problem_of_return(name, node.value)
                if problem:
                    yield _finding(source, "returns", node, f"{name} returns {problem}", _returned(name))
            found_return |= isinstance(node, ast.Raise | ast.Yield)
        if not found_return and name != _STATE:
            yield _finding(source, "returns", function, f"{name} returns nothing", _returned(name))


def workload_name(source: SourceFile) -> Iterator[RuleFinding]:
    """Decisions on the name of the workload outside of get_batch_size."""
    names = set(REGISTRY.names())
    advice = "let it do the same on every workload; only get_batch_size may depend on the name"
    for function, nodes in _outside_batch_size(source):
        tainted = _names_of_workload(nodes)
        for node in nodes:
            values = _decided_on(node)
            if any(_reads_name(value, tainted) for value in values):
                message = f"{function} decides on the workload's name"
                yield _finding(source, "workload_name", node, message, advice)
            elif any(isinstance(v, ast.Constant) and v.value in names for value in values for v in ast.walk(value)):
                yield _finding(source, "workload_name", node, f"{function} compares with a workload's name", advice)
    batch_size = source.functions.get(_BATCH_SIZE)
    for node in ast.walk(batch_size) if batch_size is not None else ():
        if isinstance(node, ast.Global | ast.Nonlocal):
            message = f"get_batch_size, which is given the workload's name, sets {', '.join(node.names)}"
            yield _finding(source, "workload_name", node, message, advice)


def fingerprints(source: SourceFile) -> Iterator[RuleFinding]:
    """Comparisons of what identifies a workload with constants, and lists of names of parameters or workloads."""
    advice = "a person will look at it; depend on kinds of parameters (current_params_types) or on sizes instead"
    for function, nodes in _outside_batch_size(source):
        for node in nodes:
            message = _identifying(node)
            if message:
                yield _finding(source, "fingerprints", node, f"{function} {message}", advice)


def _identifying(node: ast.AST) -> str:
    """What about an expression identifies a workload; empty where nothing does."""
    values = _decided_on(node)
    attributes = {attribute for value in values for attribute in _attributes(value)}
    if isinstance(node, ast.Compare | ast.Match) and attributes & _SIZES:
        if isinstance(node, ast.Match) or any(map(_is_constant, values)):
            return f"compares {', '.join(sorted(attributes & _SIZES))} with a constant"
    elif isinstance(node, ast.Subscript | ast.Call) and attributes & _SIZES - {_METRIC}:
        return f"looks up {', '.join(sorted(attributes & _SIZES))}"
    if isinstance(node, ast.Compare) and "shape" in attributes:
        shapes = [value for value in values if isinstance(value, ast.Tuple) and len(value.elts) > 1]
        return "looks for one shape" if any(map(_is_constant, shapes)) else ""
    if isinstance(node, ast.Dict | ast.List | ast.Tuple | ast.Set):
        elements = node.keys if isinstance(node, ast.Dict) else node.elts
        texts = [e.value for e in elements if isinstance(e, ast.Constant) and isinstance(e.value, str)]
        if len(set(texts).intersection(REGISTRY.names())) > 1 or sum(map(_is_parameter_name, texts)) > 2:
            return "has a list of names of workloads or parameters"
    return ""


def work_in_init(source: SourceFile) -> Iterator[RuleFinding]:
    """The model, its loss or gradients in init_optimizer_state and in what it calls in the same file."""
    advice = "init_optimizer_state is not timed: move it to update_params"
    function = source.functions.get(_STATE)
    for node in _reached(source, function) if function is not None else ():
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            compiles = isinstance(node.func, ast.Attribute) and name == "compile" and "lower" in _attributes(node)
            if name in _MODEL_WORK or compiles or (name == "next" and isinstance(node.func, ast.Name)):
                message = f"init_optimizer_state {'compiles ahead' if compiles else f'calls {name}'}"
                yield _finding(source, "work_in_init", node, message, advice)


def work_at_import(source: SourceFile) -> Iterator[RuleFinding]:
    """The model, its loss or gradients at the import and in get_batch_size, and loops without an end there."""
    advice = "the import and get_batch_size are not timed: move it to update_params"
    batch_size = source.functions.get(_BATCH_SIZE)
    scopes = [("the import", source.tree)] + ([(_BATCH_SIZE, batch_size)] if batch_size is not None else [])
    for where, scope in scopes:
        for node in _reached(source, scope):
            if isinstance(node, ast.While):
                yield _finding(source, "work_at_import", node, f"{where} has a while loop", advice, Level.WARNING)
                continue
            match node:
                case ast.Call(func=ast.Attribute(attr=name)) if name in {
                    *_MODEL_WORK,
                    "init_model_fn",
                    "build_workload",
                }:
                    yield _finding(source, "work_at_import", node, f"{where} calls {name}", advice)


def _finding(
    source: SourceFile,
    check: str,
    node: ast.AST,
    message: str,
    advice: str,
    level: Level | None = None,
    *,
    line: int | None = None,
) -> RuleFinding:
    return RuleFinding.of(
        f"static.{check}", message, advice, file=source.label, line=line or line_of(node), level=level
    )


def _names_bound(tree: ast.Module) -> set[str]:
    """Names at the top level of a module, `*` for a star import."""
    names: set[str] = set()
    for node in own_nodes(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name for alias in aliases}
    return names


def _problem_of_return(name: str, value: ast.expr | None) -> str:
    if name == _STATE:
        return ""
    if value is None or (isinstance(value, ast.Constant) and value.value is None and name != _BATCH_SIZE):
        return "nothing"
    if name in _TRIPLE and isinstance(value, ast.Tuple) and not any(isinstance(e, ast.Starred) for e in value.elts):
        return "" if len(value.elts) == 3 else f"{len(value.elts)} values"
    if name in _TRIPLE and isinstance(value, ast.Constant | ast.Dict):
        return "one value"
    if name == _BATCH_SIZE and isinstance(value, ast.Constant) and type(value.value) not in (int, type(None)):
        return repr(value.value)
    return ""


def _returned(name: str) -> str:
    if name in _TRIPLE:
        return "return (optimizer state, parameters, model state)"
    return "return the batch" if name == "data_selection" else "return an int"


def _outside_batch_size(source: SourceFile) -> Iterator[tuple[str, list[ast.AST]]]:
    """Name and nodes of every function but get_batch_size and what only that calls."""
    helpers = _only_called_by(source, _BATCH_SIZE)
    for node in ast.walk(source.tree):
        if isinstance(node, Function) and node.name != _BATCH_SIZE and node.name not in helpers:
            yield node.name, list(own_nodes(node))


def _only_called_by(source: SourceFile, caller: str) -> set[str]:
    calls = {name: {n.id for n in ast.walk(f) if isinstance(n, ast.Name)} for name, f in source.functions.items()}
    return {
        name
        for name in calls.get(caller, set()) & set(source.functions)
        if not any(name in called for other, called in calls.items() if other not in (caller, name))
    }


def _names_of_workload(nodes: list[ast.AST]) -> set[str]:
    """Variables that hold the name of a workload."""
    names: set[str] = {"workload_name"}
    for _ in range(3):  # assignments of assignments
        for node in nodes:
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if _reads_name(node.value, names):
                    names |= {t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name)}
    return names


def _reads_name(value: ast.AST, tainted: set[str]) -> bool:
    for node in ast.walk(value):
        match node:
            case ast.Attribute(value=owner, attr=attribute) if attribute in _NAMES and _is_workload(owner):
                return True
            case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value="name"), *_]):
                if _is_workload(owner):
                    return True
            case ast.Call(func=ast.Name(id="type" | "str" | "repr" | "hash"), args=[owner]) if _is_workload(owner):
                return True
            case ast.Name(id=name, ctx=ast.Load()) if name in tainted:
                return True
    return False


def _is_workload(node: ast.AST) -> bool:
    match node:
        case ast.Name(id="workload"):
            return True
        case ast.Attribute(value=value, attr="definition"):
            return _is_workload(value)
        case ast.Attribute(attr="workload"):
            return True
    return False


def _decided_on(node: ast.AST) -> list[ast.AST]:
    """The values that a comparison, a lookup or a test of a text decides on."""
    match node:
        case ast.Compare(left=left, comparators=others):
            return [left, *others]
        case ast.Subscript(slice=index):
            return [index]
        case ast.Match(subject=subject, cases=cases):
            return [subject, *(case.pattern for case in cases)]
        case ast.Call(func=ast.Attribute(value=value, attr=attribute), args=arguments) if attribute in _TEXT_TESTS:
            return [*arguments, value] if isinstance(value, ast.Name | ast.Attribute) else list(arguments)
    return []


def _attributes(node: ast.AST) -> set[str]:
    return {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}


def _is_constant(node: ast.AST) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError):
        return False
    return not (isinstance(node, ast.Constant) and node.value in (None, True, False, 0, ""))


def _is_parameter_name(text: str) -> bool:
    parts = text.replace("/", ".").split(".")
    return len(parts) > 1 and (parts[-1] in {"kernel", "bias", "weight", "scale"} or any(p.isdigit() for p in parts))


def _reached(source: SourceFile, scope: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run with `scope`, and with the functions of the file that it calls by name."""
    local = {n.name: n for n in ast.walk(source.tree) if isinstance(n, Function)}
    waiting, seen = [scope], {id(scope)}
    while waiting:
        for node in own_nodes(waiting.pop()):
            yield node
            if isinstance(node, ast.Call):
                callee = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                run = (node.func, *(node.args if callee in _RUNS_ARGUMENTS else ()))
                names = {n.id for n in run if isinstance(n, ast.Name)}
                for called in (local[name] for name in names & set(local)):
                    if id(called) not in seen and called.name not in ENTRY_POINTS:
                        seen.add(id(called))
                        waiting.append(called)
