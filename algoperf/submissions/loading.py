"""Loads a submission and checks it before any data is read.

A submission is a module with the functions of the AlgoPerf v0.6 submission API. The harness calls every hook
with keyword arguments, so the argument names of the hook protocols in `algoperf.spec` are the contract.
"""

import difflib
import importlib
import importlib.util
import inspect
import operator
import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from algoperf import spec
from algoperf.definition import WorkloadDefinition
from algoperf.errors import UserError
from algoperf.submissions import sources as submission_sources
from algoperf.submissions.imports import add_working_directory, import_file


def _arguments(protocol: type) -> tuple[str, ...]:
    """Names of the arguments of a hook, without self."""
    return tuple(inspect.signature(protocol.__call__).parameters)[1:]


HOOK_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "get_batch_size": _arguments(spec.GetBatchSize),
    "init_optimizer_state": _arguments(spec.InitOptimizerState),
    "update_params": _arguments(spec.UpdateParams),
    "data_selection": _arguments(spec.DataSelection),
    "prepare_for_eval": _arguments(spec.PrepareForEval),
}
_OPTIONAL_ARGUMENTS = {
    "update_params": set(_arguments(spec.UpdateParamsWithTrainState)) - set(HOOK_ARGUMENTS["update_params"])
}


_FOLDER = "submission {!r} is a folder, expected a .py file or a module"


class SubmissionError(UserError):
    """A submission cannot be loaded or used; one line that says what is wrong with it."""


class SubmissionCrashError(SubmissionError):
    """Code of the submission raised an error, its cause, at the import or in `get_batch_size`."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A loaded and checked submission.

    Attributes:
      module: the imported module.
      path: its file.
      init_optimizer_state, update_params, data_selection, get_batch_size: its functions.
      prepare_for_eval: its function, or None.
      wants_train_state: whether `update_params` names a parameter `train_state`; `**kwargs` does not count.
      has_eval_batch_size: whether it has `get_eval_batch_size`, which is not honoured.
      source_files: digests of the Python files that it consists of, by path (see `submission_sources`).
    """

    module: ModuleType
    path: Path
    init_optimizer_state: spec.InitOptimizerState
    update_params: spec.UpdateParams
    data_selection: spec.DataSelection
    get_batch_size: spec.GetBatchSize
    prepare_for_eval: spec.PrepareForEval | None
    wants_train_state: bool
    has_eval_batch_size: bool
    source_files: Mapping[str, str]

    @property
    def source_digest(self) -> str:
        """Hash of the source files (16 hex digits)."""
        return submission_sources.digest(self.source_files)


def load_submission(path_or_module: str) -> Submission:
    """Imports and checks a submission.

    Args:
      path_or_module: a `.py` file anywhere on disk (absolute, relative to the working directory, or with `~`), or
        a dotted module name.

    Raises:
      SubmissionCrashError: its import raises an error.
      SubmissionError: the file is missing, or a function is missing or has a wrong signature.
    """
    add_working_directory()
    module = _import(path_or_module)
    if module.__file__ is None:
        raise SubmissionError(_FOLDER.format(path_or_module))
    path = Path(module.__file__).resolve()
    update_params = _hook(module, "update_params")
    return Submission(
        module=module,
        path=path,
        init_optimizer_state=_hook(module, "init_optimizer_state"),
        update_params=update_params,
        data_selection=_hook(module, "data_selection"),
        get_batch_size=_batch_size_function(module),
        prepare_for_eval=_hook(module, "prepare_for_eval") if hasattr(module, "prepare_for_eval") else None,
        wants_train_state="train_state" in (_parameters(update_params) or {}),
        has_eval_batch_size=hasattr(module, "get_eval_batch_size"),
        source_files=submission_sources.source_files(module),
    )


def locate_submission(path_or_module: str) -> Path:
    """File of a submission, the same for every spelling of it: relative, absolute, dotted or through links.

    The submission itself is not imported; of a dotted name, the packages above it are.

    Raises:
      SubmissionError: there is no such file or module.
    """
    if _is_path(path_or_module):
        return _existing_file(path_or_module).resolve()
    add_working_directory()
    try:
        spec = importlib.util.find_spec(path_or_module)
    except ImportError as error:
        raise _no_module(path_or_module, error.name) from error
    if spec is None:
        raise _no_module(path_or_module, path_or_module)
    if spec.origin is None:
        raise SubmissionError(_FOLDER.format(path_or_module))
    return Path(spec.origin).resolve()


def resolve_batch_size(submission: Submission, definition: WorkloadDefinition, num_devices: int) -> int:
    """Returns the global batch size for a workload.

    A submission that does not know the workload (it raises ValueError or LookupError, or returns None) is asked for the
    base workload; that size is multiplied by `definition.batch_size_scale`, rounded, at least 1.

    Raises:
      SubmissionCrashError: `get_batch_size` raises another error.
      SubmissionError: no positive int that `num_devices` divides; says which sizes nearby would work.
    """
    size, origin = _ask_batch_size(submission, definition.name), f"get_batch_size({definition.name!r})"
    if isinstance(size, Exception) and definition.base != definition.name:
        size, origin = _ask_batch_size(submission, definition.base), f"get_batch_size({definition.base!r})"
        if isinstance(size, int) and size > 0 and definition.batch_size_scale != 1:
            origin = f"{origin} = {size}, times {definition.batch_size_scale:g} for {definition.name},"
            size = max(1, round(size * definition.batch_size_scale))
    if isinstance(size, Exception):
        reason = f"{type(size).__name__}: {_one_line(size)}"
        raise SubmissionError(
            f"{submission.path}: {origin} gives no batch size ({reason}); let it return one for {definition.name!r}"
        ) from size
    if size < 1:
        raise SubmissionError(f"{submission.path}: {origin} must be at least 1, got {size}")
    if size % num_devices:
        below, above = size // num_devices * num_devices, -(-size // num_devices) * num_devices
        choices = f"{below} or {above}" if below else f"{above}"
        raise SubmissionError(
            f"{submission.path}: {origin} is a batch of {size}, which does not divide over {num_devices} devices; "
            f"{choices} would work"
        )
    return size


def _ask_batch_size(submission: Submission, name: str) -> int | Exception:
    """The submission's answer, or why it has none for this workload."""
    try:
        answer = submission.get_batch_size(name)
    except (ValueError, LookupError) as error:
        return error
    except Exception as error:
        where = _where(error, submission.path.parent)
        raise SubmissionCrashError(
            f"{submission.path}: get_batch_size({name!r}) failed with {type(error).__name__} at {where}: "
            f"{_one_line(error)}"
        ) from error
    if answer is None:
        return ValueError("it returned None")
    try:
        if isinstance(answer, bool):
            raise TypeError
        return operator.index(answer)
    except TypeError:
        raise SubmissionError(
            f"{submission.path}: get_batch_size({name!r}) must return an int, got {answer!r}"
        ) from None


def _import(path_or_module: str) -> ModuleType:
    path = _existing_file(path_or_module) if _is_path(path_or_module) else None
    try:
        return import_file(path) if path else importlib.import_module(path_or_module)
    except (Exception, SystemExit) as error:
        if path is None and isinstance(error, ModuleNotFoundError) and _is_prefix(error.name, path_or_module):
            raise _no_module(path_or_module, error.name) from error
        folder = path.parent if path else None
        raise SubmissionCrashError(
            f"cannot import submission {path or path_or_module}: {type(error).__name__} at "
            f"{_where(error, folder)}: {_one_line(error)}{_advice(error)}"
        ) from error


def _is_path(path_or_module: str) -> bool:
    return path_or_module.endswith(".py") or "/" in path_or_module or path_or_module.startswith("~")


def _no_module(path_or_module: str, name: str | None) -> SubmissionError:
    return SubmissionError(
        f"submission {path_or_module!r}: there is no module {name!r}; "
        "give the path of a .py file or the dotted name of an importable module"
    )


def _existing_file(text: str) -> Path:
    path = Path(text).expanduser()
    if path.is_dir():
        files = sorted(path.glob("*submission*.py")) or sorted(path.glob("*.py"))
        hint = f"; did you mean {files[0]}?" if files else ""
        raise SubmissionError(f"submission {text} is a folder, expected a .py file{hint}")
    if not path.is_file():
        near = [str(p) for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        close = difflib.get_close_matches(str(path), near, n=1)
        hint = f"; did you mean {close[0]}?" if close else f" (looked in {Path.cwd()})" * (not path.is_absolute())
        raise SubmissionError(f"submission file not found: {text}{hint}")
    if path.suffix != ".py":
        raise SubmissionError(f"a submission is a .py file or a dotted module name, got {text}")
    return Path(os.path.abspath(path))


def _is_prefix(name: str | None, dotted: str) -> bool:
    return name is not None and (dotted == name or dotted.startswith(f"{name}."))


def _advice(error: BaseException) -> str:
    name = getattr(error, "name", None) or ""
    if isinstance(error, ImportError) and name.partition(".")[0] == "algorithmic_efficiency":
        return "; that package is called algoperf since AlgoPerf v0.6"
    return ""


def _where(error: BaseException, folder: Path | None) -> str:
    """`file:line` of the innermost line of the submission that led to `error`."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    outer = [f for f in frames if not f.filename.startswith(str(Path(__file__).parent))]
    own = [f for f in outer if folder is not None and Path(f.filename).is_relative_to(folder)]
    local = [f for f in outer if "site-packages" not in f.filename]
    nearest = own or local or outer
    return f"{nearest[-1].filename}:{nearest[-1].lineno}" if nearest else "an unknown line"


def _one_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(str(text).split())


def _function(module: ModuleType, name: str) -> Callable[..., Any]:
    if not hasattr(module, name):
        close = difflib.get_close_matches(name, vars(module), n=1, cutoff=0.8)
        hint = f" (it has {close[0]!r})" if close else ""
        raise SubmissionError(f"{module.__file__}: missing function {name}({', '.join(HOOK_ARGUMENTS[name])}){hint}")
    function: Callable[..., Any] = getattr(module, name)
    if not callable(function):
        raise SubmissionError(f"{module.__file__}: {name} must be a function, got {type(function).__name__}")
    return function


def _hook(module: ModuleType, name: str) -> Callable[..., Any]:
    function = _function(module, name)
    _check_arguments(module, name, function)
    return function


def _batch_size_function(module: ModuleType) -> spec.GetBatchSize:
    function = _function(module, "get_batch_size")
    try:
        inspect.signature(function).bind("workload")
    except TypeError:
        raise SubmissionError(
            f"{module.__file__}:{_line(function)}: get_batch_size must take one argument, the workload's name"
        ) from None
    except ValueError:  # a callable that does not tell its signature
        pass
    return function


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    """Parameters by name; None for a callable that does not tell."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None


def _check_arguments(module: ModuleType, name: str, function: Callable[..., Any]) -> None:
    named = _parameters(function)
    if named is None:
        return
    parameters = named.values()
    keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    accepted = {p.name for p in parameters if p.kind in keyword}
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    allowed = _OPTIONAL_ARGUMENTS.get(name, set()).union(HOOK_ARGUMENTS[name])
    missing = [a for a in HOOK_ARGUMENTS[name] if a not in accepted and not takes_any]
    positional = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    unexpected = [p.name for p in parameters if p.kind in keyword and p.default is p.empty and p.name not in allowed]
    problems = [
        f"does not accept {_quoted(missing)}" if missing else "",
        f"needs {_quoted(unexpected)}, which the harness does not pass" if unexpected else "",
        f"takes {_quoted(positional)} by position only" if positional else "",
    ]
    if any(problems):
        raise SubmissionError(
            f"{module.__file__}:{_line(function)}: {name} {' and '.join(p for p in problems if p)}; "
            f"the harness calls it with the keyword arguments {', '.join(HOOK_ARGUMENTS[name])}"
        )


def _line(function: Callable[..., Any]) -> int:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_firstlineno if code else 1


def _quoted(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
