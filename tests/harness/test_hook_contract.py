"""The signatures of the hooks stand in `algoperf.spec`; guide, templates and reference steps say the same."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from algoperf import spec
from algoperf.submissions.loading import HOOK_ARGUMENTS

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "submission_guide.md"
HOOKS_OF_ALL_STEPS = ("update_params", "data_selection", "prepare_for_eval", "init_optimizer_state")


def written_arguments(path: Path) -> dict[str, tuple[str, ...]]:
    """Argument names of the hooks that a file defines, as functions or as methods."""
    functions = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef))
    names = {f.name: tuple(a.arg for a in (*f.args.args, *f.args.kwonlyargs)) for f in functions}
    return {name: tuple(a for a in names[name] if a != "self") for name in HOOK_ARGUMENTS if name in names}


@pytest.mark.parametrize("file", ["submission.py", "submission_pytorch.py"])
def test_the_templates_take_the_arguments_of_the_protocols(file):
    written = written_arguments(ROOT / "submissions" / "template" / file)
    assert set(HOOKS_OF_ALL_STEPS) <= set(written)
    assert written == {name: HOOK_ARGUMENTS[name] for name in written}


def test_the_guide_lists_the_arguments_of_the_protocols():
    rows = re.findall(r"^\| `(\w+)`[^|]*\| ([^|]*) \|", GUIDE.read_text(), flags=re.MULTILINE)
    listed = {name: re.search(r"`([^`]*)`", text)[1].split(", ") for name, text in rows if name in HOOK_ARGUMENTS}
    assert set(listed) == set(HOOK_ARGUMENTS)
    for name in ("get_batch_size", "init_optimizer_state", "data_selection", "update_params"):
        assert tuple(listed[name]) == HOOK_ARGUMENTS[name]
    without_batch = tuple(name for name in HOOK_ARGUMENTS["update_params"] if name != "batch")
    assert HOOK_ARGUMENTS["prepare_for_eval"] == without_batch  # what the row of prepare_for_eval says in words


def test_train_state_is_what_update_params_may_ask_for_on_top():
    asking = inspect.signature(spec.UpdateParamsWithTrainState.__call__).parameters
    assert set(asking) - {"self"} == {*HOOK_ARGUMENTS["update_params"], "train_state"}


def test_every_public_class_and_method_of_the_public_types_is_documented():
    module = ast.parse(Path(spec.__file__).read_text())
    classes = [n for n in module.body if isinstance(n, ast.ClassDef)]
    methods = [(c.name, n) for c in classes for n in c.body if isinstance(n, ast.FunctionDef)]
    bare = [c.name for c in classes if not ast.get_docstring(c)]
    bare += [f"{owner}.{n.name}" for owner, n in methods if not n.name.startswith("_") and not ast.get_docstring(n)]
    assert len(methods) > 25
    assert bare == []
