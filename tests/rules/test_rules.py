"""The rules are data; the page is made of them."""

import pytest

from algoperf.definition import EXTERNAL, SELF_TUNING
from algoperf.edition import EDITIONS
from algoperf.registry import suites
from algoperf.rules import Level, Rule, rule_book
from algoperf.rules.__main__ import PAGE, main
from algoperf.rules.page import page
from scoring.rules import load_rules


def test_the_page_is_what_the_rules_say(capsys: pytest.CaptureFixture) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(rule_book()), "run python -m algoperf.rules --write"
    assert main([]) == 0
    assert capsys.readouterr().out == page(rule_book())


def test_every_rule_is_on_the_page_with_its_id_and_level() -> None:
    words = " ".join(page(rule_book()).split())
    for rule in rule_book().rules:
        assert f"- **{rule.id}** ({rule.level}) {rule.text}" in words


def test_a_rule_has_a_check_or_a_reason_and_known_stages() -> None:
    fields = {"id": "X1", "section": "Test", "text": "A rule.", "level": Level.ERROR}
    with pytest.raises(ValueError, match="neither a check nor a reason"):
        Rule(**fields, checks=[])
    with pytest.raises(ValueError, match="stages are"):
        Rule(**fields, checks=["guess.something"])
    with pytest.raises(ValueError, match="a rule has an ID"):
        Rule(**{**fields, "id": "first"}, checks=["static.files"])


def test_editions_lay_down_the_same_things() -> None:
    first, *others = rule_book().editions.values()
    assert others
    assert all(set(other) == set(first) for other in others)


def test_the_editions_are_those_of_the_benchmark() -> None:
    assert set(rule_book().editions) == set(EDITIONS)
    for name, edition in EDITIONS.items():
        assert edition.matmul_precision.value in rule_book().editions[name]["precision"].lower()


def test_the_editions_lay_down_what_suites_and_rule_sets_have() -> None:
    first, second = (rule_book().editions[name] for name in EDITIONS)
    ours, theirs = (set(suites(name)["full"].workloads) for name in EDITIONS)
    numbers = {8: "eight", 9: "nine"}
    assert first["workloads"] == f"{numbers[len(ours)]}: {', '.join(sorted(ours))}"
    [added] = theirs - ours
    assert ours < theirs
    assert second["workloads"].startswith(f"{numbers[len(theirs)]}: those of {next(iter(EDITIONS))} and {added}, ")
    rules = [load_rules(suites(name)["full"].rules) for name in EDITIONS]
    assert rules[1].workloads[added].test_target is None
    assert rules[0].tuning == rules[1].tuning
    external, self_tuning = (rules[0].tuning[ruleset.name] for ruleset in (EXTERNAL, SELF_TUNING))
    assert first["studies"] == (
        f"{external.studies} studies; external tuning {external.trials_per_study} trials each, self-tuning "
        f"{self_tuning.trials_per_study} run each with {self_tuning.budget_factor:g} times the budget"
    )
    assert self_tuning.studies == external.studies
