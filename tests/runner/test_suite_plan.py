"""What a suite would run: as the rules say, over one search space, and never mixed with results of something else."""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest
import toy_runs
from toy_runs import REGISTRY, SUBMISSIONS, config

from algoperf.definition import EXTERNAL, Suite
from algoperf.records import json as records_json
from algoperf.records.outcome import Outcome
from algoperf.records.trial import Ledger, TrialRecord
from algoperf.registry import REGISTRY as ALL_WORKLOADS
from algoperf.runner import search_space
from algoperf.runner.run_config import ConfigError, default_submission
from algoperf.runner.suite import SuiteRun
from algoperf.runner.suite_plan import Outdated, choose_suite, submission_digest
from algoperf.submissions.tuning import SearchSpaceError

pytestmark = pytest.mark.jax

SUITE = Suite(name="tiny", workloads=("toy_mini",), studies={"external": 2, "self": 3}, rules="none")
RANGE = {"learning_rate": {"min": 0.01, "max": 0.05, "scaling": "log"}}


def suite_run(tmp_path, *, outdated=None, num_studies=None, **flags):
    if "tuning_search_space" not in flags and flags.get("tuning_ruleset") != "self":
        flags["tuning_search_space"] = toy_runs.space(tmp_path, RANGE)
    messages: list[str] = []
    run = SuiteRun(
        SUITE,
        config(tmp_path, "jax", **flags),
        num_studies=num_studies,
        outdated=outdated,
        registry=REGISTRY,
        report=messages.append,
    )
    return run, messages


@pytest.fixture(scope="module")
def digest():
    return submission_digest(str(SUBMISSIONS["jax"]))


def write_record(trial, digest, **changes):
    record = TrialRecord(
        outcome=Outcome.REACHED,
        workload="toy_mini",
        framework="jax",
        definition_digest=trial.definition.digest(),
        ruleset="external",
        budget_s=1.0,
        seed=0,
        batch_size=8,
        hyperparameters=records_json.plain(trial.hyperparameters.to_dict()),
        global_step=3,
        preemption_count=0,
        submission_time_s=0.5,
        best_validation=None,
        ledger=Ledger(**{f.name: 0.0 for f in dataclasses.fields(Ledger)}),
        provenance={"submission_digest": digest},
    )
    trial.folder.mkdir(parents=True)
    dataclasses.replace(record, **changes).write(trial.folder)


def test_trials_and_studies_are_those_of_the_rules(tmp_path):
    run, messages = suite_run(tmp_path)
    assert [(t.study, t.trial) for t in run.trials] == [(s, t) for s in range(2) for t in range(1, 6)]
    assert len({t.hyperparameters.learning_rate for t in run.trials}) == 2 * EXTERNAL.trials_per_study
    run.show_plan()
    assert not any("falls short" in message for message in messages)
    run, _ = suite_run(tmp_path, tuning_ruleset="self")
    assert [(t.study, t.trial, t.hyperparameters) for t in run.trials] == [(0, 1, None), (1, 1, None), (2, 1, None)]
    assert not (tmp_path / "experiments").exists()


def test_less_than_the_rules_ask_for_is_allowed_and_said(tmp_path):
    run, messages = suite_run(tmp_path, num_tuning_trials=2, num_studies=1, max_global_steps=7)
    run.show_plan()
    assert len(run.trials) == 2
    assert (
        "falls short of the rules: 2 of 5 trials in a study; 1 of 2 studies; runs end after 7 steps "
        "(--max_global_steps)" in messages
    )


def test_a_list_with_too_few_points_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(SearchSpaceError, match="5 trials asked for, but the list has 1 points"):
        suite_run(tmp_path, tuning_search_space=toy_runs.space(tmp_path))


@pytest.fixture
def submission_with_spaces(tmp_path):
    folder = tmp_path / "mine"
    (folder / "search_spaces").mkdir(parents=True)
    (folder / "submission.py").write_text(SUBMISSIONS["jax"].read_text())
    for name, rate in (("default", 0.01), ("toy_mini", 0.02)):
        (folder / "search_spaces" / f"{name}.json").write_text(json.dumps([{"learning_rate": rate}] * 5))
    return folder / "submission.py"


def test_the_space_of_one_workload_is_refused_in_a_suite_and_said_in_a_single_run(tmp_path, submission_with_spaces):
    flags = {"submission_path": str(submission_with_spaces), "tuning_search_space": None}
    with pytest.raises(ConfigError, match=r"toy_mini\.json is a search space for one workload.*one space for all"):
        suite_run(tmp_path, **flags)
    messages: list[str] = []
    definition = REGISTRY.get("toy_mini")
    single = config(tmp_path, "jax", **flags)
    space = search_space.for_single_run(single, definition, submission_with_spaces, messages.append)
    assert space.points[0]["learning_rate"] == 0.02
    assert re.search(r"toy_mini\.json, for single runs of toy_mini", messages[0])
    submission_with_spaces.with_name("search_spaces").joinpath("toy_mini.json").unlink()
    run, _ = suite_run(tmp_path, **flags)
    assert run.plan.space == submission_with_spaces.with_name("search_spaces") / "default.json"
    assert {t.hyperparameters.learning_rate for t in run.trials} == {0.01}


@pytest.mark.parametrize(("framework", "trials"), [("jax", None), ("pytorch", 1), ("jax", 3)])
def test_a_single_run_of_the_reference_takes_the_point_of_target_setting(tmp_path, framework, trials):
    definition, messages = ALL_WORKLOADS.get("wmt_mini"), []
    flags = {"submission_path": None, "tuning_search_space": None, "num_tuning_trials": trials}
    space = search_space.for_single_run(
        config(tmp_path, framework, **flags), definition, default_submission(framework), messages.append
    )
    if trials == 3:
        assert len(space.points) == EXTERNAL.trials_per_study
    else:
        assert space.points == (definition.reference_hyperparameters,)
        assert "the reference point of wmt_mini" in messages[0]


def test_folders_do_not_depend_on_how_the_submission_is_spelled(tmp_path, submission_with_spaces, monkeypatch):
    link = tmp_path / "link"
    link.symlink_to(submission_with_spaces.parent)
    monkeypatch.chdir(tmp_path)
    spellings = [
        str(submission_with_spaces),
        "mine/submission.py",
        "./mine/../mine/submission.py",
        os.path.join(link, "submission.py"),
        "mine.submission",
    ]
    monkeypatch.syspath_prepend(str(tmp_path))
    space = toy_runs.space(tmp_path, RANGE)
    flags = {"experiment_name": None, "tuning_search_space": space}
    roots = {suite_run(tmp_path, submission_path=spelling, **flags)[0].root for spelling in spellings}
    assert [root.name for root in roots] == ["tiny-mine-submission"]


def test_a_finished_trial_of_now_counts(tmp_path, digest):
    run, messages = suite_run(tmp_path)
    write_record(run.trials[0], digest)
    run.show_plan()
    assert messages[0].endswith("finished (reached)")
    assert any("10 trials, 1 finished" in message for message in messages)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"provenance": {"submission_digest": "0" * 16}}, "another version of the submission"),
        ({"provenance": {}}, "another version of the submission"),
        ({"definition_digest": "2:" + "0" * 16}, "another workload definition"),
        ({"definition_digest": "0" * 16}, "a workload definition that cannot be compared"),
        ({"hyperparameters": {"learning_rate": 0.5}}, "other hyperparameters"),
        ({"hyperparameters": {}}, "other hyperparameters"),
    ],
)
def test_an_outdated_trial_is_named_and_never_mixed_in(tmp_path, digest, changes, reason):
    run, messages = suite_run(tmp_path)
    write_record(run.trials[0], digest, **changes)
    expected = re.escape(f"trial_1 ({reason})") + ".*--outdated=keep counts them, --outdated=rerun"
    with pytest.raises(ConfigError, match=expected):
        run.show_plan()
    assert messages[0].endswith(f"outdated ({reason}), not decided")
    with pytest.raises(ConfigError, match=expected):
        run.run()
    for choice, state, finished in ((Outdated.KEEP, "kept", 1), (Outdated.RERUN, "runs again", 0)):
        run, messages = suite_run(tmp_path, outdated=choice)
        run.show_plan()
        assert messages[0].endswith(f"outdated ({reason}), {state}")
        assert any(f"10 trials, {finished} finished" in message for message in messages)
    assert (run.trials[0].folder / "trial.json").is_file()


def test_a_submission_that_cannot_be_read_is_said(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('not today')")
    with pytest.raises(ConfigError, match=r"cannot be read: .*not today"):
        submission_digest(str(broken))


def test_a_dry_run_works_without_the_data_and_says_what_is_missing(tmp_path):
    flags = {"workload": "qualification", "submission_path": None, "tuning_search_space": None, "data": "full"}
    configuration, messages = config(tmp_path, "jax", **flags), []
    suite = choose_suite("qualification", configuration, messages.append, is_dry_run=True)
    SuiteRun(suite, configuration, report=messages.append).show_plan()
    text = "\n".join(messages)
    assert re.search(r"15 trials, 0 finished; the rest takes at most \d+\.\d hours", text)
    assert re.search(r"0 of 3 datasets prepared.* GB are free", text)
    assert re.search(r"criteo1tb +missing, \d+ GB", text)
    assert "python -m algoperf.prepare criteo1tb ogbg wmt --how_to_get" in text
    assert not Path(tmp_path / "data").exists()
