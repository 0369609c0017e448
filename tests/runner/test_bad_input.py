"""Mistakes a person can make: one clear line, a non-zero exit, and nothing lost."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import toy_runs
from toy_runs import ROOT, config, endless, run, trial_dir

from algoperf.errors import UserError
from algoperf.records.outcome import Outcome
from algoperf.runner.run_config import RunConfig

FRAMEWORKS = [pytest.param("jax", marks=pytest.mark.jax), pytest.param("pytorch", marks=pytest.mark.torch)]
both = pytest.mark.parametrize("framework", FRAMEWORKS)


def command(tmp_path, *flags, workload="mnist_mini"):
    return subprocess.run(
        [
            sys.executable,
            str(ROOT / "submission_runner.py"),
            f"--workload={workload}",
            "--framework=jax",
            f"--data_dir={tmp_path / 'data'}",
            f"--experiment_dir={tmp_path / 'experiments'}",
            *flags,
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def test_unknown_workload_is_one_line_with_a_suggestion_and_a_non_zero_exit(tmp_path):
    done = command(tmp_path, workload="mnits_mini")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        line for line in done.stderr.strip().splitlines() if line.startswith("error: ")
    ]
    assert "mnist_mini" in done.stderr
    assert "did you mean" in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tuning_ruleset=self", "--tuning_search_space=x.json"], "takes no --tuning_search_space"),
        (["--hparam_start_index=3"], "select no trial"),
        (["--num_tuning_trials=5", "--hparam_start_index=2", "--hparam_end_index=2"], "select no trial"),
        (["--submission_path=missing.py"], "missing.py"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_flags_that_make_no_sense(tmp_path, flags, message):
    done = command(tmp_path, *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "experiments").exists()


def refused(tmp_path, framework="jax", registry=toy_runs.REGISTRY, **flags) -> str:
    """The message of a run that is refused; it must be a single line unless it explains a dataset."""
    with pytest.raises(UserError) as refusal:
        run(config(tmp_path, framework, **flags), registry)
    return str(refusal.value)


@pytest.mark.jax
def test_missing_full_dataset_says_how_to_get_it(tmp_path):
    message = refused(tmp_path, workload="toy", data="full")
    assert "no prepared data for toy" in message
    assert len(message.splitlines()) > 1


@pytest.mark.jax
def test_missing_full_dataset_runs_the_mini_under_its_own_name(tmp_path):
    [result], messages = run(config(tmp_path, "jax", workload="toy", max_global_steps=3))
    assert result.record.workload == "toy_mini"
    assert result.trial_dir == trial_dir(tmp_path, "jax")
    assert any("runs" in text or "uses toy_mini" in text for text in messages)


@pytest.mark.jax
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "JSON"),
        ('{"learning_rate": {"min": 2, "max": 1, "scaling": "linear"}}', "learning_rate"),
        ('{"learning_rate": {"min": 0, "max": 1, "scaling": "log"}}', "learning_rate"),
        ('{"learning_rate": {"feasible_points": []}}', "learning_rate"),
        ('[{"a": 1}, {"b": 1}]', "a"),
    ],
)
def test_malformed_search_space(tmp_path, content, words):
    path = tmp_path / "bad.json"
    path.write_text(content)
    message = refused(tmp_path, tuning_search_space=str(path))
    assert words in message
    assert "bad.json" in message


@pytest.mark.jax
def test_a_missing_function_is_refused_before_anything_is_deleted_or_prepared(tmp_path):
    path = tmp_path / "submission.py"
    path.write_text("def get_batch_size(workload_name): return 8")
    kept = trial_dir(tmp_path, "jax") / "hparams.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    assert "missing function update_params" in refused(tmp_path, submission_path=str(path), overwrite=True)
    assert kept.is_file()
    assert not (tmp_path / "data").exists()


@pytest.mark.jax
def test_wrong_signature_names_the_argument(tmp_path):
    source = (
        toy_runs.SUBMISSIONS["jax"]
        .read_text()
        .replace("    global_step,\n    rng,\n    train_state", "    rng,\n    tr")
    )
    path = tmp_path / "submission.py"
    path.write_text(source)
    message = refused(tmp_path, submission_path=str(path))
    assert "update_params" in message
    assert "global_step" in message


@pytest.mark.jax
def test_indivisible_batch_size_says_what_would_work(tmp_path):
    script = f"""
import toy_runs
from pathlib import Path
source = toy_runs.SUBMISSIONS["jax"].read_text().replace("return 16", "return 15")
path = Path("odd.py"); path.write_text(source)
toy_runs.run(toy_runs.config(Path({str(tmp_path)!r}), "jax", submission_path=str(path)))
"""
    done = toy_runs.run_in_process(script, tmp_path, env={"XLA_FLAGS": "--xla_force_host_platform_device_count=2"})
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "SubmissionError" in last
    assert "14" in last
    assert "16" in last


@both
def test_existing_experiment_needs_a_decision(framework, tmp_path):
    run(config(tmp_path, framework, max_global_steps=2), endless())
    before = sorted(path.name for path in trial_dir(tmp_path, framework).iterdir())
    message = refused(tmp_path, framework)
    assert "--resume_last_run" in message
    assert "--overwrite" in message
    assert sorted(path.name for path in trial_dir(tmp_path, framework).iterdir()) == before
    [result], _ = run(config(tmp_path, framework, max_global_steps=3, overwrite=True), endless())
    assert result.record.global_step == 3


@pytest.mark.jax
def test_unwritable_experiment_dir(tmp_path):
    (tmp_path / "experiments").write_text("a file is in the way")
    assert "experiments" in refused(tmp_path)


@both
def test_full_disk_ends_the_run_and_keeps_earlier_checkpoints(framework, tmp_path, monkeypatch):
    run(config(tmp_path, framework, max_global_steps=5), endless())
    folder = trial_dir(tmp_path, framework)
    (folder / "trial.json").unlink()
    from algoperf.harness import checkpoint

    def no_space(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_manifest", no_space)
    message = refused(tmp_path, framework, registry=endless(), max_global_steps=9, resume_last_run=True)
    assert "No space left on device" in message
    assert (folder / "checkpoint_5" / "manifest.json").is_file()


@both
def test_damage_that_a_run_finds_is_no_crash_of_the_submission(framework, tmp_path, monkeypatch):
    run(config(tmp_path, framework, max_global_steps=1), endless())
    monkeypatch.setattr("algoperf.data.array_source.ArraySource.read", lambda self, request: {}["damaged offset"])
    message = refused(tmp_path, framework, registry=endless(), max_global_steps=9, overwrite=True)
    assert message.startswith("reading the data failed: KeyError: 'damaged offset'")
    assert "--verify" in message
    assert len(message.splitlines()) == 1
    assert not (trial_dir(tmp_path, framework) / "trial.json").exists()


@both
def test_every_checkpoint_damaged_starts_again_and_says_so(framework, tmp_path):
    run(config(tmp_path, framework, max_global_steps=5), endless())
    folder = trial_dir(tmp_path, framework)
    for manifest in folder.glob("checkpoint_*/manifest.json"):
        manifest.write_text("{")
    (folder / "trial.json").unlink()
    [result], messages = run(config(tmp_path, framework, max_global_steps=6, resume_last_run=True), endless())
    assert any("starting this trial again" in message for message in messages)
    assert result.record.global_step == 6


OUT_OF_MEMORY = {
    "jax": "jnp.zeros((1 << 45,), jnp.float32).block_until_ready()",
    "pytorch": "torch.zeros(1 << 45)",
}


@both
def test_out_of_memory_in_training(framework, tmp_path):
    source = toy_runs.SUBMISSIONS[framework].read_text()
    source = source.replace(
        "    if global_step % 10",
        f"    if global_step == 4:\n        {OUT_OF_MEMORY[framework]}\n    if global_step % 10",
    )
    path = tmp_path / "hungry.py"
    path.write_text(source)
    [result], _ = run(config(tmp_path, framework, submission_path=str(path)), endless())
    assert result.outcome is Outcome.OUT_OF_MEMORY
    assert result.record.error


@both
def test_a_crash_keeps_the_logs_and_names_the_line(framework, tmp_path):
    source = toy_runs.SUBMISSIONS[framework].read_text()
    source = source.replace(
        "    if global_step % 10", "    if global_step == 4:\n        raise KeyError('typo')\n    if global_step % 10"
    )
    path = tmp_path / "crashing.py"
    path.write_text(source)
    [result], _ = run(config(tmp_path, framework, submission_path=str(path)), endless())
    assert result.outcome is Outcome.CRASHED
    assert "crashing.py" in result.record.error
    assert len(toy_runs.rows(trial_dir(tmp_path, framework) / "eval_measurements.csv")) == 1


@both
def test_unsavable_optimizer_state_names_the_entry(framework, tmp_path):
    source = toy_runs.SUBMISSIONS[framework].read_text()
    if framework == "jax":
        source = source.replace(
            "    return (state, update_fn), params",
            "    return ({'momenta': state, 'helper': object()}, update_fn), params",
        )
    else:
        source = source.replace('        "scheduler":', '        "helper": object(),\n        "scheduler":')
    path = tmp_path / "unsavable.py"
    path.write_text(source)
    message = refused(tmp_path, framework, registry=endless(), submission_path=str(path))
    assert "helper" in message


@both
def test_sigterm_writes_a_checkpoint_and_the_run_goes_on_from_it(framework, tmp_path):
    script = f"""
import os, signal, threading, time
import toy_runs
from pathlib import Path

def stop_when_training():
    folder = toy_runs.trial_dir(Path({str(tmp_path)!r}), {framework!r})
    while not (folder / "checkpoint_1").is_dir():
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=stop_when_training, daemon=True).start()
config = toy_runs.config(Path({str(tmp_path)!r}), {framework!r}, resume_last_run=True)
results, _ = toy_runs.run(config, toy_runs.endless())
print(results[0].outcome, results[0].record.global_step)
os._exit(0)
"""
    done = toy_runs.run_in_process(script, tmp_path, env={})
    assert done.returncode == 0, done.stderr
    outcome, step = done.stdout.split()
    assert outcome == "interrupted"
    record = json.loads((trial_dir(tmp_path, framework) / "trial.json").read_text())
    assert record["outcome"] == "interrupted"
    assert (trial_dir(tmp_path, framework) / f"checkpoint_{step}").is_dir()
    [result], messages = run(
        config(tmp_path, framework, resume_last_run=True, max_global_steps=int(step) + 5), endless()
    )
    assert any(f"resumed at step {step} " in message for message in messages)
    assert result.record.global_step == int(step) + 5


@pytest.mark.parametrize(
    ("workload", "flag"),
    [
        ("mini_qualification", "--overwrite"),
        ("mini_qualification", "--hparam_start_index=0"),
        ("mini_qualification", "--study=0"),
        ("mnist_mini", "--num_studies=2"),
        ("mnist_mini", "--launcher=torchrun"),
        ("mnist_mini", "--dry_run"),
    ],
)
def test_a_flag_that_would_be_ignored_is_refused_before_anything_starts(tmp_path, workload, flag):
    done = command(tmp_path, flag, workload=workload)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {flag.partition('=')[0]} is for s")
    assert workload in done.stderr
    assert not (tmp_path / "experiments").exists()


@pytest.mark.parametrize(
    ("workload", "flags", "words"),
    [
        ("mini_qualification", ["--launcher=torchrun 'x"], "--launcher=torchrun 'x: No closing quotation"),
        ("mini_qualification", ["--tuning_ruleset=self", "--num_tuning_trials=4"], "--num_tuning_trials=4: "),
        ("mnist_mini", ["--tuning_ruleset=self", "--hparam_start_index=2"], "--hparam_start_index=2: "),
    ],
)
def test_a_flag_that_makes_no_sense_is_one_line(tmp_path, workload, flags, words):
    done = command(tmp_path, *flags, workload=workload)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {words}")
    assert done.stderr.count("\n") == 1


@pytest.mark.torch
def test_a_finished_trial_of_other_hyperparameters_is_named(tmp_path):
    search_space = tmp_path / "other.json"
    search_space.write_text('[{"learning_rate": 0.25}]')
    run(config(tmp_path, "pytorch", max_global_steps=2), endless())
    for flags, is_other in (({}, False), ({"tuning_search_space": str(search_space)}, True)):
        _, messages = run(config(tmp_path, "pytorch", resume_last_run=True, **flags), endless())
        [line] = [message for message in messages if "not run again" in message]
        assert ("with other hyperparameters" in line) == line.startswith("warning: ") == is_other


def test_nothing_prompts(tmp_path):
    """With standard input closed, a run in an existing folder is refused at once."""
    (tmp_path / "experiments" / "here" / "mnist_mini_jax" / "trial_1").mkdir(parents=True)
    (tmp_path / "experiments" / "here" / "mnist_mini_jax" / "trial_1" / "hparams.json").write_text("{}")
    done = command(tmp_path, "--experiment_name=here")
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert os.path.exists(tmp_path / "experiments" / "here" / "mnist_mini_jax" / "trial_1" / "hparams.json")


def test_an_empty_flag_was_not_given():
    values = {
        "workload": "toy_mini",
        "framework": "jax",
        "submission_path": "",
        "tuning_search_space": "",
        "experiment_dir": "",
        "experiment_name": "",
        "data_dir": "",
        "imagenet_v2_data_dir": "",
        "librispeech_tokenizer_vocab_path": "",
    }
    given = RunConfig.from_flags(values)
    absent = RunConfig.from_flags({"workload": "toy_mini", "framework": "jax"})
    assert dataclasses.replace(given, flag_values={}) == dataclasses.replace(absent, flag_values={})
