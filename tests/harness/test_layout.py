import datetime
import os
import pickle
import re
import stat

import pytest

from algoperf.ownership import ForeignFilesError
from algoperf.records import layout as experiment
from algoperf.records.layout import (
    ExperimentError,
    ExperimentExistsError,
    delete_trials,
    open_experiment_dir,
    workload_folder,
)


def prepare(root, name="tuned/study_0", *, workload="wmt_mini", trials=None, overwrite=False, **options):
    options |= {"workload": workload, "framework": "pytorch", "trials": trials, "overwrite": overwrite}
    paths = open_experiment_dir(root, name, **options)
    if overwrite:
        delete_trials(paths, trials)
    return paths


def test_layout_is_that_of_algoperf(tmp_path):
    paths = prepare(tmp_path)
    assert paths.workload_dir == tmp_path / "tuned" / "study_0" / "wmt_mini_pytorch"
    assert paths.workload_dir.is_dir()
    assert list(paths.workload_dir.iterdir()) == []
    assert paths.trial_dir(1) == paths.workload_dir / "trial_1"
    assert workload_folder("wmt", "jax") == "wmt_jax"
    for number in (10, 2):
        paths.trial_dir(number).mkdir()
    (paths.workload_dir / "traces").mkdir()
    assert paths.trials() == [2, 10]
    with pytest.raises(ValueError, match="counted from 1"):
        paths.trial_dir(0)


def test_home_is_expanded_and_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert prepare("~/results", "a").workload_dir == tmp_path / "results" / "a" / "wmt_mini_pytorch"
    assert prepare("results", "b").experiment_dir == tmp_path / "results"


def test_existing_results_need_a_decision(tmp_path):
    paths = prepare(tmp_path)
    assert prepare(tmp_path) == paths, "an empty folder is in nobody's way"
    paths.trial_dir(1).mkdir()
    (paths.trial_dir(1) / "hparams.json").write_text("{}")
    with pytest.raises(ExperimentExistsError) as raised:
        prepare(tmp_path)
    for part in (str(paths.workload_dir), "--resume_last_run", "--overwrite"):
        assert part in str(raised.value)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    prepare(tmp_path, workload="ogbg_mini")

    assert prepare(tmp_path, resume=True) == paths
    assert paths.trials() == [1]
    assert prepare(tmp_path, overwrite=True, resume=True) == paths
    assert paths.trials() == []
    assert (tmp_path / "tuned" / "study_0" / "ogbg_mini_pytorch").is_dir()


def test_processes_may_share_the_trials_of_an_experiment(tmp_path):
    paths = prepare(tmp_path, trials=[1, 2])
    for number in (1, 2):
        paths.trial_dir(number).mkdir()
        (paths.trial_dir(number) / "hparams.json").write_text("{}")
    prepare(tmp_path, trials=[3])
    with pytest.raises(ExperimentExistsError, match="trial_2 exists"):
        prepare(tmp_path, trials=range(2, 4))
    prepare(tmp_path, trials=[2], overwrite=True)
    assert paths.trials() == [1]


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "place", ["trial_2/notes.txt", "trial_2/checkpoint_5/weights.npz", "trial_2/trial.json.bak", "trial_2/uv.lock"]
)
def test_overwrite_removes_what_a_run_wrote_and_refuses_before_anything_else(tmp_path, place):
    paths = prepare(tmp_path)
    written = ("trial.json", "measurements.csv", "measurements.lost-1.csv", "flags_0.json", "checkpoint_5/state/a/b")
    for number in (1, 2):
        for name in written:
            file = paths.trial_dir(number) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("")
    foreign = paths.workload_dir / place
    foreign.write_text("precious")
    before = contents(tmp_path)
    for trials in (None, [1, 2]):
        with pytest.raises(ForeignFilesError, match=rf"{foreign.name}; move them elsewhere"):
            prepare(tmp_path, overwrite=True, trials=trials)
    assert contents(tmp_path) == before
    prepare(tmp_path, overwrite=True, trials=[1])
    assert paths.trials() == [2]
    foreign.unlink()
    prepare(tmp_path, overwrite=True, trials=[2])
    assert contents(tmp_path) == {}


def test_a_name_that_is_too_long_names_the_flag(tmp_path):
    with pytest.raises(ExperimentError, match=r"File name too long; choose a shorter --experiment_name$"):
        prepare(tmp_path, "x" * 300)


def test_names_without_a_name_or_with_a_timestamp_are_fresh(tmp_path, monkeypatch):
    class Frozen(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr(experiment.datetime, "datetime", Frozen)
    names = [prepare(tmp_path, None).experiment_name for _ in range(2)]
    assert names == ["run-2026-01-02-03-04-05", "run-2026-01-02-03-04-05-2"]
    assert prepare(tmp_path, "a/b", append_timestamp=True).experiment_name == "a/b-2026-01-02-03-04-05"


@pytest.mark.parametrize("name", [None, "tuned/lr"])
def test_resuming_a_timestamped_experiment_takes_the_newest_of_this_workload(tmp_path, name):
    stem = name or "run"
    resumed = {"resume": True, "append_timestamp": name is not None}
    assert re.fullmatch(rf"{stem}-\d{{4}}(-\d\d){{5}}", prepare(tmp_path, name, **resumed).experiment_name)
    stamps = ("2996-01-02-03-04-05", "2996-01-02-03-04-05-2", "2996-01-02-03-04-05-10")
    for stamp in stamps:
        (tmp_path / f"{stem}-{stamp}" / "wmt_mini_pytorch").mkdir(parents=True)
    (tmp_path / f"{stem}-2997-01-02-03-04-05" / "wmt_mini_jax").mkdir(parents=True)
    (tmp_path / f"{stem}-other-2998-01-02-03-04-05" / "wmt_mini_pytorch").mkdir(parents=True)
    assert prepare(tmp_path, name, **resumed).experiment_name == f"{stem}-{stamps[-1]}"


@pytest.mark.parametrize("name", ["/abs", "../up", "a/../../b", "", "~/x"])
def test_a_name_stays_below_the_experiment_directory(tmp_path, name):
    with pytest.raises(ExperimentError, match="--experiment_name must be a name such as"):
        prepare(tmp_path, name)


def test_places_that_cannot_be_written_are_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExperimentError, match=r"cannot write .*file.*: Not a directory; choose another"):
        prepare(tmp_path / "file")
    folder = tmp_path / "x" / "wmt_mini_pytorch"
    folder.parent.mkdir()
    folder.write_text("")
    with pytest.raises(ExperimentError, match="is a file, expected a folder"):
        prepare(tmp_path, "x", overwrite=True)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(experiment.tempfile, "TemporaryFile", full)
    with pytest.raises(ExperimentError, match=r"^cannot write .*: No space left on device; choose another"):
        prepare(tmp_path, "y")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ExperimentError, match="Permission denied"):
        prepare(tmp_path)
