"""Editions of the rules: each workload has its budget in each, records say which it was, and suites are of one."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_runs import REGISTRY, config, endless, run, trial_dir

from algoperf.definition import Budget
from algoperf.edition import EDITIONS, EditionError, since
from algoperf.records.trial import TrialRecord
from algoperf.registry import REGISTRY as ALL_WORKLOADS
from algoperf.registry import suites
from algoperf.runner.driver import choose_definition
from algoperf.runner.run_config import RunConfig
from algoperf.runner.suite_plan import choose_suite, make_plan
from scoring.rules import load_rules

LATER = Budget(max_runtime_s=90.0, eval_period_s=45.0, step_hint=150)
WITH_LATER = endless(later_budgets={"v1.0": LATER})
TOY = WITH_LATER.get("toy_mini")


@pytest.mark.parametrize("edition", EDITIONS)
def test_definitions_have_the_numbers_of_the_rule_set_of_their_edition(edition):
    rules = load_rules(edition, definitions=list)
    known = {name: ALL_WORKLOADS.get(name) for name in set(rules.base_workloads) & set(ALL_WORKLOADS.names())}
    assert len(known) >= 8
    for name, definition in known.items():
        rule, budget = rules.workloads[name], definition.of_edition(edition).budget
        stated = (rule.max_runtime_s, rule.eval_period_s, rule.step_hint)
        assert (budget.max_runtime_s, budget.eval_period_s, budget.step_hint) == stated
        if rule.definition_digests:
            assert rule.definition_digests == (definition.of_edition(edition).digest(),)
        assert (rule.validation_target, rule.test_target) == (definition.validation_target, definition.test_target)


@given(st.lists(st.sampled_from(list(EDITIONS)), max_size=3), st.sampled_from(ALL_WORKLOADS.definitions()))
def test_the_way_to_an_edition_does_not_matter_and_none_leads_back(way, definition):
    for edition in sorted(way):
        if edition in since(definition.edition):
            last = ALL_WORKLOADS.get(definition.name).of_edition(edition)
            definition = definition.of_edition(edition)
            assert definition == last
    for edition in set(EDITIONS) - set(since(definition.edition)):
        with pytest.raises(EditionError, match=f"is no workload of edition {edition}; it is one of"):
            definition.of_edition(edition)


def test_minis_have_one_budget_in_all_editions():
    for name in suites()["mini"].workloads:
        mini = ALL_WORKLOADS.get(name)
        assert mini.of_edition("v1.0").budget == mini.budget
        assert mini.of_edition("v1.0").digest() == mini.digest()


def test_a_budget_of_no_later_edition_is_refused():
    for edition in ("v0.6", "v0.7"):
        with pytest.raises(ValueError, match=r"later_budgets is of editions after v0\.6, got"):
            dataclasses.replace(TOY, later_budgets={edition: LATER})


def test_a_run_takes_budget_and_precision_of_its_edition_and_records_it(tmp_path):
    run(config(tmp_path, "pytorch", edition="v1.0", max_global_steps=1), WITH_LATER)
    folder = trial_dir(tmp_path, "pytorch")
    record = TrialRecord.read(folder)
    assert (record.edition, record.matmul_precision, record.budget_s) == ("v1.0", "tf32", 90.0)
    assert record.definition_digest == TOY.of_edition("v1.0").digest() != TOY.digest()
    meta = json.loads((folder / "meta_data_0.json").read_text())
    assert (meta["edition"], meta["workload.max_allowed_runtime_sec"]) == ("v1.0", 90.0)
    _, messages = run(config(tmp_path, "pytorch", resume_last_run=True, max_global_steps=1), WITH_LATER)
    assert any("warning: " in m and "under the rules of v1.0 in tf32; not run again" in m for m in messages)


def test_without_the_flag_a_workload_is_of_the_first_edition_that_has_it(tmp_path):
    later_only = REGISTRY.altered({"toy_mini": {"edition": "v1.0"}})
    for registry, edition in ((WITH_LATER, "v0.6"), (later_only, "v1.0")):
        assert choose_definition(config(tmp_path, "jax"), registry, print).edition == edition
    with pytest.raises(EditionError, match=r"toy_mini is no workload of edition v0\.6; it is one of v1\.0"):
        run(config(tmp_path, "jax", edition="v0.6"), later_only)


def suite_config(tmp_path, **flags) -> RunConfig:
    flags = {"workload": "qualification", "framework": "jax", "tuning_ruleset": "self", **flags}
    return RunConfig.from_flags({"experiment_dir": str(tmp_path), "data_dir": str(tmp_path), "data": "full", **flags})


def test_a_suite_is_of_the_edition_asked_for(tmp_path):
    plans = {}
    for edition in (None, *EDITIONS):
        asked = suite_config(tmp_path, edition=edition)
        suite = choose_suite("qualification", asked, print, is_dry_run=True)
        plans[edition] = make_plan(suite, asked, None, ALL_WORKLOADS)
        for trial in plans[edition].trials:
            assert trial.definition.edition == suite.edition == (edition or "v0.6")
            assert (
                trial.budget_s
                == 1.5 * ALL_WORKLOADS.get(trial.definition.name).of_edition(suite.edition).budget.max_runtime_s
            )
    assert plans[None] == plans["v0.6"]
    assert plans["v0.6"].root != plans["v1.0"].root
    assert [trial.matmul_precision for trial in plans["v1.0"].trials] == ["tf32"] * 9


def test_every_suite_of_an_edition_has_rules_of_it():
    for edition in EDITIONS:
        for name, suite in suites(edition).items():
            rules = load_rules(suite.rules)
            assert (suite.name, suite.edition, rules.edition) == (name, edition, edition)
            assert set(rules.scored_workloads) == set(suite.workloads)
    assert len(suites("v1.0")["full"].workloads) == 9
