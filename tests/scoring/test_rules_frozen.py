"""Closed editions: their numbers stay, whatever the definitions say later."""

import json
import pickle
import tomllib
from importlib import resources

import pytest

from algoperf.registry import suites
from scoring import simulate
from scoring.rules import BUILT_IN, FROZEN_COPIES, RulesError, load_rules
from scoring.rules.freeze import frozen_toml, with_todays_definitions
from scoring.rules.workload_targets import rules_of_targets
from scoring.score_submissions import main

FROZEN = ("v0.5", "v0.6", "v1.0", *FROZEN_COPIES)


def text_of(name: str) -> str:
    return resources.files("scoring.rules").joinpath(f"{name}.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_sets_need_no_definition(name: str) -> None:
    alone, today = load_rules(name, definitions=list), load_rules(name)
    assert tomllib.loads(text_of(name))["frozen"] is True
    assert {w: alone.workloads[w] for w in alone.scored_workloads} == {
        w: today.workloads[w] for w in alone.scored_workloads
    }
    assert alone.tuning == today.tuning


@pytest.mark.parametrize("name", ["v0.6", "mini-2026-11", "mini-2026-11-27", "mini_qualification-2026-11"])
def test_freezing_writes_what_it_read(name: str, tmp_path) -> None:
    path = tmp_path / "again.toml"
    path.write_text(frozen_toml(load_rules(name)))
    assert path.read_text() == text_of(name)
    assert load_rules(str(path)) == load_rules(name)


def test_v06_agrees_with_the_definitions() -> None:
    """Where they part on purpose, `python -m scoring.rules.freeze v0.6 --today` shows how; drop this test then."""
    assert frozen_toml(with_todays_definitions(load_rules("v0.6"))) == text_of("v0.6")
    assert set(load_rules("v0.6").base_workloads) == set(suites()["full"].workloads)


def test_a_frozen_set_states_everything(tmp_path) -> None:
    path = tmp_path / "open.toml"
    path.write_text(text_of("v0.6").replace("max_runtime_s = 43336\n", ""))
    with pytest.raises(RulesError, match=r"\[workloads\.wmt\] lacks \['max_runtime_s'\]"):
        load_rules(str(path))
    path.write_text(text_of("v0.6").replace("budget_factor = 1.5\n", ""))
    with pytest.raises(RulesError, match=r"\[self\] lacks \['budget_factor'\]"):
        load_rules(str(path))


def test_two_definitions_of_one_scheme_are_no_edition() -> None:
    with pytest.raises(RulesError, match="expected one definition"):
        frozen_toml(load_rules("mini-2026-11"), [("wmt_mini", "f" * 16)])


def test_numbers_of_v10() -> None:
    rules = load_rules("v1.0")
    assert len(rules.base_workloads) == 9
    assert sum(rules.workloads[w].max_runtime_s for w in rules.base_workloads) == 265_883
    model = rules.workloads["finewebedu_lm"]
    assert (model.validation_column, model.validation_target, model.test_target) == ("validation/ppl", 22.2995, None)
    assert {(t.name, t.studies, t.trials_per_study, t.budget_factor) for t in rules.tuning.values()} == {
        ("external", 3, 5, 1.0),
        ("self", 3, 1, 1.5),
    }
    older = load_rules("v0.6")
    for name in older.base_workloads:
        assert rules.workloads[name].validation_target == older.workloads[name].validation_target
        assert rules.workloads[name].step_hint == older.workloads[name].step_hint


def test_logs_of_nine_workloads_are_scored_by_v10(tmp_path, capsys: pytest.CaptureFixture) -> None:
    logs = tmp_path / "logs"
    simulate.main([f"--output_dir={logs}", "--rules=v1.0", "--submissions=2"])
    quick = ["--bootstrap_replicates=20", "--no-compute_performance_profiles", "--no-report"]
    assert main([f"--submission_directory={logs}", f"--output_dir={tmp_path / 'results'}", *quick]) == 0
    assert "rule set v1.0, the one whose workloads are those of the logs" in capsys.readouterr().out
    assert "finewebedu_lm" in (tmp_path / "results/time_to_targets.csv").read_text()


def test_frozen_copies_are_chosen_by_name_alone() -> None:
    assert not set(FROZEN_COPIES) & set(BUILT_IN)


def targets(**changes: object) -> dict[str, object]:
    """What AlgoPerf ships as targets of v0.6, for two workloads and a held-out one."""
    entry = {"target_metric_name": "validation/bleu", "validation_target_value": 30.8491, "step_hint": 120_000}
    model = {"target_metric_name": "ppl", "validation_target_value": 22.2995, "step_hint": 72_000}
    return {
        "_comment": "as AlgoPerf has it",
        "benchmark_version": "v0.6",
        "base_workloads": ["wmt", "finewebedu_lm"],
        "held_out_workloads": ["wmt_post_ln"],
        "workloads": {
            "wmt": entry,
            "wmt_post_ln": {**entry, "validation_target_value": 30.0779},
            "finewebedu_lm": model,
        },
        **changes,
    }


def test_workload_targets_choose_workloads_and_targets(tmp_path) -> None:
    path = tmp_path / "workload_targets.json"
    path.write_text(json.dumps(targets()))
    rules = rules_of_targets(path)
    assert rules.base_workloads == ("finewebedu_lm", "wmt")
    assert rules.held_out == {"wmt_post_ln": "wmt"}
    assert rules.workloads["wmt_post_ln"].validation_target == 30.0779
    assert rules.workloads["wmt_post_ln"].max_runtime_s == load_rules("v0.6").workloads["wmt"].max_runtime_s
    assert rules.workloads["finewebedu_lm"].max_runtime_s == 31967
    assert rules_of_targets(path, "v1.0").workloads["wmt"].max_runtime_s == 16114
    path.write_text(json.dumps(targets(benchmark_version="0.5.0")))
    assert rules_of_targets(path).tuning["self"].budget_factor == 3.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_workloads": ["wmt", "nothing"]}, "no entry in workloads for nothing"),
        ({"held_out_workloads": ["finewebedu_lm"], "base_workloads": ["wmt"]}, "is a variant of none of wmt"),
        ({"surprise": 1}, r"unknown \['surprise'\]"),
        ({"workloads": {"wmt": {"step_hint": 1}}}, "wmt: expected step_hint, target_metric_name"),
    ],
)
def test_workload_targets_that_algoperf_would_refuse(tmp_path, changes: dict[str, object], message: str) -> None:
    path = tmp_path / "workload_targets.json"
    path.write_text(json.dumps(targets(**changes)))
    with pytest.raises(RulesError, match=message):
        rules_of_targets(path)
    with pytest.raises(RulesError, match="got none that can be read"):
        rules_of_targets(tmp_path / "absent.json")


def test_scoring_with_workload_targets_and_saved_results(tmp_path) -> None:
    logs, results = tmp_path / "logs", tmp_path / "results"
    simulate.main([f"--output_dir={logs}", "--rules=v1.0", "--submissions=2"])
    path = tmp_path / "workload_targets.json"
    path.write_text(json.dumps(targets(held_out_workloads=[])))
    flags = [f"--workload_targets={path}", "--save_results_to_filename=saved.pkl", "--bootstrap_replicates=20"]
    quick = ["--no-compute_performance_profiles", "--no-report"]
    assert main([f"--submission_directory={logs}", f"--output_dir={results}", *flags, *quick]) == 0
    assert json.loads((results / "results.json").read_text())["rules"]["base_workloads"] == ["finewebedu_lm", "wmt"]
    saved = pickle.loads((results / "saved.pkl").read_bytes())
    table = saved["simulated_00"]
    [row] = table[(table["workload"] == "wmt_jax") & (table["study"] == "study_2")].to_dict("records")
    assert row["trial"] == "trial_1"
    assert len(row["score"]) == len(row["validation/bleu"]) == len(row["global_step"])
