"""Faults, and how a run must survive them: a typed end on record or one line, and nothing lost.

Each table row is a fault: its id, what is done, and what must be seen. The toy workload runs on the NumPy backend, in
this process or in one of its own; real frameworks only where the fault is theirs.
"""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toy_runs
from toy_runs import ROOT, endless

from algoperf.backends import base
from algoperf.records.outcome import Outcome
from algoperf.runner import summary
from algoperf.testing.fake_backend import FakeBackend

TIMEOUT_S = 60
NUMPY = "from algoperf.testing.numpy_submission import *\n"
TWO_POINTS = [{"learning_rate": 0.001}, {"learning_rate": 0.002}]


@pytest.fixture
def numpy_backend(monkeypatch):
    monkeypatch.setattr(base, "load", lambda *arguments, **options: FakeBackend())


def submission(tmp_path: Path, source: str, folder: str = "mine") -> str:
    path = tmp_path / folder / "submission.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return str(path)


def faulty(hook: str, fault: str) -> str:
    """The NumPy submission with a fault at the start of a hook."""
    positional = "workload_name" if hook == "get_batch_size" else ""
    return (
        f"{NUMPY}from algoperf.testing import numpy_submission\n"
        f"def {hook}(*{positional or 'arguments'}, **named):\n    {fault}\n"
        f"    return numpy_submission.{hook}(*{positional or 'arguments'}, **named)\n"
    )


def flags(tmp_path: Path, source: str = NUMPY, **changes):
    given = {"submission_path": submission(tmp_path, source), "max_global_steps": 5, **changes}
    return toy_runs.config(tmp_path, "jax", **given)


def trial_dir(tmp_path: Path, number: int = 1) -> Path:
    return toy_runs.trial_dir(tmp_path, "jax", number)


def record_of(tmp_path: Path, number: int = 1) -> dict:
    return json.loads((trial_dir(tmp_path, number) / "trial.json").read_text())


USER_ERROR = "from algoperf.errors import UserError; raise UserError('mine')"
RAISED = [
    # fault                        where                   code                                 what the record names
    ("exit 0 in a step", "update_params", "import sys; sys.exit(0)", "SystemExit: 0"),
    ("exit in data selection", "data_selection", "raise SystemExit('done')", "SystemExit: done"),
    ("exit before an evaluation", "prepare_for_eval", "raise SystemExit", "SystemExit"),
    ("exit at the start", "init_optimizer_state", "import sys; sys.exit(0)", "SystemExit: 0"),
    ("exit in the batch size", "get_batch_size", "import sys; sys.exit(0)", "SystemExit: 0"),
    ("its own base exception", "update_params", "raise type('Odd', (BaseException,), {})('x')", "Odd: x"),
    ("GeneratorExit", "update_params", "raise GeneratorExit", "GeneratorExit"),
    ("KeyboardInterrupt of its own", "update_params", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    ("error at the start", "init_optimizer_state", "raise KeyError('typo')", "KeyError: 'typo'"),
    ("error in the batch size", "get_batch_size", "1 / 0", "ZeroDivisionError: division by zero"),
    ("a user error at the start", "init_optimizer_state", USER_ERROR, "algoperf.errors.UserError: mine"),
    ("a user error in a step", "update_params", USER_ERROR, "algoperf.errors.UserError: mine"),
    ("a user error before an evaluation", "prepare_for_eval", USER_ERROR, "algoperf.errors.UserError: mine"),
    ("error at the import", None, "raise RuntimeError('broken')", "RuntimeError: broken"),
    ("exit at the import", None, "import sys; sys.exit(0)", "SystemExit: 0"),
    ("a missing package", None, "import not_installed_anywhere", "ModuleNotFoundError"),
    ("a user error at the import", None, USER_ERROR, "algoperf.errors.UserError: mine"),
]


@pytest.mark.parametrize(("where", "code", "named"), [row[1:] for row in RAISED], ids=[row[0] for row in RAISED])
def test_whatever_a_submission_raises_is_a_crash_on_record_and_the_study_goes_on(
    numpy_backend, tmp_path, capsys, where, code, named
):
    source = f"{code}\n" if where is None else faulty(where, code)
    if where == "prepare_for_eval":
        source = source.replace(f"return numpy_submission.{where}(*arguments, **named)", "pass")
    space = toy_runs.space(tmp_path, TWO_POINTS)
    results, _ = toy_runs.run(flags(tmp_path, source, tuning_search_space=space, num_tuning_trials=2), endless())
    assert [result.outcome for result in results] == [Outcome.CRASHED, Outcome.CRASHED]
    for number in (1, 2):
        record = record_of(tmp_path, number)
        assert record["outcome"] == "crashed"
        assert "submission.py" in record["error"]
        assert named in record["error"]
    summary.show(results)
    shown = capsys.readouterr().err
    assert named in shown
    assert str(trial_dir(tmp_path) / "trial.json") in shown
    assert all(result.outcome.is_failure for result in results)


def test_what_the_benchmark_raises_below_a_hook_is_not_the_submission_s(numpy_backend, tmp_path, monkeypatch):
    from algoperf.data.pipeline import TrainPipeline
    from algoperf.data.store import StoreError

    def damaged(self):
        raise StoreError("shard 3 is damaged")

    monkeypatch.setattr(TrainPipeline, "__next__", damaged)
    with pytest.raises(StoreError, match="shard 3 is damaged"):
        toy_runs.run(flags(tmp_path), endless())


def test_a_crash_at_the_import_of_a_resumed_trial_keeps_what_was_recorded(numpy_backend, tmp_path):
    toy_runs.run(flags(tmp_path, max_global_steps=7), endless())
    path = trial_dir(tmp_path) / "trial.json"
    path.write_text(json.dumps({**record_of(tmp_path), "outcome": "interrupted"}))
    before = record_of(tmp_path)
    broken = submission(tmp_path, "1 / 0", "broken")
    toy_runs.run(flags(tmp_path, submission_path=broken, resume_last_run=True), endless())
    after = record_of(tmp_path)
    assert after["outcome"] == "crashed"
    assert "ZeroDivisionError" in after["error"]
    assert {**after, "outcome": "", "error": ""} == {**before, "outcome": "", "error": ""}


def test_the_summary_shows_the_error_and_not_a_note_of_the_framework():
    error = (
        "Traceback (most recent call last):\n"
        '  File "mine.py", line 3, in f\n    jnp.dot(a, b)\n    ^^^^^\n'
        "TypeError: shapes differ, got (2,) and (3,).\n"
        "--------------------\n"
        "For simplicity, JAX has removed its internal frames from the traceback of the following exception.\n"
    )
    assert summary.error_line(error) == "TypeError: shapes differ, got (2,) and (3,)."


def test_the_summary_shows_the_beginning_of_a_long_error():
    assert summary.error_line("ValueError: " + "x" * 100_000) == "ValueError: " + "x" * 288 + " ..."


@pytest.mark.jax
def test_the_summary_of_a_jax_error_shows_the_error(tmp_path, capsys):
    source = toy_runs.SUBMISSIONS["jax"].read_text()
    source = source.replace("    if global_step % 10", "    jnp.dot(jnp.ones(2), jnp.ones(3))\n    if global_step % 10")
    results, _ = toy_runs.run(flags(tmp_path, source), endless())
    summary.show(results)
    shown = capsys.readouterr().err
    assert "TypeError: dot_general requires" in shown
    assert "For simplicity" not in shown


def test_what_a_kill_left_of_a_checkpoint_is_removed_at_the_next_start(numpy_backend, tmp_path):
    toy_runs.run(flags(tmp_path, max_global_steps=2), endless())
    (trial_dir(tmp_path) / "trial.json").unlink()
    left = trial_dir(tmp_path) / ".checkpoint_3.partial"
    (left / "state").mkdir(parents=True)
    (left / "state" / "half").write_bytes(b"x" * 100)
    toy_runs.run(flags(tmp_path, resume_last_run=True), endless())
    assert not left.exists()
    assert record_of(tmp_path)["outcome"] == "completed"


def test_host_generators_are_seeded_before_the_import_and_at_the_start_of_each_trial(numpy_backend, tmp_path):
    source = (
        "import random\nimport numpy\nDRAWN = [random.random(), float(numpy.random.rand())]\n"
        + faulty("init_optimizer_state", "DRAWN.extend([random.random(), float(numpy.random.rand())])")
        + "import json, pathlib\n"
        + "def prepare_for_eval(**named):\n"
        + "    pathlib.Path(__file__).with_name('drawn.json').write_text(json.dumps(DRAWN))\n"
        + "    return named['optimizer_state'], named['current_param_container'], named['model_state']\n"
    )
    drawn = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        random.seed(name)
        np.random.seed(len(name))
        toy_runs.run(flags(tmp_path / name, source, rng_seed=seed), endless())
        drawn.append(json.loads((tmp_path / name / "mine" / "drawn.json").read_text()))
    assert drawn[0] == drawn[1]
    assert all(mine != other for mine, other in zip(drawn[0], drawn[2], strict=True))


# -- in a process of its own

PROCESS = """
import sys
sys.path[:0] = [{here!r}, {root!r}]
import json, time
from pathlib import Path
import toy_runs
from algoperf import reporting
from algoperf.backends import base
from algoperf.harness.signals import StopRequestedError, StopSignals
from algoperf.runner import driver, summary
from algoperf.testing.fake_backend import FakeBackend

base.load = lambda *arguments, **options: FakeBackend()
reporting.guard_standard_streams()
changes = json.loads(sys.argv[2])
config = toy_runs.config(Path(sys.argv[1]), "jax", **changes)
with StopSignals() as stop:
    results = driver.run(config, registry=toy_runs.endless(), stop=stop)
    summary.show(results)
sys.exit(1 if results[0].outcome.is_failure else 0)
"""


def start(tmp_path: Path, source: str, *, stderr=subprocess.PIPE, environment=None, **changes) -> subprocess.Popen:
    script = tmp_path / "process.py"
    script.write_text(PROCESS.format(here=str(toy_runs.HERE), root=str(ROOT)))
    given = {"submission_path": submission(tmp_path, source), **changes}
    return subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), json.dumps(given)],
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
    )


def end(process: subprocess.Popen) -> tuple[int, str]:
    """Exit status and what was shown."""
    try:
        _, shown = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, shown or ""


SLOW = faulty("update_params", "import time; time.sleep(0.01)")
HERE = "import pathlib; pathlib.Path(__file__).with_name('here').touch()"
STUCK_IMPORT = f"{HERE}\nimport time; time.sleep({TIMEOUT_S})\n"
STUCK_START = faulty("init_optimizer_state", f"{HERE}; import time; time.sleep({TIMEOUT_S})")
STOPPED = [
    # fault                          source        signal          what must be there first
    ("SIGTERM while training", SLOW, signal.SIGTERM, None),
    ("SIGHUP while training", SLOW, signal.SIGHUP, None),
    ("Ctrl-C while training", SLOW, signal.SIGINT, None),
    ("SIGTERM at the import", STUCK_IMPORT, signal.SIGTERM, "here"),
    ("SIGHUP at the import", STUCK_IMPORT, signal.SIGHUP, "here"),
    ("Ctrl-C at the import", STUCK_IMPORT, signal.SIGINT, "here"),
    ("SIGTERM at the start", STUCK_START, signal.SIGTERM, "here"),
    ("SIGHUP at the start", STUCK_START, signal.SIGHUP, "here"),
]


@pytest.mark.parametrize(("source", "number", "first"), [row[1:] for row in STOPPED], ids=[row[0] for row in STOPPED])
def test_a_signal_ends_a_run_with_a_line_and_a_record(tmp_path, source, number, first):
    process = start(tmp_path, source)
    toy_runs.wait_for(trial_dir(tmp_path) / "checkpoint_1" if first is None else tmp_path / "mine" / first, process)
    process.send_signal(number)
    _, shown = end(process)
    record = record_of(tmp_path)
    assert record["outcome"] == "interrupted"
    assert f"{trial_dir(tmp_path)}: interrupted at step {record['global_step']}" in shown
    if first is None:
        assert (trial_dir(tmp_path) / f"checkpoint_{record['global_step']}").is_dir()
    else:
        assert f"stopped by {signal.Signals(number).name}" in shown


def test_a_hangup_that_nohup_ignores_ends_nothing(tmp_path):
    source = f"import signal; signal.raise_signal(signal.SIGHUP)\n{NUMPY}"
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start(tmp_path, source, max_global_steps=3)
    finally:
        signal.signal(signal.SIGHUP, previous)
    status, _ = end(process)
    assert (status, record_of(tmp_path)["outcome"]) == (0, "completed")


@pytest.mark.parametrize("kind", ["a full disk", "a closed pipe", "a closed stream"])
def test_a_standard_error_that_cannot_be_written_ends_nothing(tmp_path, kind):
    source = faulty("update_params", "import sys; print('mine', file=sys.stderr, flush=True)")
    if kind == "a full disk":
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        with open("/dev/full", "w") as full:
            process = start(tmp_path, source, stderr=full, max_global_steps=3)
    else:
        process = start(tmp_path, source, max_global_steps=3)
        process.stderr.close()
        process.stderr = None
    status, _ = end(process)
    assert (status, record_of(tmp_path)["outcome"]) == (0, "completed")


# -- two processes, one trial

SECOND = [
    # fault                                 flags of the second process
    ("resumed while it runs", {"resume_last_run": True}),
    ("overwritten while it runs", {"overwrite": True}),
    ("started twice", {}),
]


@pytest.mark.parametrize("changes", [row[1] for row in SECOND], ids=[row[0] for row in SECOND])
def test_a_second_process_is_refused_by_name_and_touches_nothing(tmp_path, changes):
    first = start(tmp_path, SLOW)
    toy_runs.wait_for(trial_dir(tmp_path) / "checkpoint_1", first)
    rows = (trial_dir(tmp_path) / "eval_measurements.csv").read_text()
    status, shown = end(start(tmp_path, SLOW, **changes))
    assert status != 0
    assert f"in use by process {first.pid} on " in shown.strip().splitlines()[-1]
    assert (trial_dir(tmp_path) / "eval_measurements.csv").read_text() == rows
    first.send_signal(signal.SIGTERM)
    end(first)
    assert record_of(tmp_path)["outcome"] == "interrupted"


def test_a_lock_does_not_outlive_a_killed_process(tmp_path):
    first = start(tmp_path, SLOW)
    toy_runs.wait_for(trial_dir(tmp_path) / "checkpoint_1", first)
    first.kill()
    end(first)
    status, shown = end(start(tmp_path, SLOW, resume_last_run=True, max_global_steps=5))
    assert "resumed at step 1 " in shown
    assert (status, record_of(tmp_path)["outcome"]) == (0, "completed")


def test_a_file_system_without_locks_is_a_warning(numpy_backend, tmp_path, monkeypatch):
    from algoperf.runner import trial_lock

    def refuse(self, *arguments, **options):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(trial_lock, "FileLock", type("Refusing", (trial_lock.FileLock,), {"acquire": refuse}))
    results, messages = toy_runs.run(flags(tmp_path), endless())
    assert results[0].outcome is Outcome.COMPLETED
    assert any("nothing keeps a second process out" in message for message in messages)


def test_a_run_ends_with_a_suite_that_was_killed(tmp_path):
    """The suite is another process here; what it starts learns of it through the environment."""
    from algoperf.runner import parent

    suite = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({TIMEOUT_S})"])
    environment = parent.child_environment()
    environment = {name: value.replace(str(os.getpid()), str(suite.pid)) for name, value in environment.items()}
    source = f"from algoperf.runner.parent import end_with_suite\nend_with_suite()\n{SLOW}"
    run = start(tmp_path, source, environment=environment)
    toy_runs.wait_for(trial_dir(tmp_path) / "checkpoint_1", run)
    suite.kill()
    end(run)
    suite.wait()
    assert record_of(tmp_path)["outcome"] == "interrupted"
