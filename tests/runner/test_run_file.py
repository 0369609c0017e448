"""`run.toml`: a trial is repeated from it, and what a person writes there is checked."""

import json
import tomllib
from pathlib import Path

import pytest
import toy_runs
from hypothesis import given
from hypothesis import strategies as st

import algoperf
from algoperf.cli import run as run_verb
from algoperf.records.layout import RUN_CONFIG_FILE
from algoperf.runner.call import run
from algoperf.runner.run_config import ConfigError
from algoperf.runner.run_file import RunFile
from algoperf.runner.settings import SETTINGS

LOSS = "validation/loss"


@pytest.mark.jax
def test_a_trial_is_repeated_from_its_file_without_the_search_space(tmp_path, capsys, monkeypatch):
    space = Path(toy_runs.space(tmp_path, {"learning_rate": {"min": 0.001, "max": 0.1, "scaling": "log"}}))
    first = run(
        registry=toy_runs.REGISTRY,
        workload="toy_mini",
        framework="jax",
        submission_path=str(toy_runs.SUBMISSIONS["jax"]),
        tuning_search_space=str(space),
        num_tuning_trials=3,
        hparam_start_index=2,
        study=1,
        experiment_dir=tmp_path / "experiments",
        experiment_name="first",
        data_dir=tmp_path / "data",
        max_global_steps=4,
        use_tensorboard=False,
    )
    trial = tmp_path / "experiments/first/toy_mini_jax/trial_3"
    space.unlink()
    monkeypatch.chdir(tmp_path)
    words = [f"--config={trial / RUN_CONFIG_FILE}", "--experiment_name=again", "--json"]
    assert run_verb.main(words, registry=toy_runs.REGISTRY) == 0
    shown = capsys.readouterr()
    [answer] = json.loads(shown.out)["result"]["trials"]
    assert Path(answer["trial_dir"]) == tmp_path / "experiments/again/toy_mini_jax/trial_3"
    record = answer["record"]
    assert (record["seed"], record["hyperparameters"]) == (first.seed, dict(first.hyperparameters))
    losses = [
        [row[LOSS] for row in toy_runs.rows(folder / "eval_measurements.csv")]
        for folder in (trial, Path(answer["trial_dir"]))
    ]
    assert losses[0] == losses[1] != []
    assert "changed since" not in shown.err


@pytest.mark.jax
def test_a_changed_submission_is_named_when_a_trial_is_repeated(tmp_path, capsys):
    submission = tmp_path / "submission.py"
    submission.write_text(toy_runs.SUBMISSIONS["jax"].read_text())
    settings = {"tuning_ruleset": "self", "max_global_steps": 1, "submission_path": str(submission)}
    [result], _ = toy_runs.run(toy_runs.config(tmp_path, "jax", **settings))
    submission.write_text(submission.read_text() + "\nCHANGED = True\n")
    words = [f"--config={result.trial_dir / RUN_CONFIG_FILE}", f"--experiment_dir={tmp_path}", "--max_global_steps=2"]
    assert run_verb.main(words, registry=toy_runs.REGISTRY) == 0
    assert "warning: submission changed since the run of" in capsys.readouterr().err
    assert not {"experiment_name", "overwrite"} & set(tomllib.loads((result.trial_dir / RUN_CONFIG_FILE).read_text()))


values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
points = st.dictionaries(
    st.sampled_from(["a", "b", "learning_rate"]), values | st.lists(values, max_size=3), min_size=1
)
seconds = st.floats(0.1, 1e6)


@given(
    st.fixed_dictionaries(
        {}, optional={"rng_seed": st.integers(0, 2**31), "rank_timeout_s": seconds, "workload": st.text()}
    ),
    st.none() | points,
)
def test_what_was_written_is_read_back(tmp_path_factory, settings, point):
    path = tmp_path_factory.mktemp("run") / RUN_CONFIG_FILE
    RunFile(settings=settings, hyperparameters=point).write(path)
    assert RunFile.read(path) == RunFile(settings=settings, hyperparameters=point)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_steps = 3", "unknown setting 'max_steps'"),
        ("data_dirr = 'x'", "did you mean data_dir"),
        ("rng_seed = '3'", "rng_seed must be of type int, got '3'"),
        ("rng_seed = true", "rng_seed must be of type int, got True"),
        ("max_global_steps = 0", "max_global_steps must be at least 1, got 0"),
        ("framework = 'tpu'", "framework must be one of jax, pytorch, got 'tpu'"),
        ("hyperparameters = 3", "to be tables"),
        ("a b", "Expected"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(text, said, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"--config={path}: ") as refusal:
        RunFile.read(path)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_paths_count_from_the_folder_of_the_file_and_modules_stay(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("submission_path = '../sources/submission.py'\ndata_dir = 'data'\n")
    assert RunFile.read(path).settings == {
        "submission_path": str(tmp_path / "../sources/submission.py"),
        "data_dir": str(tmp_path / "data"),
    }
    path.write_text("submission_path = 'reference_algorithms.nadamw.jax_submission'\n")
    assert RunFile.read(path).settings["submission_path"] == "reference_algorithms.nadamw.jax_submission"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workload": "mnist"}, "needs a workload and a framework"),
        ({"workload": "mini", "framework": "jax"}, "mini is a suite"),
        ({"workload": "mnist", "framework": "jax", "steps": 1}, "unknown setting 'steps'"),
        ({"workload": "mnist", "framework": "jax", "num_tuning_trials": 2}, "ask for 2 trials"),
        ({"workload": "mnist", "framework": "jax", "rng_seed": "one"}, "rng_seed must be of type int"),
    ],
)
def test_a_call_from_python_that_cannot_be_run_says_why(settings, said):
    with pytest.raises(ConfigError, match=said):
        algoperf.run(**settings)


def test_every_setting_explains_itself_and_its_default_fits():
    for setting in SETTINGS.values():
        assert len(setting.help) > 20
        assert setting.default is None or setting.checked(setting.default) == setting.default
