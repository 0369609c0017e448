"""Trackers get every row in order; whatever one of them does, the run and the other trackers go their way."""

import sys
import threading
import types
from pathlib import Path

import pytest

from algoperf.records.recorder import Recorder
from algoperf.records.trackers import MLFLOW, WANDB, GuardedTracker, TrackedTrial, start_trackers


class Memory:
    """Keeps what it gets; `failure` is raised, or called, by each call after the first `healthy` ones."""

    def __init__(self, failure=None, healthy=0):
        self.rows, self.num_closed, self._failure, self._healthy = [], 0, failure, healthy

    def log(self, rows):
        if self._failure is not None and self._healthy == 0:
            if callable(self._failure) and not isinstance(self._failure, type):
                self._failure()
            raise self._failure
        self._healthy -= 1
        self.rows += [(dict(row.metrics), row.global_step) for row in rows]

    def close(self):
        self.num_closed += 1


def trial(folder: Path) -> TrackedTrial:
    return TrackedTrial(trial_dir=folder, name="toy_jax", config={"path": folder, "rate": 0.1}, tags=["toy", "jax"])


def record(folder: Path, trackers) -> None:
    recorder = Recorder(folder).start(trackers=trackers)
    recorder.append_scalar_metrics({"loss": 0.5}, 3)
    recorder.append_evaluation({"validation/loss": 0.25}, 4)
    recorder.append_scalar_metrics({"loss": 0.25}, 4)
    recorder.close()
    recorder.close()


def test_rows_arrive_in_order_and_the_end_is_told_once(tmp_path):
    memory = Memory()
    record(tmp_path, [GuardedTracker("memory", memory, print)])
    assert memory.rows == [({"loss": 0.5}, 3), ({"validation/loss": 0.25}, 4), ({"loss": 0.25}, 4)]
    assert memory.num_closed == 1


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), SystemExit(3), KeyboardInterrupt(), ValueError]
)
def test_a_tracker_that_fails_is_named_once_and_hurts_nobody(tmp_path, failure):
    said, bad, good = [], Memory(failure, healthy=1), Memory()
    record(tmp_path, [GuardedTracker("bad", bad, said.append), GuardedTracker("good", good, said.append)])
    assert [step for _, step in good.rows] == [3, 4, 4]
    [line] = said
    assert line.startswith("warning: bad is left out from here on, the run continues: ")
    assert type(failure).__name__ in line or failure.__name__ in line
    assert bad.num_closed == 0
    assert len((tmp_path / "measurements.csv").read_text().splitlines()) == 4


def test_a_tracker_that_never_answers_is_left_out(tmp_path):
    said, forever = [], threading.Event()
    stuck = Memory(forever.wait)
    record(tmp_path, [GuardedTracker("stuck", stuck, said.append, patience_s=0.05)])
    forever.set()
    assert said == ["warning: stuck is left out from here on, the run continues: it did not answer for 0 s"]


def started(name: str, folder: Path) -> tuple[list[GuardedTracker], list[str]]:
    said: list[str] = []
    return start_trackers([name], trial(folder), said.append), said


@pytest.mark.parametrize(("name", "package"), [(WANDB, "wandb"), (MLFLOW, "mlflow")])
def test_a_package_that_is_missing_or_broken_is_named_for_what_it_is(name, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    trackers, [line] = started(name, tmp_path)
    assert trackers == []
    assert f"{package} is not installed: pip install 'algoperf[{package}]'" in line
    monkeypatch.delitem(sys.modules, package)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{package}.py").write_text("import no_such_dependency\n")
    assert f"{package} is installed, but no_such_dependency, which it needs, is not" in started(name, tmp_path)[1][0]
    (tmp_path / f"{package}.py").write_text("raise RuntimeError('protobuf is too old')\n")
    line = started(name, tmp_path)[1][0]
    assert line.endswith(f"{package} is installed, but cannot be imported: RuntimeError: protobuf is too old")


class FakeWandb(types.ModuleType):
    """As much of wandb as is used: an account that may be there, and settings that `wandb offline` may have written."""

    def __init__(self, *, account=False, mode="online", refuses=False):
        super().__init__("wandb")
        self.calls, self.rows, self.finished = [], [], 0
        self.login = lambda prompt: account
        self.setup = lambda: types.SimpleNamespace(settings=types.SimpleNamespace(mode=mode))
        self._refuses = refuses

    def init(self, **arguments):
        if self._refuses:
            raise RuntimeError("the server\nsays no")
        self.calls.append(arguments)
        return types.SimpleNamespace(log=lambda row, step: self.rows.append((row, step)), finish=self.finish)

    def finish(self):
        self.finished += 1


def with_wandb(monkeypatch, wandb: FakeWandb) -> FakeWandb:
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    return wandb


def test_wandb_needs_an_account_only_where_it_is_online(tmp_path, monkeypatch):
    with_wandb(monkeypatch, FakeWandb())
    assert "run `wandb login`, set WANDB_API_KEY, or choose `wandb offline`" in started(WANDB, tmp_path)[1][0]
    offline = with_wandb(monkeypatch, FakeWandb(mode="offline"))
    assert started(WANDB, tmp_path)[1] == []
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_DIR", "/elsewhere")
    assert started(WANDB, tmp_path)[1] == []
    first, second = offline.calls
    assert (first["project"], first["dir"], first["tags"]) == ("algoperf", str(tmp_path), ["toy", "jax"])
    assert first["config"] == {"path": str(tmp_path), "rate": 0.1}
    assert not {"project", "dir", "mode"} & set(second)


def test_wandb_gets_rows_and_is_finished_once_and_may_refuse(tmp_path, monkeypatch):
    wandb = with_wandb(monkeypatch, FakeWandb(account=True))
    record(tmp_path, started(WANDB, tmp_path)[0])
    assert wandb.rows == [({"loss": 0.5}, 3), ({"validation/loss": 0.25}, 4), ({"loss": 0.25}, 4)]
    assert wandb.finished == 1
    with_wandb(monkeypatch, FakeWandb(account=True, refuses=True))
    assert started(WANDB, tmp_path)[1] == [
        "warning: Weights & Biases is left out, the run continues: RuntimeError: the server says no"
    ]


def test_mlflow_gets_parameters_metrics_and_the_end(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/runs")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    trackers, said = started(MLFLOW, tmp_path)
    assert said == []
    record(tmp_path, trackers)
    client = mlflow.MlflowClient()
    [run] = client.search_runs([client.get_experiment_by_name("algoperf").experiment_id])
    assert run.data.params["rate"] == "0.1"
    assert run.info.status == "FINISHED"
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")] == [(3, 0.5), (4, 0.25)]
    assert [m.step for m in client.get_metric_history(run.info.run_id, "validation/loss")] == [4]
