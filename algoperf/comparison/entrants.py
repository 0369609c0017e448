"""Who is compared: a submission's file, a reference algorithm's name, or a plain optimizer put on the shared step."""

import ast
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from algoperf.definition import FRAMEWORKS
from algoperf.errors import UserError
from algoperf.records.files import explained, replace_file
from algoperf.runner.run_config import default_submission
from algoperf.runner.suite_plan import submission_digest
from algoperf.submissions.loading import locate_submission

_JAX_TEXT = '''"""{name} on the shared training step."""

from reference_algorithms.common import jax_step, plain_optimizer
from {module} import {function}

algorithm = jax_step.hooks(plain_optimizer.jax_optimizer({function}), __file__)
get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = algorithm
'''
_TORCH_TEXT = '''"""{name} on the shared training step, at the learning rates that it comes with.

`make_schedule(hyperparameters, num_steps)` of its module, where there is one, gives a factor on them for each step.
"""

import {module} as module
from reference_algorithms.common import plain_optimizer, torch_step
from {module} import {function}

algorithm = torch_step.hooks(
    plain_optimizer.torch_optimizer({function}),
    __file__,
    make_schedule=getattr(module, "make_schedule", plain_optimizer.constant_schedule),
)
get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = algorithm
'''
_TEXTS = {"jax": _JAX_TEXT, "torch": _TORCH_TEXT}
_SELF_TUNING = "self_tuning.json"


class EntrantError(UserError):
    """There is no such submission or optimizer; one line that says what was expected."""


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One side of a comparison.

    Attributes:
      label: short name for tables.
      path: the submission's file.
      digest: of its source files.
    """

    label: str
    path: Path
    digest: str

    @property
    def folder_name(self) -> str:
        """Changes with the source, so that runs of two versions are never mixed."""
        return f"{self.label}-{self.digest[:8]}"


def find_entrant(text: str, framework: str, folder: Path) -> Entrant:
    """The entrant that a command names.

    Args:
      text: a `.py` file or dotted module of a submission, the name of a reference algorithm, or `module:function` of a
        function that returns an `optax.GradientTransformation` or a `torch.optim.Optimizer` (or the optimizer's class).
      framework: its name.
      folder: where the submission of a plain optimizer is written.

    Raises:
      EntrantError, SubmissionError: there is none.
      ConfigError: it cannot be imported.
    """
    if ":" in text:
        path = _write_submission(text, framework, folder)
        label = text.replace(":", ".").replace("/", ".")
    else:
        path = _reference(text, framework) or locate_submission(text)
        label = path.parent.name if path.stem.endswith("submission") else f"{path.parent.name}.{path.stem}"
    return Entrant(label=label, path=path, digest=submission_digest(str(path)))


def _reference(name: str, framework: str) -> Path | None:
    default = default_submission(framework)
    path = default.parents[1] / name / default.name
    return path if name.isidentifier() and path.is_file() else None


def _write_submission(text: str, framework: str, folder: Path) -> Path:
    module, _, function = text.partition(":")
    if not (all(word.isidentifier() for word in module.split(".")) and function.isidentifier()):
        raise EntrantError(
            f"{text!r} names no optimizer, expected module:function with the dotted name of a module, for example "
            "my_optimizer:make for make() in my_optimizer.py of the working directory"
        )
    source = _module_source(text, module)
    if source is not None and function not in _top_level_names(source):
        raise EntrantError(f"{source} has no {function}; name a function or class of that module after the colon")
    content = _TEXTS[FRAMEWORKS[framework].package].format(name=text, module=module, function=function)
    path = folder / f"{module}.{function}" / default_submission(framework).name
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content.encode())
        point = default_submission(framework).with_name(_SELF_TUNING)
        replace_file(path.with_name(_SELF_TUNING), point.read_bytes())
    return path


def _module_source(text: str, module: str) -> Path | None:
    """File of a module, which is not imported; None where it has no source in Python."""
    local = Path.cwd().joinpath(*module.split(".")).with_suffix(".py")
    if local.is_file():
        return local
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        spec = None
    if spec is None:
        raise EntrantError(f"{text!r}: there is no module {module}; run from the folder that holds it, or install it")
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


def _top_level_names(source: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_bytes())):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names.update((alias.asname or alias.name).partition(".")[0] for alias in aliases)
    return names
