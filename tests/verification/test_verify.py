"""A finished trial is confirmed as it is, and contradicted once something in it is forged."""

import csv
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_trials import REGISTRY, SUBMISSIONS, in_this_process, run_toy

from algoperf.harness.checkpoint import write_manifest
from algoperf.records.verification import Answer, Verification, VerificationVerdict
from algoperf.runner.child import ChildError, ask
from algoperf.verification.trial_check import VerificationPlan, verify_trial
from algoperf.verify import main

FRAMEWORKS = (pytest.param("jax", marks=pytest.mark.jax), pytest.param("pytorch", marks=pytest.mark.torch))


@pytest.fixture(scope="module", params=FRAMEWORKS)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy run to its target, with every checkpoint."""
    return run_toy(tmp_path_factory.mktemp("verify"), request.param)


@pytest.fixture
def trial(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "trial_1")


def verify(trial: Path, finished: Path, **fields) -> Verification:
    plan = {"data_dir": finished.parents[3] / "data", "registry": REGISTRY, "ask": in_this_process, "replay_steps": 3}
    return verify_trial(trial, VerificationPlan(**{**plan, **fields}))


def contradicted(verification: Verification) -> set[str]:
    return {check.name for check in verification.checks if check.answer is Answer.CONTRADICTED}


def edit_rows(path: Path, edit: Callable[[list[dict]], None]) -> None:
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = list(rows[0])
    edit(rows)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)


def edit_json(path: Path, edit: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def last_checkpoint(trial: Path) -> Path:
    return max(trial.glob("checkpoint_*"), key=lambda path: int(path.name.partition("_")[2]))


def set_last(name: str, value: str) -> Callable[[list[dict]], None]:
    return lambda rows: rows[-1].update({name: value})


def test_an_honest_trial_is_verified_and_the_verdict_is_kept_with_it(trial: Path, finished: Path) -> None:
    verification = verify(trial, finished)
    assert verification.verdict is VerificationVerdict.VERIFIED, verification.reasons(*Answer)
    assert {check.name for check in verification.checks} >= {"last evaluation", "evaluation at the target", "replay"}
    verification.write(trial)
    again = Verification.read(trial)
    assert again is not None
    assert (again.verdict, again.is_of(trial)) == (VerificationVerdict.VERIFIED, True)
    edit_rows(trial / "eval_measurements.csv", set_last("validation/loss", "0.001"))
    assert not again.is_of(trial)


def test_a_forged_metric_in_the_log_is_contradicted(trial: Path, finished: Path) -> None:
    edit_rows(trial / "eval_measurements.csv", set_last("validation/loss", "0.001"))
    assert {"checkpoint", "last evaluation"} <= contradicted(verify(trial, finished))


def test_a_metric_forged_in_every_record_is_contradicted_by_the_weights(trial: Path, finished: Path) -> None:
    edit_rows(trial / "eval_measurements.csv", set_last("validation/loss", "0.001"))
    checkpoint = last_checkpoint(trial)
    edit_json(
        checkpoint / "run.json",
        lambda content: content["training"]["eval_results"][-1][1].update({"validation/loss": 0.001}),
    )
    write_manifest(checkpoint)
    verification = verify(trial, finished)
    assert "last evaluation" in contradicted(verification)
    assert "checkpoint" not in contradicted(verification)


def test_a_time_that_was_made_shorter_is_contradicted(trial: Path, finished: Path) -> None:
    edit_rows(
        trial / "eval_measurements.csv",
        lambda rows: rows[-1].update({"score": "0.01", "accumulated_submission_time": "0.01"}),
    )
    assert {"records", "checkpoint"} <= contradicted(verify(trial, finished))


def test_a_ledger_that_does_not_add_up_is_contradicted(trial: Path, finished: Path) -> None:
    edit_json(trial / "trial.json", lambda record: record["ledger"].update(update_s=record["ledger"]["update_s"] + 5))
    assert contradicted(verify(trial, finished)) == {"records"}


def test_weights_of_another_step_are_contradicted_even_with_a_fitting_manifest(trial: Path, finished: Path) -> None:
    last = last_checkpoint(trial)
    shutil.rmtree(last / "state")
    shutil.copytree(trial / "checkpoint_1" / "state", last / "state")
    write_manifest(last)
    assert "last evaluation" in contradicted(verify(trial, finished))


def test_a_damaged_checkpoint_is_contradicted(trial: Path, finished: Path) -> None:
    [file, *_] = sorted(p for p in (last_checkpoint(trial) / "state").rglob("*") if p.is_file() and p.stat().st_size)
    file.write_bytes(b"0" * file.stat().st_size)
    assert "last evaluation" in contradicted(verify(trial, finished))


def test_a_metric_that_was_patched_in_the_run_is_contradicted(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = REGISTRY.module("toy_mini", "metrics")
    framework = finished.parent.name.rpartition("_")[2]
    with monkeypatch.context() as patched:
        original = metrics.make_metrics

        def divided(compute):
            return {name: value / 1000 for name, value in compute().items()}

        def better(*arguments, **keywords):
            accumulator = original(*arguments, **keywords)
            accumulator.compute = functools.partial(divided, accumulator.compute)
            return accumulator

        patched.setattr(metrics, "make_metrics", better)
        trial = run_toy(tmp_path, framework)
    assert {"last evaluation", "replay"} <= contradicted(verify(trial, trial))


def test_losses_that_the_first_steps_do_not_give_are_contradicted(trial: Path, finished: Path) -> None:
    edit_rows(trial / "measurements.csv", lambda rows: rows[0].update(loss="123.0"))
    assert contradicted(verify(trial, finished)) == {"replay"}


def test_what_cannot_be_checked_makes_a_trial_plausible(trial: Path, finished: Path, tmp_path: Path) -> None:
    for checkpoint in trial.glob("checkpoint_*"):
        shutil.rmtree(checkpoint)
    verification = verify(trial, finished, replay_steps=0)
    assert verification.verdict is VerificationVerdict.PLAUSIBLE
    unknown = {check.name for check in verification.checks if check.answer is Answer.UNKNOWN}
    assert {"checkpoint", "last evaluation", "evaluation at the target", "replay"} <= unknown


def test_other_sources_than_those_that_ran_are_contradicted(trial: Path, finished: Path, tmp_path: Path) -> None:
    framework = finished.parent.name.rpartition("_")[2]
    (tmp_path / "mine").mkdir()
    other = tmp_path / "mine" / "submission.py"
    other.write_text(SUBMISSIONS[framework].read_text() + "\nEXTRA = 1\n")
    assert contradicted(verify(trial, finished, submission=other, replay_steps=0)) == {"sources"}


def test_a_folder_without_trials_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(tmp_path)]) == 2
    assert "holds no trial.json" in capsys.readouterr().err


def test_a_process_that_fails_says_why_in_one_line() -> None:
    with pytest.raises(ChildError, match="no_such_workload") as caught:
        ask("algoperf.verification.reevaluation", {"workload": "no_such_workload"})
    assert "\n" not in str(caught.value)
