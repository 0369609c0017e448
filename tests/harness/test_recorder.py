import csv
import math
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algoperf.records.csv_log import CsvLog
from algoperf.records.files import RecorderError
from algoperf.records.layout import EVALUATIONS, MEASUREMENTS
from algoperf.records.recorder import NullRecorder, Recorder
from algoperf.records.trackers import TENSORBOARD, TrackedTrial, start_trackers

EVALUATION = {"validation/loss": 0.5, "test/loss": 0.6, "accumulated_submission_time": 1.25, "score": 1.25}


def table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        return list(reader.fieldnames or []), rows


def test_files_have_the_layout_of_algoperf(tmp_path):
    recorder = Recorder(tmp_path).start(preemption_count=2)
    recorder.append_scalar_metrics({"loss": 0.1, "grad_norm": 2}, 0)
    recorder.append_evaluation(EVALUATION, 1)
    recorder.append_scalar_metrics({"grad_norm": 3.5, "loss": 1 / 3}, 1)
    recorder.append_final(7.5, 2)
    recorder.close()
    header, rows = table(tmp_path / EVALUATIONS)
    assert header == sorted(header)
    assert rows == [
        {**{k: str(v) for k, v in EVALUATION.items()}, "global_step": "1", "preemption_count": "2"},
    ]
    header, rows = table(tmp_path / MEASUREMENTS)
    assert header[:3] == ["global_step", "loss", "grad_norm"]
    assert [r["global_step"] for r in rows] == ["0", "1", "1", "2"]
    assert float(rows[2]["loss"]) == 1 / 3
    assert {k: v for k, v in rows[3].items() if v} == {"score": "7.5", "global_step": "2", "preemption_count": "2"}


def test_header_is_sorted_when_an_evaluation_comes_first(tmp_path):
    recorder = Recorder(tmp_path).start()
    recorder.append_evaluation(EVALUATION, 1)
    recorder.append_scalar_metrics({"another": 1.0}, 1)
    recorder.close()
    header, rows = table(tmp_path / MEASUREMENTS)
    assert header == [*sorted([*EVALUATION, "global_step", "preemption_count"]), "another"]
    assert rows[0]["another"] == ""
    assert rows[1]["another"] == "1.0"


def test_pandas_reads_numbers_nan_infinity_and_absence(tmp_path):
    pandas = pytest.importorskip("pandas")
    recorder = Recorder(tmp_path).start()
    recorder.append_evaluation({"a": math.nan, "b": math.inf, "c": 0.1 + 0.2}, 1)
    recorder.append_evaluation({"a": 1.0, "c": 1e-300}, 2)
    recorder.close()
    frame = pandas.read_csv(tmp_path / EVALUATIONS)
    assert math.isnan(frame["a"][0])
    assert frame["b"][0] == math.inf
    assert math.isnan(frame["b"][1])
    assert list(frame["c"]) == pytest.approx([0.1 + 0.2, 1e-300], rel=1e-15)
    assert frame["global_step"].tolist() == [1, 2]
    _, rows = table(tmp_path / EVALUATIONS)
    assert (rows[0]["a"], rows[1]["b"]) == ("nan", "")


class DeviceScalar:
    """Stands for a JAX or PyTorch array with one element."""

    def item(self):
        return 0.25


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (True, "1"),
        (np.float64(0.1), "0.1"),
        (np.float32(0.5), "0.5"),
        (np.int64(4), "4"),
        (np.array(2.5), "2.5"),
        (np.array([2.5]), "2.5"),
        (DeviceScalar(), "0.25"),
    ],
)
def test_numbers_of_any_origin_are_recorded(tmp_path, value, text):
    metrics = {"x": value}
    recorder = Recorder(tmp_path).start()
    recorder.append_scalar_metrics(metrics, np.int64(1))
    recorder.close()
    assert table(tmp_path / MEASUREMENTS)[1] == [{"global_step": "1", "x": text}]
    assert list(metrics) == ["x"]
    assert metrics["x"] is value


@pytest.mark.parametrize("value", [None, "1.5", [1.0], np.zeros(2), 1j])
def test_what_is_no_number_is_named(tmp_path, value):
    recorder = Recorder(tmp_path).start()
    with pytest.raises(TypeError, match=f"metric 'x' must be a number .* got {type(value).__name__}"):
        recorder.append_scalar_metrics({"x": value}, 1)
    recorder.close()
    assert table(tmp_path / MEASUREMENTS)[1] == []


def test_a_resumed_recorder_takes_up_where_the_checkpoint_was(tmp_path):
    recorder = Recorder(tmp_path).start()
    recorder.append_scalar_metrics({"loss": 1.0}, 0)
    recorder.append_evaluation(EVALUATION, 1)
    saved = recorder.state_dict()
    assert saved == {"rows": {MEASUREMENTS: 2, EVALUATIONS: 1}}
    for step in (1, 2):
        recorder.append_scalar_metrics({"loss": float(step)}, step)
    recorder.append_evaluation(EVALUATION, 3)
    recorder.close()

    for attempt in (1, 2):
        resumed = Recorder(tmp_path)
        resumed.load_state_dict(saved)
        resumed.start(preemption_count=attempt)
        assert resumed.state_dict() == saved
        resumed.append_evaluation(EVALUATION, 2)
        resumed.close()
        assert [r["preemption_count"] for r in table(tmp_path / EVALUATIONS)[1]] == ["0", str(attempt)]
    assert [r["global_step"] for r in table(tmp_path / "measurements.lost-1.csv")[1]] == ["1", "2", "3"]
    assert [r["global_step"] for r in table(tmp_path / "eval_measurements.lost-1.csv")[1]] == ["3"]
    assert [r["preemption_count"] for r in table(tmp_path / "eval_measurements.lost-2.csv")[1]] == ["1"]


def test_a_restart_without_a_checkpoint_sets_all_rows_aside(tmp_path):
    for _ in range(2):
        recorder = Recorder(tmp_path).start()
        recorder.append_scalar_metrics({"loss": 1.0}, 0)
        recorder.close()
    assert len(table(tmp_path / MEASUREMENTS)[1]) == 1
    assert len(table(tmp_path / "measurements.lost-1.csv")[1]) == 1


def resume(folder, rows):
    recorder = Recorder(folder)
    recorder.load_state_dict({"rows": rows})
    return recorder.start()


def test_missing_rows_are_reported_and_do_not_stop_a_resume(tmp_path, caplog):
    resume(tmp_path, {MEASUREMENTS: 4, EVALUATIONS: 0}).close()
    resume(tmp_path, {MEASUREMENTS: 5, EVALUATIONS: 0}).close()
    assert "measurements.csv is missing; 4 recorded rows are lost" in caplog.text
    assert "measurements.csv has 0 rows, 5 were recorded" in caplog.text


@pytest.mark.parametrize("torn", ["3,0.", "3", "\0\0\0\0", "3,0.5,9,9\n", "\0\0\n"])
def test_a_torn_last_line_is_removed(tmp_path, torn):
    path = tmp_path / "log.csv"
    path.write_text(f"step,loss\n1,0.5\n2,nan\n{torn}")
    log = CsvLog(path)
    assert log.num_rows == 2
    log.append({"step": 3, "loss": 0.25})
    log.close()
    assert path.read_text() == "step,loss\n1,0.5\n2,nan\n3,0.25\n"


@pytest.mark.parametrize("content", ["", "step,lo", "\0\0\0"])
def test_a_file_without_a_whole_header_starts_again(tmp_path, content):
    path = tmp_path / "log.csv"
    path.write_text(content)
    log = CsvLog(path)
    log.append({"step": 3, "loss": 0.25})
    log.close()
    assert path.read_text() == "step,loss\n3,0.25\n"


NAMES = st.sampled_from(["a", "b,c", 'quo"ted', "validation/loss", "e f", "ü"])
VALUES = st.one_of(st.integers(-(10**12), 10**12), st.floats())
ROWS = st.lists(st.dictionaries(NAMES, VALUES, min_size=1), min_size=1, max_size=12)


@settings(max_examples=60)
@given(rows=ROWS, cut=st.integers(0, 400), sort=st.booleans(), flush=st.booleans())
def test_whatever_the_columns_and_wherever_the_kill_whole_rows_come_back(tmp_path_factory, rows, cut, sort, flush):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)  # waits for the disk, and changes nothing that a reader sees
        check_whole_rows_come_back(path, rows, cut, sort, flush)


def check_whole_rows_come_back(path, rows, cut, sort, flush):
    log = CsvLog(path, sort_columns=sort)
    for row in rows:
        log.append(row)
        if flush:
            log.flush()
    log.close()
    whole = path.read_bytes()
    header, written = table(path)
    assert set(header) == {name for row in rows for name in row}
    assert not sort or header == sorted(header)
    assert written == [{name: repr(row[name]) if name in row else "" for name in header} for row in rows]

    path.write_bytes(whole[:cut])
    expected = max(whole[:cut].count(b"\n") - 1, 0)
    log = CsvLog(path, sort_columns=sort)
    assert log.num_rows == expected
    log.append(rows[0])
    log.close()
    _, after = table(path)
    assert after[:expected] == written[:expected]
    assert len(after) == expected + 1


def test_a_process_killed_at_any_moment_leaves_whole_rows(tmp_path):
    code = f"""
import itertools
from pathlib import Path
from algoperf.records.recorder import Recorder
recorder = Recorder(Path({str(tmp_path)!r})).start()
print("up", flush=True)
for step in itertools.count():
    recorder.append_scalar_metrics({{"loss": 1 / (step + 3), f"new_{{min(step // 50, 40)}}": step}}, step)
    if step % 20 == 0:
        recorder.append_evaluation({{"validation/loss": 1 / (step + 3)}}, step)
"""
    for delay_s in (0.02, 0.2):
        for file in tmp_path.iterdir():
            file.unlink()
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"up\n"
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        Recorder(tmp_path).start().close()
        steps = [int(r["global_step"]) for r in table(tmp_path / EVALUATIONS)[1]]
        assert steps == [20 * i for i in range(len(steps))]
        losses = [(int(r["global_step"]), r["loss"]) for r in table(tmp_path / MEASUREMENTS)[1] if r["loss"]]
        assert losses == [(step, repr(1 / (step + 3))) for step in range(len(losses))]


def test_scalars_reach_the_file_at_the_latest_with_the_next_evaluation(tmp_path):
    recorder = Recorder(tmp_path).start()
    for step in range(100):
        recorder.append_scalar_metrics({"loss": 1.0}, step)
    recorder.append_evaluation(EVALUATION, 100)
    assert len(table(tmp_path / MEASUREMENTS)[1]) == 101
    recorder.close()


def test_a_full_disk_is_one_clear_error_and_leaves_whole_rows(tmp_path, monkeypatch):
    recorder = Recorder(tmp_path).start()
    recorder.append_evaluation(EVALUATION, 1)
    before = (tmp_path / EVALUATIONS).read_bytes()
    write = os.write

    def full(file, data):
        if len(data) < 8:
            raise OSError(28, "No space left on device")
        return write(file, bytes(data[:5]))

    with monkeypatch.context() as patch:
        patch.setattr(
            os, "write", lambda file, data: write(file, bytes(data[:5])) if len(data) > 20 else full(file, b"")
        )
        with pytest.raises(
            RecorderError,
            match=r"^cannot write .*eval_measurements.csv: No space left on device; free some",
        ):
            recorder.append_evaluation(EVALUATION, 2)
    assert (tmp_path / EVALUATIONS).read_bytes() == before
    recorder.close()
    assert [r["global_step"] for r in table(tmp_path / EVALUATIONS)[1]] == ["1", "2"]


def test_a_missing_folder_is_one_clear_error(tmp_path):
    with pytest.raises(RecorderError, match=r"^cannot write .*absent/measurements.csv: No such file or directory$"):
        Recorder(tmp_path / "absent").start()


def read_events(path: Path) -> list:
    from tensorboardX.proto.event_pb2 import Event

    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events


def test_tensorboard_gets_every_row(tmp_path):
    trial = TrackedTrial(trial_dir=tmp_path, name="n", config={}, tags=[])
    for _ in range(2):  # a second recorder in the same second must not take the first one's file
        recorder = Recorder(tmp_path).start(trackers=start_trackers([TENSORBOARD], trial, print))
        recorder.append_scalar_metrics({"loss": 0.5, "bad": math.nan}, 3)
        recorder.append_evaluation({"validation/loss": 0.25}, 4)
        recorder.append_final(7.0, 5)
        recorder.close()
    files = sorted(tmp_path.glob("events.out.tfevents.*"))
    assert len(files) == 2
    for file in files:
        points = {(v.tag, e.step): v.simple_value for e in read_events(file) for v in e.summary.value}
        assert points.pop(("bad", 3)) != points.get(("bad", 3))
        assert points == {("loss", 3): 0.5, ("validation/loss", 4): 0.25, ("score", 5): 7.0}


def test_recording_imports_no_framework(tmp_path):
    code = f"""
import sys
from pathlib import Path
from algoperf.records.recorder import Recorder
from algoperf.records.trackers import TENSORBOARD, TrackedTrial, start_trackers
assert not {{"tensorboardX", "wandb", "mlflow", "pandas"}} & set(sys.modules), "imported too early"
trial = TrackedTrial(trial_dir=Path({str(tmp_path)!r}), name="n", config={{}}, tags=[])
Recorder(trial.trial_dir).start(trackers=start_trackers([TENSORBOARD], trial, print)).close()
assert "tensorboardX" in sys.modules
assert not {{"torch", "jax", "tensorflow"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_null_recorder_has_the_same_methods():
    public = {name for name in vars(Recorder) if not name.startswith("_")}
    assert public == {name for name in vars(NullRecorder) if not name.startswith("_")}
    assert NullRecorder().start().state_dict() == {"rows": {}}
