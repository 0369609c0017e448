"""The board in words says what the comparison of all pairs says, and no more."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoring.analysis import Analysis, analyse
from scoring.log_issues import LogIssue, Severity
from scoring.logs import read_logs
from scoring.near_misses import near_misses
from scoring.rules import Rules
from scoring.simulate import SimulatedSubmission, write_logs
from scoring.verdict import verdict


def analysis_of(tmp_path: Path, rules: Rules, medians: dict[str, float]) -> Analysis:
    field = [
        SimulatedSubmission(name=name, median_s=dict.fromkeys(rules.scored_workloads, median), noise=0.02)
        for name, median in medians.items()
    ]
    tuning = rules.tuning["self"]
    write_logs(tmp_path, field, rules, tuning, evaluations=60)
    return analyse(read_logs(tmp_path, rules.workloads), rules, tuning, replicates=100)


@pytest.fixture
def analysis(tmp_path: Path, small_rules: Rules) -> Analysis:
    return analysis_of(tmp_path, small_rules, {"swift": 30.0, "steady": 45.0, "late": 70.0})


def with_claims(analysis: Analysis, *pairs: tuple[str, str]) -> Analysis:
    """The same board with exactly these pairs distinguished, the better one first."""
    names = analysis.rules_board.submissions
    better = np.zeros((len(names), len(names)), bool)
    for winner, loser in pairs:
        better[names.index(winner), names.index(loser)] = True
    compared = [
        replace(c, verdict=next((w for w, x in pairs if {w, x} == {c.a, c.b}), None), studies_needed_low=4.0)
        for c in analysis.comparisons
    ]
    compared = [replace(c, studies_needed_high=6.0 if "steady" in (c.a, c.b) else np.inf) for c in compared]
    return replace(analysis, separation=replace(analysis.separation, better=better), comparisons=compared)


def test_whom_the_leader_is_distinguished_from(analysis: Analysis) -> None:
    studies = analysis.board.tuning.studies
    nobody, one, everybody = (
        verdict(with_claims(analysis, *pairs))
        for pairs in ([], [("swift", "late")], [("swift", "late"), ("swift", "steady")])
    )
    assert nobody.startswith("swift leads but is distinguished from nobody; of 3 pairs, none is distinguished. ")
    assert one.startswith("swift leads; distinguished from late only. ")
    assert everybody == "swift leads, distinguished from all others."
    span = "1 to 3" if studies == 3 else f"{4 - studies} to {6 - studies}"
    assert one.endswith(f"{span} more studies of each would likely distinguish it from steady.")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_verdict_never_says_more_than_the_comparison(analysis: Analysis, data: st.DataObject) -> None:
    order = [row.submission for row in analysis.leaderboard]
    pairs = data.draw(st.sets(st.sampled_from(list(itertools.combinations(order, 2)))))
    first = verdict(with_claims(analysis, *pairs)).split(". ")[0].removesuffix(".")
    beaten = [loser for winner, loser in pairs if winner == order[0]]
    assert ("distinguished from nobody" in first) == (not beaten)
    assert ("distinguished from all others" in first) == (len(beaten) == len(order) - 1)
    for name in order[1:]:
        named = "only" in first and name in first
        assert named == (name in beaten and len(beaten) < len(order) - 1)


def test_claims_among_the_others_are_not_the_leaders(analysis: Analysis) -> None:
    text = verdict(with_claims(analysis, ("steady", "late")))
    assert text.startswith("swift leads but is distinguished from nobody; of 3 pairs, 1 is distinguished. ")


def test_findings_that_are_errors_put_the_verdict_in_doubt(analysis: Analysis) -> None:
    issue = LogIssue(path="swift", code="rules", severity=Severity.ERROR, message="another budget")
    assert verdict(replace(analysis, findings=[issue])).endswith("1 finding about the runs puts all of this in doubt.")
    assert "doubt" not in verdict(replace(analysis, findings=[replace(issue, severity=Severity.WARNING)]))


def test_nobody_leads_where_nobody_reached_a_target(tmp_path: Path, small_rules: Rules) -> None:
    lost = analysis_of(tmp_path, small_rules, {"one": np.inf, "two": np.inf})
    assert verdict(lost) == "Nobody leads: no submission reached a target that counts."
    misses = near_misses(lost.tree, lost.board)
    assert len(misses) == len(lost.tree.trials)
    assert all(miss.distance_to_target > 0 for miss in misses)
    assert [miss.distance_to_target for miss in misses] == sorted(miss.distance_to_target for miss in misses)


def test_one_submission_is_alone(tmp_path: Path, small_rules: Rules) -> None:
    assert verdict(analysis_of(tmp_path, small_rules, {"one": 20.0})).startswith("one is alone on the board")
