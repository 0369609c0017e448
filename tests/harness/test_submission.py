import dataclasses
import sys
from importlib.util import find_spec, module_from_spec
from pathlib import Path

import pytest

from algoperf.definition import WorkloadDefinition
from algoperf.submissions.loading import HOOK_ARGUMENTS, SubmissionError, load_submission, resolve_batch_size
from algoperf.submissions.sources import source_files
from algoperf.testing.toy_workload.definition import MINI

COMPLETE = """
def get_batch_size(workload_name):
    return 8

def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    return {}

def update_params(workload, current_param_container, current_params_types, model_state, hyperparameters, batch,
                  loss_type, optimizer_state, eval_results, global_step, rng):
    return {}, None, None

def data_selection(workload, input_queue, optimizer_state, current_param_container, model_state, hyperparameters,
                   global_step, rng):
    return next(input_queue)
"""


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def definition(**changes) -> WorkloadDefinition:
    return dataclasses.replace(MINI, **{"name": "toy", "base": "toy", **changes})


def test_loads_by_absolute_relative_and_home_path_and_by_module_name(tmp_path, monkeypatch):
    file = write(tmp_path / "home" / "work" / "deep" / "mine.py", COMPLETE)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home" / "work")
    given = [str(file), "deep/mine.py", "./deep/mine.py", "../work/deep/mine.py", "~/work/deep/mine.py", "deep.mine"]
    loaded = [load_submission(text) for text in given]
    assert {s.path for s in loaded} == {file}
    assert len({id(s.module) for s in loaded}) == 1
    assert loaded[0].get_batch_size("any") == 8
    assert loaded[0].prepare_for_eval is None
    assert not loaded[0].has_eval_batch_size


@pytest.mark.parametrize("place", ["submissions/mine", "v0.5/some-team"])
@pytest.mark.parametrize("statement", ["import helper", "from . import helper", "from helpers import helper"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_neighbours_are_found_from_any_folder(tmp_path, monkeypatch, place, statement, elsewhere):
    folder = tmp_path / place
    file = write(folder / "submission.py", f"{statement}\nSIZE = helper.SIZE\n{COMPLETE}")
    write(folder / "helper.py", "SIZE = 3\n")
    write(folder / "helpers" / "__init__.py", "")
    write(folder / "helpers" / "helper.py", "SIZE = 3\n")
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away" if elsewhere else tmp_path)
    assert load_submission(str(file)).module.SIZE == 3


@pytest.mark.parametrize("has_init", [False, True])
@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("top", ["submissions", "reference_algorithms", "unheard_of"])
def test_absolute_package_imports_work_from_any_folder(tmp_path, monkeypatch, top, has_init, elsewhere):
    folder = tmp_path / top / "family" / "mine"
    lines = [
        f"from {top}.family.mine import helper",
        f"from {top}.family.shared import OTHER",
        # without a package, a file outside the working directory has no parents to be relative to
        "from ..shared import OTHER as TWIN" if has_init or not elsewhere else "TWIN = OTHER",
        COMPLETE,
    ]
    file = write(folder / "submission.py", "\n".join(lines))
    write(folder / "helper.py", "SIZE = 3\n")
    write(tmp_path / top / "family" / "shared.py", "OTHER = object()\n")
    if has_init:
        for package in (tmp_path / top, tmp_path / top / "family", folder):
            write(package / "__init__.py", "")
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away" if elsewhere else tmp_path)
    module = load_submission(str(file)).module
    assert module.helper.SIZE == 3
    assert module.OTHER is module.TWIN


def test_two_submissions_with_equally_named_helpers_keep_apart(tmp_path):
    files = [write(tmp_path / n / "submission.py", f"import helper\n{COMPLETE}") for n in ("a", "b")]
    for name in ("a", "b"):
        write(tmp_path / name / "helper.py", f"NAME = {name!r}\n")
    assert [load_submission(str(f)).module.helper.NAME for f in files] == ["a", "b"]


def test_a_neighbour_never_hides_the_standard_library_or_a_data_folder_an_installed_package(tmp_path):
    file = write(tmp_path / "s.py", f"import fractions, psutil\n{COMPLETE}")
    write(tmp_path / "fractions.py", "raise RuntimeError")
    (tmp_path / "psutil").mkdir()
    sys.modules.pop("fractions", None)
    module = load_submission(str(file)).module
    assert module.fractions.Fraction
    assert module.psutil.cpu_count()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("absent.py", "submission file not found: absent.py"),
        ("./submision.py", "did you mean submission.py?"),
        ("folder", "there is no module 'folder'"),
        ("no.such.module", "there is no module 'no'"),
        ("./folder", "is a folder, expected a .py file"),
        ("./data.json", "a submission is a .py file or a dotted module name"),
    ],
)
def test_a_wrong_path_is_explained(tmp_path, monkeypatch, text, expected):
    write(tmp_path / "submission.py", COMPLETE)
    write(tmp_path / "data.json", "{}")
    monkeypatch.chdir(tmp_path)
    if text == "./folder":
        (tmp_path / "folder").mkdir()
    with pytest.raises(SubmissionError) as raised:
        load_submission(text)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ("x = 1\nimport surely_not_installed\n", ["ModuleNotFoundError", "{bad}:2", "surely_not_installed"]),
        ("\n\ndef f(:\n", ["SyntaxError", "{bad}:3"]),
        ("def f():\n  raise OSError('two\\nlines')\nf()\n", ["OSError", "{bad}:2", "two lines"]),
        ("import json\njson.loads('{')\n", ["JSONDecodeError", "{bad}:2"]),
        ("import sys\nsys.exit(3)\n", ["SystemExit", "{bad}:2"]),
        ("import algorithmic_efficiency.spec\n", ["{bad}:1", "called algoperf since"]),
    ],
)
@pytest.mark.parametrize("where", ["submission", "helper"])
def test_an_error_at_import_names_file_and_line(tmp_path, broken, expected, where):
    bad = tmp_path / f"{where}.py"
    file = write(tmp_path / "submission.py", f"import helper\n{COMPLETE}")
    write(bad, broken)
    with pytest.raises(SubmissionError) as raised:
        load_submission(str(file))
    message = str(raised.value)
    assert "\n" not in message
    for part in expected:
        assert part.format(bad=bad) in message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("def data_selection", "def data_select", "missing function data_selection(workload, input_queue"),
        ("def data_selection", "def data_selecton", "(it has 'data_selecton')"),
        ("def get_batch_size", "def batch_size", "missing function get_batch_size(workload_name)"),
        ("get_batch_size(workload_name)", "get_batch_size()", "must take one argument"),
        ("hyperparameters, rng):\n    return {}", "rng):\n    return {}", "does not accept 'hyperparameters'"),
        ("global_step, rng):\n    return next", "global_step, rng, extra):\n    return next", "needs 'extra'"),
        ("global_step, rng):\n    return next", "global_step, rng, /):\n    return next", "'rng' by position only"),
        ("def data_selection", "data_selection = 3\ndef unused", "data_selection must be a function, got int"),
    ],
)
def test_a_missing_function_or_wrong_signature_is_named(tmp_path, old, new, expected):
    assert old in COMPLETE
    file = write(tmp_path / "s.py", COMPLETE.replace(old, new))
    with pytest.raises(SubmissionError) as raised:
        load_submission(str(file))
    assert expected in str(raised.value)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_prepare_for_eval_is_optional_and_checked(tmp_path):
    arguments = ", ".join(HOOK_ARGUMENTS["prepare_for_eval"])
    good = write(tmp_path / "good" / "s.py", f"{COMPLETE}\ndef prepare_for_eval({arguments}): pass\n")
    assert callable(load_submission(str(good)).prepare_for_eval)
    assert "batch" not in arguments
    bad = write(tmp_path / "bad" / "s.py", f"{COMPLETE}\ndef prepare_for_eval({arguments}, batch): pass\n")
    with pytest.raises(SubmissionError, match="prepare_for_eval needs 'batch', which the harness does not pass"):
        load_submission(str(bad))


@pytest.mark.parametrize(
    ("extra", "wanted"),
    [("", False), (", train_state=None", True), (", train_state", True), (", *, train_state", True), (", **kw", False)],
)
def test_train_state_is_passed_only_to_who_names_it(tmp_path, extra, wanted):
    source = COMPLETE.replace("eval_results, global_step, rng)", f"eval_results, global_step, rng{extra})")
    assert load_submission(str(write(tmp_path / "s.py", source))).wants_train_state is wanted


def test_decorated_and_catch_all_functions_are_accepted(tmp_path):
    source = f"""
import functools
{COMPLETE}
def logged(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)
    return inner
data_selection = logged(data_selection)
init_optimizer_state = functools.partial(init_optimizer_state)
def update_params(**kwargs):
    return None
"""
    submission = load_submission(str(write(tmp_path / "s.py", source)))
    assert submission.data_selection.__wrapped__


def test_source_digest_follows_the_code_and_nothing_else(tmp_path):
    def digest(name: str) -> str:
        return load_submission(str(tmp_path / name / "s.py")).source_digest

    for name in ("one", "same", "helper", "package", "noise"):
        write(tmp_path / name / "s.py", COMPLETE)
    write(tmp_path / "helper" / "h.py", "")
    write(tmp_path / "package" / "p" / "__init__.py", "")
    write(tmp_path / "noise" / "notes.txt", "")
    write(tmp_path / "noise" / "logs" / "old.py", "")
    assert digest("one") == digest("same") == digest("noise")
    assert len({digest("one"), digest("helper"), digest("package")}) == 3


def test_files_that_are_imported_from_elsewhere_belong_to_the_submission(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = f"""
import json, numpy, algoperf.spec, workloads.suites
from reference_algorithms.common import schedules

def later():
    from team.shared import deep
{COMPLETE}"""
    file = write(tmp_path / "team" / "mine" / "s.py", text)
    deep = write(tmp_path / "team" / "shared" / "deep.py", "from . import deeper")
    write(tmp_path / "team" / "shared" / "deeper.py", "raise RuntimeError('is read, not run')")
    write(tmp_path / "team" / "shared" / "other.py", "")
    before = load_submission(str(file))
    assert set(before.source_files) == {
        "s.py",
        "../shared/deep.py",
        "../shared/deeper.py",
        "reference_algorithms/__init__.py",
        "reference_algorithms/common/__init__.py",
        "reference_algorithms/common/schedules.py",
    }
    write(deep, "from . import deeper  # changed")
    after = load_submission(str(file))
    changed = {label for label, value in after.source_files.items() if value != before.source_files[label]}
    assert changed == {"../shared/deep.py"}
    assert after.source_digest != before.source_digest


def test_a_package_installed_into_any_folder_is_no_source(tmp_path, monkeypatch):
    installed = tmp_path / "libraries"
    write(installed / "fast_optimizer" / "__init__.py", "")
    write(installed / "one_file.py", "")
    write(
        installed / "fast_optimizer-1.0.dist-info" / "RECORD", "fast_optimizer/__init__.py,sha256=1,0\none_file.py,,\n"
    )
    write(installed / "own.py", "")
    monkeypatch.syspath_prepend(str(installed))
    file = write(tmp_path / "mine" / "s.py", "import fast_optimizer, one_file, own\n" + COMPLETE)
    assert set(load_submission(str(file)).source_files) == {"s.py", "../libraries/own.py"}


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_reference_algorithms_include_their_training_step_and_not_that_of_the_other_framework(framework):
    module = module_from_spec(find_spec(f"reference_algorithms.nadamw.{framework}_submission"))
    files = list(source_files(module))  # read, not run: neither framework is imported
    other = {"jax": "torch", "torch": "jax"}[framework]
    assert {"jax_submission.py", "torch_submission.py"} <= set(files)
    assert f"reference_algorithms/common/{framework}_step.py" in files
    assert f"reference_algorithms/common/{framework}_nadam.py" in files
    assert f"reference_algorithms/common/{other}_step.py" not in files
    assert not [file for file in files if file.startswith("..")]


def submission_with(tmp_path: Path, body: str):
    source = COMPLETE.replace("    return 8\n", f"    {body}\n", 1)
    return load_submission(str(write(tmp_path / "s.py", source)))


TOY_ONLY = "return {'toy': 6}[workload_name]"


@pytest.mark.parametrize(
    ("body", "changes", "devices", "expected"),
    [
        ("return 8", {}, 4, 8),
        (TOY_ONLY, {}, 2, 6),
        (TOY_ONLY, {"name": "toy_tanh"}, 1, 6),
        (TOY_ONLY, {"name": "toy_mini", "batch_size_scale": 0.5}, 1, 3),
        (TOY_ONLY, {"name": "toy_mini", "batch_size_scale": 0.01}, 1, 1),
        ("return {'toy': 6, 'toy_mini': 5}[workload_name]", {"name": "toy_mini", "batch_size_scale": 0.5}, 1, 5),
        ("return 6 if workload_name == 'toy' else None", {"name": "toy_tanh"}, 1, 6),
        ("return [][0] if 'tanh' in workload_name else 4", {"name": "toy_tanh"}, 1, 4),
        ("return __import__('numpy').int64(4)", {}, 1, 4),
    ],
)
def test_batch_size_of_a_workload(tmp_path, body, changes, devices, expected):
    size = resolve_batch_size(submission_with(tmp_path, body), definition(**changes), devices)
    assert size == expected
    assert type(size) is int


@pytest.mark.parametrize(
    ("body", "changes", "devices", "expected"),
    [
        ("return 10", {}, 4, "a batch of 10, which does not divide over 4 devices; 8 or 12 would work"),
        ("return 3", {}, 4, "devices; 4 would work"),
        (TOY_ONLY, {"name": "toy_mini", "batch_size_scale": 0.5}, 2, "= 6, times 0.5 for toy_mini, is a batch of 3"),
        ("return 0", {}, 1, "must be at least 1, got 0"),
        ("return 8.0", {}, 1, "must return an int, got 8.0"),
        ("return True", {}, 1, "must return an int, got True"),
        ("return None", {}, 1, "returned None"),
        ("raise ValueError('never heard of it')", {"name": "x"}, 1, "ValueError: never heard of it"),
        ("return undefined_name", {}, 1, "failed with NameError at"),
    ],
)
def test_an_unusable_batch_size_is_explained(tmp_path, body, changes, devices, expected):
    submission = submission_with(tmp_path, body)
    with pytest.raises(SubmissionError) as raised:
        resolve_batch_size(submission, definition(**changes), devices)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)
