"""An isolated run: the submission has a process of its own, which reaches nothing and works only while time counts."""

import importlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import toy_runs
from toy_runs import HERE, ROOT

from algoperf.backends.base import StateMismatchError
from algoperf.definition import Budget
from algoperf.harness.checkpoint import Checkpointer
from algoperf.harness.evaluator import Evaluator
from algoperf.harness.failure import TrainingFailedError
from algoperf.harness.signals import StopSignals
from algoperf.records.outcome import Outcome
from algoperf.runner import driver
from algoperf.runner.isolated import channel, sandbox
from algoperf.runner.isolated.channel import (
    AnswerError,
    BatchesError,
    BatchReceiver,
    BatchSender,
    open_state,
    read_arrays,
)
from algoperf.runner.isolated.isolation import Import, Isolation
from algoperf.runner.isolated.process import IsolatedProcess
from algoperf.runner.isolated.trial import Wait
from algoperf.runner.run_config import ConfigError, RunConfig

STEPS = 20
SUBMISSIONS = {**toy_runs.SUBMISSIONS, "pytorch": HERE / "submissions/torch_plain.py"}
METRICS = ("train/loss", "validation/loss", "test/loss")
FRAMEWORKS = [pytest.param("jax", marks=pytest.mark.jax), pytest.param("pytorch", marks=pytest.mark.torch)]


def is_available() -> bool:
    try:
        sandbox.makes_user_namespace()
    except ConfigError:
        return False
    return True


needs_namespaces = pytest.mark.skipif(not is_available(), reason="namespaces are not available")

REACH = """
import json, os, socket, sys
def can(action, *arguments):
    try:
        action(*arguments)
        return True
    except OSError:
        return False
def write(path):
    open(path, 'w').close()
hidden, temporary, elsewhere, port = sys.argv[1:]
print(json.dumps({
    'hidden': os.listdir(hidden),
    'write hidden': can(write, hidden + '/a'),
    'write temporary': can(write, temporary + '/a'),
    'write elsewhere': can(write, elsewhere + '/a'),
    'network': can(socket.create_connection, ('127.0.0.1', int(port)), 1),
    'undo': os.system('umount ' + hidden + ' 2>/dev/null') == 0,
    'undo in further namespaces': os.system('unshare -Urm umount ' + hidden + ' 2>/dev/null') == 0,
    'remount': os.system('mount -o remount,bind,rw / 2>/dev/null') == 0,
    'processes': sorted(int(name) for name in os.listdir('/proc') if name.isdigit())[:1],
    'parent': os.getppid(),
}))
"""


@needs_namespaces
def test_a_sandbox_hides_folders_and_keeps_from_writing_and_from_the_network(tmp_path, monkeypatch):
    hidden, temporary, _ = folders = [tmp_path / name for name in ("my data", "temporary", "elsewhere")]
    for folder in folders:
        folder.mkdir()
        (folder / "secret").write_text("1")
    monkeypatch.chdir(hidden)
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = [sys.executable, "-c", REACH, *map(str, folders), str(server.getsockname()[1])]
        done = subprocess.run(
            sandbox.command(words, hidden=[hidden], temporary=temporary), capture_output=True, text=True, timeout=60
        )
    assert json.loads(done.stdout) == {
        "hidden": [],
        "write hidden": False,
        "write temporary": True,
        "write elsewhere": False,
        "network": False,
        "undo": False,
        "undo in further namespaces": False,
        "remount": False,
        "processes": [1],
        "parent": 0,
    }
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["secret"] * 3


@needs_namespaces
def test_a_sandbox_ends_with_the_process_that_made_it(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = (
        "import os, signal, subprocess, sys, time, psutil\n"
        "from algoperf.runner.isolated import sandbox\n"
        f"p = subprocess.Popen(sandbox.command(['sleep', '60'], temporary=sandbox.Path({str(tmp_path)!r})))\n"
        "while not any('sleep' in c.cmdline()[:1] for c in psutil.Process(p.pid).children()):\n    time.sleep(0.02)\n"
        "[child] = psutil.Process(p.pid).children()\nchild.suspend()\n"
        "print(child.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment)
    pid, deadline_s = int(done.stdout), time.monotonic() + 20
    while psutil.pid_exists(pid) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert not psutil.pid_exists(pid)


HOSTILE = """
import glob, socket, subprocess, threading, time

_honest = update_params
_FOLDERS, _PORT = {folders!r}, {port}


def _fails(action):
    try:
        action()
        return 0
    except OSError:
        return 1


def _spin():
    while True:
        sum(range(1000))


def _attack(workload):
    from algoperf.harness.clock import Clock
    from algoperf.harness.evaluator import Evaluator
    from algoperf.records.recorder import Recorder

    answers = {{
        "files_seen": sum(len(glob.glob(folder + "/**", recursive=True)) - 1 for folder in _FOLDERS),
        "cannot_write": min(_fails(lambda: open(folder + "/forged.csv", "w")) for folder in _FOLDERS),
        "no_network": _fails(lambda: socket.create_connection(("127.0.0.1", _PORT), 1)),
    }}
    workload.metrics_logger.append_scalar_metrics(answers, 0)
    threading.Thread(target=_spin, daemon=True).start()
    subprocess.Popen(["sh", "-c", "while :; do :; done"])
    time.monotonic = lambda: 0.0
    Clock.submission_time_s = lambda self: 0.0
    Clock.ledger_s = lambda self: dict.fromkeys(self._seconds, 0.0)
    Evaluator.evaluate = lambda self, params, model_state: dict.fromkeys(("validation/loss", "test/loss"), -2.0)
    Recorder.append_evaluation = lambda self, row, global_step: None


def update_params(*arguments, **named):
    if named["global_step"] == 0:
        _attack(named["workload"])
    return _honest(*arguments, **named)
"""


@pytest.fixture(scope="module")
def honest_rows(tmp_path_factory):
    """Evaluations of an honest run without isolation, by framework; made once."""
    made: dict[str, list[dict[str, str]]] = {}

    def rows(framework: str) -> list[dict[str, str]]:
        if framework not in made:
            folder = tmp_path_factory.mktemp(framework)
            toy_runs.run(config(folder, framework, isolated=False), toy_runs.endless())
            made[framework] = toy_runs.rows(toy_runs.trial_dir(folder, framework) / "eval_measurements.csv")
        return made[framework]

    return rows


def config(tmp_path: Path, framework: str, **flags) -> RunConfig:
    given = {"isolated": True, "calibration": "off", "max_global_steps": STEPS}
    given |= {"submission_path": str(SUBMISSIONS[framework]), **flags}
    return toy_runs.config(tmp_path, framework, **given)


@needs_namespaces
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_attacks_have_no_effect(tmp_path, framework, honest_rows, monkeypatch):
    numbers: list[int] = []
    honest = honest_rows(framework)[0]
    evaluate = Evaluator.evaluate

    def watched(self, params, model_state):
        [outer] = [p for p in psutil.Process().children(recursive=True) if p.name() == "unshare"]
        inside = outer.children(recursive=True)
        before = [p.cpu_times()[:2] for p in inside]
        time.sleep(0.05)
        assert {p.status() for p in inside} == {psutil.STATUS_STOPPED}
        assert [p.cpu_times()[:2] for p in inside] == before
        numbers.append(len(inside))
        stop.received = "SIGTERM" if len(numbers) == 3 else None
        return evaluate(self, params, model_state)

    monkeypatch.setattr(Evaluator, "evaluate", watched)
    folders = [str(tmp_path / "data"), str(tmp_path / "experiments")]
    with socket.create_server(("127.0.0.1", 0)) as server, StopSignals() as stop:
        text = SUBMISSIONS[framework].read_text() + HOSTILE.format(folders=folders, port=server.getsockname()[1])
        submission = tmp_path / "submission.py"
        submission.write_text(text)
        registry = toy_runs.endless(budget=Budget(max_runtime_s=60, eval_period_s=0.3, step_hint=100))
        chosen = config(tmp_path, framework, submission_path=str(submission), max_global_steps=None)
        [result] = driver.run(chosen, registry=registry, report=lambda text: None, stop=stop)
    assert result.outcome is Outcome.INTERRUPTED, result.record.error
    trial = toy_runs.trial_dir(tmp_path, framework)
    rows = toy_runs.rows(trial / "eval_measurements.csv")
    assert {name: rows[0][name] for name in METRICS} == {name: honest[name] for name in METRICS}
    times = [float(row["accumulated_submission_time"]) for row in rows]
    assert len(times) == 3
    assert all(0.3 <= after - before < 3 for before, after in itertools.pairwise(times))
    answers = [row for row in toy_runs.rows(trial / "measurements.csv") if row["files_seen"]]
    assert [(row["files_seen"], row["cannot_write"], row["no_network"]) for row in answers] == [("0", "1", "1")]
    assert numbers == [2] * len(rows)  # the submission and the process that it left working
    assert not list(tmp_path.rglob("forged.csv"))


class StopAfterCheckpoint(StopSignals):
    """A signal that comes once a checkpoint is written."""

    def arm(self, monkeypatch) -> None:
        save = Checkpointer.save

        def saved(checkpointer, step, run_state):
            save(checkpointer, step, run_state)
            self.received = "SIGTERM"

        monkeypatch.setattr(Checkpointer, "save", saved)


@needs_namespaces
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_interrupted_and_resumed_run_has_the_rows_of_one_without_isolation(
    tmp_path, framework, honest_rows, monkeypatch
):
    registry = toy_runs.endless()
    with monkeypatch.context() as patched, StopAfterCheckpoint() as stop:
        stop.arm(patched)
        [result] = driver.run(config(tmp_path, framework), registry=registry, report=lambda text: None, stop=stop)
    assert result.outcome is Outcome.INTERRUPTED
    assert result.record.global_step < STEPS
    with pytest.raises(StateMismatchError, match="with --isolated"):
        driver.run(config(tmp_path, framework, isolated=False, resume_last_run=True), registry=registry)
    [result], messages = toy_runs.run(config(tmp_path, framework, resume_last_run=True), registry)
    assert result.outcome is Outcome.COMPLETED, result.record.error
    assert any("resumed at step" in message for message in messages)
    trial = toy_runs.trial_dir(tmp_path, framework)
    rows, expected = toy_runs.rows(trial / "eval_measurements.csv"), honest_rows(framework)
    assert [row["global_step"] for row in rows] == ["1", str(STEPS)]
    assert [[row[name] for name in METRICS] for row in rows] == [[row[name] for name in METRICS] for row in expected]
    assert [row["global_step"] for row in toy_runs.rows(trial / "measurements.csv") if row["loss"]] == ["0", "10"]


class FakeTime:
    """A clock and a schedule with so much time left."""

    budget_s, spent_s, seconds_to_evaluation = 10.0, 0.0, 4.0

    def submission_time_s(self):
        return self.spent_s

    def seconds_left(self, elapsed_s):
        return self.seconds_to_evaluation - elapsed_s


@pytest.mark.parametrize(
    ("spent_s", "stopped", "expected"),
    [
        (0.0, False, (0.5, False)),
        (3.9, False, (pytest.approx(0.1), False)),
        (4.0, False, (0.5, True)),
        (0.0, True, (0.5, True)),
        (69.0, False, (0.5, True)),
        (71.0, False, (None, True)),
    ],
)
def test_the_process_is_asked_to_stop_when_time_is_up_and_ended_when_it_does_not(spent_s, stopped, expected):
    fake, stop, descriptor = FakeTime(), StopSignals(), os.memfd_create("page")
    fake.spent_s, stop.received = spent_s, "SIGTERM" if stopped else None
    page = channel.Page.clear(descriptor)
    run_state = SimpleNamespace(clock=fake, schedule=fake, stopping=fake)
    wait = Wait(run_state, page, stop, evaluates=True)
    assert (wait(), page.is_set()) == expected
    assert (wait.failure and wait.failure.outcome) == (Outcome.OUT_OF_TIME if expected[0] is None else None)
    os.close(descriptor)


@pytest.mark.jax
def test_batches_arrive_as_they_were_sent():
    import jax

    small = {"inputs": (np.arange(6.0).reshape(2, 3), np.zeros((2, 0), np.int8)), "weights": np.ones((), np.float16)}
    large = {"inputs": np.arange(300_000, dtype=np.int64), "targets": np.array([True, False])[::-1]}
    batches = [small, small, large, large, large, {**small, "weights": np.float16(2)}]
    ends, memory = socket.socketpair(), [os.memfd_create("batches") for _ in range(2)]
    sender, receiver = BatchSender(ends[0], memory), BatchReceiver(ends[1], memory)

    def send() -> None:
        for batch in [*batches, None, BatchesError("the disk is gone")]:
            sender.send(batch)

    thread = threading.Thread(target=send)
    thread.start()
    for batch in batches:
        received = receiver.receive()
        assert jax.tree.structure(received) == jax.tree.structure(batch)
        for got, expected in zip(jax.tree.leaves(received), jax.tree.leaves(batch), strict=True):
            np.testing.assert_array_equal(got, expected, strict=True)
            got[...] = 0  # is memory of its own
    assert receiver.receive() is None
    with pytest.raises(BatchesError, match="the disk is gone"):
        receiver.receive()
    thread.join()
    for end in ends:
        end.close()
    for descriptor in memory:
        os.close(descriptor)


SPEAKER = """
import json, os, socket, struct, sys, time
control, data, page, model, state, *_ = map(int, sys.argv[-1].split(","))
connection = socket.socket(fileno=control)
def answer(text):
    connection.sendall(struct.pack("<Q", len(text)) + text)
connection.recv(1)
"""


def speaker(monkeypatch, code: str) -> IsolatedProcess:
    """A process that answers the first request with `code` instead of a submission's."""
    command = sandbox.command
    monkeypatch.setattr(
        sandbox, "command", lambda words, **options: command([words[0], "-c", SPEAKER + code, words[-1]], **options)
    )
    return IsolatedProcess([])


@needs_namespaces
@pytest.mark.parametrize(
    ("code", "outcome", "text"),
    [
        ("os._exit(3)", Outcome.CRASHED, r"ended without an answer \(exit status 3\)"),
        ("answer(b'[1]')", Outcome.CRASHED, "no JSON object"),
        ("answer(b'[' * 100000)", Outcome.CRASHED, "no JSON"),
        ("connection.sendall(struct.pack('<Q', 2**40))", Outcome.CRASHED, "1099511627776 bytes"),
        ('answer(b\'{"failure": "completed", "error": "all is well"}\')', Outcome.CRASHED, "all is well"),
        ('answer(b\'{"failure": "out_of_memory", "error": "too large"}\')', Outcome.OUT_OF_MEMORY, "too large"),
        ('answer(b\'{"refused": "no"}\')', Outcome.CRASHED, "no"),
        ("connection.sendall(struct.pack('<Q', 9)); time.sleep(60)", Outcome.CRASHED, "only a part"),
        ("time.sleep(60)", Outcome.CRASHED, "gave no answer to 'train'"),
    ],
)
def test_what_a_process_answers_ends_a_trial_in_a_typed_way(monkeypatch, code, outcome, text):
    with speaker(monkeypatch, code + "\ntime.sleep(60)") as process:
        waits = iter([1.0])
        monkeypatch.setattr(channel, "_MESSAGE_S", 1.0)
        with pytest.raises(TrainingFailedError, match=text) as raised:
            process.request("train", wait_s=lambda: next(waits, None) if code.startswith("time") else 20.0)
    assert raised.value.outcome is outcome


@needs_namespaces
def test_everything_that_a_process_started_is_stopped_and_ends(monkeypatch):
    code = (
        "for _ in range(3):\n    if os.fork() == 0:\n        os.setsid()\n        while True: pass\n"
        "os.ftruncate(model, 3)\nos.ftruncate(state, 10**12)\nanswer(b'{}')\nwhile True: pass"
    )
    with speaker(monkeypatch, code) as process:
        assert process.request("train", wait_s=lambda: 20.0) == {}
        process.freeze()
        inside = psutil.Process(process._outer.pid).children(recursive=True)
        before = [p.cpu_times()[:2] for p in inside]
        time.sleep(0.1)
        assert [p.status() for p in inside] == [psutil.STATUS_STOPPED] * 4
        assert [p.cpu_times()[:2] for p in inside] == before
        with pytest.raises(AnswerError, match="fewer parameters"):
            read_arrays(process.model, {"weights": 4})
        with pytest.raises(AnswerError, match="most of which are not there"):
            open_state(process.state)
    _, alive = psutil.wait_procs(inside, timeout=20)
    assert alive == []


def test_what_cannot_be_isolated_is_refused_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="which the submission needs, lies in it"):
        sandbox.folders_to_hide([tmp_path], [tmp_path / "submission.py"])
    with pytest.raises(ConfigError, match="capture_jax_trace"):
        config(tmp_path, "jax", capture_jax_trace=True)
    with pytest.raises(ConfigError, match="needs the path"):
        config(tmp_path, "jax", submission_path="reference_algorithms.nadamw.jax_submission")
    with pytest.raises(ConfigError, match="--step_costs"):
        config(tmp_path, "jax", step_costs="costs.json", calibration="auto")
    sandbox.makes_user_namespace.cache_clear()
    monkeypatch.setattr(sandbox, "command", lambda words, **options: ["false"])
    try:
        with pytest.raises(ConfigError, match="this machine refuses both"):
            sandbox.makes_user_namespace()
        monkeypatch.setattr(sandbox, "_PROGRAMS", ("no_such_program",))
        with pytest.raises(ConfigError, match="needs no_such_program of util-linux"):
            sandbox.makes_user_namespace()
    finally:
        sandbox.makes_user_namespace.cache_clear()


@needs_namespaces
def test_no_file_next_to_a_submission_is_imported_by_the_harness(tmp_path, monkeypatch):
    submission = tmp_path / "submission.py"
    submission.write_text("import helper_of_submission\n")
    (tmp_path / "helper_of_submission.py").write_text("raise SystemExit\n")
    (tmp_path / "experiments").mkdir()
    job = Import(config=config(tmp_path, "jax"), registry=toy_runs.REGISTRY, definition=None, seed=0)
    monkeypatch.setattr(Isolation, "_start", lambda self: {"batch_size": 8})
    isolation = Isolation(job, submission, [tmp_path / "experiments"])
    loaded, _ = isolation.load()
    assert list(loaded.source_files) == ["helper_of_submission.py", "submission.py"]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("helper_of_submission")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="run it from another working directory"):
        Isolation(job, submission, [])


def test_links_lead_to_folders_that_are_hidden_too(tmp_path):
    data, store, deeper = tmp_path / "data", tmp_path / "disk/store", tmp_path / "data/deeper"
    for folder in (store, deeper):
        folder.mkdir(parents=True)
    (data / "link").symlink_to(store)
    assert sandbox.folders_to_hide([data, deeper, tmp_path / "missing"], []) == [data.resolve(), store.resolve()]
