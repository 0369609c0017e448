"""The verdict on pairs keeps its error, finds differences, and never rests on what is not known."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.comparison import betting
from algoperf.comparison.betting import Verdict

ROOT = Path(__file__).resolve().parents[2]
OUTCOMES = st.lists(st.floats(-1, 1), min_size=1, max_size=30).map(np.array)


@pytest.fixture(scope="module")
def coverage():
    spec = importlib.util.spec_from_file_location("compare_coverage", ROOT / "benchmarks/compare_coverage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("case", [{}, {"own_scatter": 0.4}, {"miss_chance": 0.3}, {"spread": 0.2}])
def test_at_most_five_percent_of_boards_without_a_difference_get_a_verdict(coverage, case):
    faster, slower, _ = coverage.decided(*coverage.outcomes(np.random.default_rng(1), 2000, 64, **case))
    assert faster + slower <= betting.ERROR


def test_an_algorithm_against_itself_is_rarely_decided_and_soon_given_up(coverage):
    boards = coverage.outcomes(np.random.default_rng(0), 100, 32)
    repeats = [coverage.procedure(low, high) for low, high in zip(*(np.split(b, 5) for b in boards), strict=True)]
    shares, pairs = np.array(repeats).T
    assert np.median(shares) == 0  # most sets of twenty comparisons have no verdict at all
    assert np.mean(shares) <= betting.ERROR
    assert max(pairs) < 16


@pytest.mark.parametrize(("ratio", "verdict"), [(0.67, Verdict.FASTER), (1.5, Verdict.SLOWER)])
def test_a_factor_of_one_and_a_half_is_decided_within_two_rounds(coverage, ratio, verdict):
    low, high = coverage.outcomes(np.random.default_rng(2), 100, 16, ratio=ratio)
    verdicts = [betting.verdict(*board) for board in zip(low, high, strict=True)]
    assert verdicts.count(verdict) >= 85
    assert set(verdicts) <= {verdict, Verdict.UNDECIDED}


def test_seven_pairs_that_agree_decide_and_six_do_not():
    assert betting.verdict(np.ones(6), np.ones(6)) is Verdict.UNDECIDED
    assert betting.verdict(np.ones(7), np.ones(7)) is Verdict.FASTER
    assert betting.verdict(-np.ones(7), -np.ones(7)) is Verdict.SLOWER


@given(OUTCOMES)
def test_swapping_the_two_swaps_verdict_and_interval(outcomes):
    swapped = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER, Verdict.UNDECIDED: Verdict.UNDECIDED}
    assert betting.verdict(-outcomes, -outcomes) is swapped[betting.verdict(outcomes, outcomes)]
    low, high = betting.interval(outcomes, outcomes)
    assert betting.interval(-outcomes, -outcomes) == pytest.approx((-high, -low))


@given(OUTCOMES, st.floats(0, 1))
def test_knowing_less_of_the_outcomes_never_decides_earlier_or_narrows_the_interval(outcomes, doubt):
    low, high = np.maximum(outcomes - doubt, -1), np.minimum(outcomes + doubt, 1)
    for vague, exact in zip(betting.decided_after(low, high), betting.decided_after(outcomes, outcomes), strict=True):
        assert vague >= exact
    wide, narrow = betting.interval(low, high), betting.interval(outcomes, outcomes)
    assert wide.low <= narrow.low <= narrow.high <= wide.high


@given(OUTCOMES)
def test_the_capital_bet_on_a_fair_outcome_neither_grows_nor_shrinks_on_average(outcomes):
    before = np.exp(betting.log_capital(outcomes)[-1])
    after = [np.exp(betting.log_capital(np.append(outcomes, sign))[-1]) for sign in (0.7, -0.7)]
    assert np.mean(after) == pytest.approx(before)


def test_forecasts_say_whether_more_pairs_can_decide():
    nothing = np.array([])
    assert not betting.can_be_decided(nothing, nothing, 6)
    assert betting.can_be_decided(nothing, nothing, 7)
    draws = np.tile([0.3, -0.3], 6)
    assert betting.chance_of_verdict(draws, draws, 8) < 0.05
    ahead = np.full(6, 0.9)
    assert betting.chance_of_verdict(ahead, ahead, 8) > 0.95
