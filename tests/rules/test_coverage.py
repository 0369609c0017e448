"""Each check that a rule names has a failing and a passing fixture."""

import ast
import functools
import re
import sys
from pathlib import Path

import pytest

from algoperf.rules import Level, rule_book

TESTS = Path(__file__).resolve().parents[1]
sys.path.append(str(TESTS / "checking"))
from rule_fixtures import STATIC  # noqa: E402

DRY_RUN = "checking/test_dry_run.py"
GUARDS, REACH = "harness/test_guards.py", "runner/test_reach.py"
SUBMISSION = "harness/test_submission.py"
RECORDS, VALIDITY = "scoring/test_record_findings.py", "scoring/test_validity.py"
VERIFY = "verification/test_verify.py"
_SEVERAL = (DRY_RUN, "test_several_violations_are_seen_in_one_run")
_NOTHING = (DRY_RUN, "test_an_honest_submission_shows_nothing")
_RECORD = (RECORDS, "test_what_a_record_says_against_its_time")
_HONEST_RECORD = (RECORDS, "test_honest_runs_have_no_finding")
_ALIKE = (VALIDITY, "test_kept_runs_are_as_the_rules_and_each_other")
_VERIFIED = (VERIFY, "test_an_honest_trial_is_verified_and_the_verdict_is_kept_with_it")
Tests = tuple[tuple[str, str], tuple[str, str]]  # failing and passing fixture: file and test

# Checks whose fixtures are tests. Those of the sources are texts, in rule_fixtures.py.
FIXTURES: dict[str, Tests] = {
    **{
        f"dry_run.{name}": (_SEVERAL, _NOTHING)
        for name in (
            "changed_code",
            "data_files",
            "files",
            "initial_weights",
            "interpreter",
            "module_hooks",
            "network",
            "pause_work",
            "uncharged_work",
        )
    },
    "dry_run.parameters": ((DRY_RUN, "test_parameters_of_another_model_are_named"), _NOTHING),
    "dry_run.steps": ((DRY_RUN, "test_a_crash_is_a_finding"), _NOTHING),
    "run.guards": (
        (GUARDS, "test_a_run_records_a_violation_and_ends_at_it_where_asked"),
        (GUARDS, "test_nothing_was_changed"),
    ),
    "run.isolated": (
        ("runner/test_isolation.py", "test_attacks_have_no_effect"),
        (
            "runner/test_isolation.py",
            "test_an_interrupted_and_resumed_run_has_the_rows_of_one_without_isolation",
        ),
    ),
    "run.loading": (
        (SUBMISSION, "test_a_missing_function_or_wrong_signature_is_named"),
        (SUBMISSION, "test_decorated_and_catch_all_functions_are_accepted"),
    ),
    "run.pinned_code": (
        (REACH, "test_no_code_of_a_pytorch_submission_runs_in_an_evaluation"),
        (REACH, "test_hooks_of_a_submission_work_in_training"),
    ),
    "run.shapes": ((REACH, "test_another_model_is_refused"), _NOTHING),
    "run.search_space": (
        ("runner/test_suite_plan.py", "test_the_space_of_one_workload_is_refused_in_a_suite_and_said_in_a_single_run"),
        ("runner/test_end_to_end.py", "test_self_tuning_runs_have_no_hyperparameters_and_more_time"),
    ),
    "scoring.completeness": (
        ("scoring/test_score_submissions.py", "test_strict_fails_when_a_trial_is_missing"),
        _ALIKE,
    ),
    "scoring.differences": ((VALIDITY, "test_hardware_and_framework_versions_between_submissions"), _ALIKE),
    "scoring.evaluation_time": ((RECORDS, "test_slow_evaluations_are_a_warning"), _HONEST_RECORD),
    "scoring.first_evaluation": ((RECORDS, "test_a_run_that_is_on_target_after_one_step_is_an_error"), _HONEST_RECORD),
    "scoring.ledger": (_RECORD, _HONEST_RECORD),
    "scoring.rule_conflicts": ((VALIDITY, "test_what_runs_of_one_submission_recorded_against_the_rules"), _ALIKE),
    "scoring.rule_violations": (_RECORD, (RECORDS, "test_what_honest_runs_may_record")),
    "scoring.ruleset": ((VALIDITY, "test_another_tuning_ruleset_is_an_error"), _ALIKE),
    "scoring.shared_seed": ((VALIDITY, "test_studies_with_one_seed_are_a_warning"), _ALIKE),
    "scoring.sources_changed": (_RECORD, _HONEST_RECORD),
    "scoring.two_frameworks": (
        ("scoring/test_bad_logs.py", "test_a_workload_in_both_frameworks_is_an_error_and_the_main_one_counts"),
        _ALIKE,
    ),
    "scoring.uncharged_time": (_RECORD, (RECORDS, "test_what_honest_runs_may_record")),
    "verify.checkpoints": ((VERIFY, "test_what_cannot_be_checked_makes_a_trial_plausible"), _VERIFIED),
    "verify.evaluation": (
        (VERIFY, "test_weights_of_another_step_are_contradicted_even_with_a_fitting_manifest"),
        _VERIFIED,
    ),
    "verify.records": ((VERIFY, "test_a_ledger_that_does_not_add_up_is_contradicted"), _VERIFIED),
    "verify.replay": ((VERIFY, "test_losses_that_the_first_steps_do_not_give_are_contradicted"), _VERIFIED),
}


@functools.cache
def names_of_tests(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def named_checks() -> list[str]:
    return sorted({check for rule in rule_book().rules for check in rule.checks})


@pytest.mark.parametrize("check", named_checks())
def test_a_check_has_a_failing_and_a_passing_fixture(check: str) -> None:
    stage, _, name = check.partition(".")
    if stage == "static":
        failing, passing = STATIC[name]
        assert failing != passing
        return
    for file, test in FIXTURES[check]:
        assert test in names_of_tests(file)


def test_every_fixture_is_of_a_check_that_a_rule_names() -> None:
    assert {f"static.{name}" for name in STATIC} | set(FIXTURES) == set(named_checks())


def test_a_rule_without_a_check_is_a_judgement_and_says_why() -> None:
    for rule in rule_book().rules:
        assert rule.checks or (rule.level is Level.JUDGEMENT and rule.limit)


def test_findings_of_the_sources_name_only_checks_of_rules() -> None:
    folder = Path(__file__).resolve().parents[2] / "algoperf/checking"
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    names = set(re.findall(r'check="(\w+)"', text)) | set(re.findall(r'_finding\(\s*(?:source, )?"(\w+)"', text))
    known = {name for check in named_checks() for name in [check.partition(".")[2]]}
    assert len(names) > 15
    assert names <= known
