"""Statistics against brute force, closed forms and other implementations."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scoring_boards import make_rules, make_tree

from scoring.analysis import analyse
from scoring.board import make_board, workload_scores
from scoring.rules import load_rules
from scoring.speedups import speedups
from scoring.statistics import sensitivity
from scoring.statistics.best_of_k import (
    Runs,
    group_runs,
    median_of_best,
    resample_best,
    restricted_mean_of_best,
    survival_of_best,
    tuning_curve,
)
from scoring.statistics.bootstrap import resample_studies, score_intervals
from scoring.statistics.multiplicity import adjusted_p_values, possible_true
from scoring.statistics.permutation import permutation_p_values, smallest_p_value
from scoring.statistics.power import studies_to_resolve, undetected_failure_rate, what_studies_can_show
from scoring.statistics.ranking import rank_sets, tie_groups
from scoring.statistics.rival_fronts import RivalFronts
from scoring.statistics.survival import survival_curve
from scoring.times import Mode

RULES = make_rules({"digits": "maximize", "speech": "minimize"})
TUNING = RULES.tuning["external"]
time_values = st.sampled_from([1.0, 2.0, 2.0, 3.0, 5.0, 8.0, np.inf])


@given(arrays(np.float64, (3, 2), elements=time_values), st.integers(1, 3))
def test_best_of_k_fixed_configurations_agrees_with_enumeration(values: np.ndarray, k: int) -> None:
    runs = Runs(values=values, fixed=True)
    outcomes = [
        min(values[j, pick] for j, pick in zip(chosen, picks, strict=True))
        for chosen in itertools.combinations(range(3), k)
        for picks in itertools.product(range(2), repeat=k)
    ]
    _check_law(runs, k, outcomes)


@given(arrays(np.float64, (1, 5), elements=time_values), st.integers(1, 5))
def test_best_of_k_interchangeable_runs_agrees_with_enumeration(values: np.ndarray, k: int) -> None:
    outcomes = [min(subset) for subset in itertools.combinations(values[0], k)]
    _check_law(Runs(values=values, fixed=False), k, outcomes)


def _check_law(runs: Runs, k: int, outcomes: list[float]) -> None:
    times, survival = survival_of_best(runs, k)
    expected = [np.mean([o > t for o in outcomes]) for t in times]
    np.testing.assert_allclose(survival, expected, atol=1e-12)
    half = sorted(outcomes)[math.ceil(len(outcomes) / 2) - 1]
    assert median_of_best(runs, k) == half
    assert restricted_mean_of_best(runs, k, 10.0) == pytest.approx(np.mean([min(o, 10.0) for o in outcomes]))


@given(arrays(np.float64, (3, 2), elements=time_values), st.booleans())
def test_tuning_curves_fall(values: np.ndarray, fixed: bool) -> None:
    curve = tuning_curve(Runs(values=values if fixed else values.reshape(1, -1), fixed=fixed), 10.0)
    for worse, better in itertools.pairwise(curve):
        assert better["restricted_mean_s"] <= worse["restricted_mean_s"] + 1e-9
        assert better["success"] >= worse["success"] - 1e-9


def test_runs_are_grouped_by_hyperparameters_wherever_they_stand() -> None:
    times = np.array([[1.0, 4.0], [5.0, 2.0], [3.0, np.inf]])
    keys = [["a", "b"], ["b", "a"], ["a", None]]
    assert group_runs(times, keys).values.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, np.inf]]
    assert group_runs(times, [["a", "b"], ["c", "d"], ["e", "f"]]).fixed is False
    assert group_runs(times, [[None, None]] * 3).fixed is False
    assert group_runs(times, [["a", "b"], ["b", "a"], [None, None]]).fixed is False  # a time of unknown origin


def test_resampled_best_of_k_spreads_around_the_estimate() -> None:
    random = np.random.default_rng(0)
    fixed = Runs(values=np.sort(10 * np.exp(0.2 * random.standard_normal((3, 5))), axis=1), fixed=True)
    loose = Runs(values=np.sort(fixed.values, axis=None)[None], fixed=False)
    for runs in (fixed, loose):
        draws = resample_best(runs, 3, seed=0, names=("a", "w"), replicates=4000)
        assert set(draws) <= set(runs.values.ravel())
        assert np.quantile(draws, 0.02) < median_of_best(runs, 3) < np.quantile(draws, 0.98)
        first = _brute_force_medians(runs, 3, 200)
        assert abs(np.mean(draws) - np.mean(first)) < 5 * np.std(first) / math.sqrt(200)


def _brute_force_medians(runs: Runs, k: int, replicates: int) -> list[float]:
    random = np.random.default_rng(1)
    medians = []
    for _ in range(replicates):
        drawn = np.array([random.choice(row, len(row)) for row in runs.values])
        medians.append(median_of_best(dataclasses.replace(runs, values=np.sort(drawn, axis=1)), k))
    return medians


def test_kaplan_meier_and_restricted_mean_on_a_textbook_case() -> None:
    # Remission times of the 6-MP group in Freireich et al. (1963); Kaplan-Meier values as in Klein and Moeschberger.
    reached = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    censored = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    law = survival_curve(reached, censored, without_log=0, budget_s=35.0)
    at = dict(zip(law.times_s, law.survival, strict=True))
    for time, survival in ((6, 0.857), (7, 0.807), (10, 0.753), (13, 0.690), (16, 0.627), (22, 0.538), (23, 0.448)):
        assert at[time] == pytest.approx(survival, abs=5e-4)
    assert law.restricted_mean_s == pytest.approx(23.3, abs=0.05)
    assert law.standard_error_s == pytest.approx(2.83, abs=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_the_time_law_agrees_with_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    reached, censored = random.integers(1, 30, 9).astype(float), random.integers(1, 50, 6).astype(float)
    law = survival_curve(reached.tolist(), censored.tolist(), without_log=0, budget_s=50.0)
    curve = stats.ecdf(stats.CensoredData(uncensored=reached, right=censored)).sf
    np.testing.assert_array_equal(law.times_s, curve.quantiles)
    np.testing.assert_allclose(law.survival, curve.probabilities, rtol=1e-12, atol=1e-15)
    wilson = stats.binomtest(9, 15).proportion_ci(method="wilson")
    assert (law.success_low, law.success_high) == pytest.approx((wilson.low, wilson.high), rel=1e-12)


def test_time_law_counts_what_left_no_log_as_failures() -> None:
    law = survival_curve([10.0, 20.0], [], without_log=2, budget_s=100.0)
    assert law.trials == 4
    assert law.restricted_mean_s == pytest.approx((10 + 20 + 100 + 100) / 4)
    low, high = stats.binomtest(2, 4).proportion_ci(method="wilson")
    assert (law.success_low, law.success_high) == pytest.approx((low, high))
    nothing = survival_curve([], [50.0], without_log=0, budget_s=100.0)
    assert (nothing.restricted_mean_s, nothing.success_low) == (100.0, 0.0)


def _board(times: np.ndarray):
    return make_board(make_tree(RULES, times), RULES, TUNING, Mode.RULES)


def test_bootstrap_of_three_studies_has_its_exact_law() -> None:
    times = np.full((1, 2, 3, 2), np.inf)
    times[0, 0, :, 0] = [10.0, 20.0, 30.0]
    times[0, 1, :, 0] = 7.0
    draws = resample_studies(_board(times).times, seed=3, replicates=27000)
    shares = [np.mean(draws[:, 0, 0] == t) for t in (10.0, 20.0, 30.0)]
    np.testing.assert_allclose(shares, [7 / 27, 13 / 27, 7 / 27], atol=0.012)
    assert set(draws[:, 0, 1]) == {7.0}


def test_intervals_of_one_study_are_not_known() -> None:
    low, high = score_intervals(np.zeros((10, 2, 8)), np.zeros(2), studies=1)
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_intervals_hold_the_score_and_widen_with_spread_and_with_fewer_studies() -> None:
    random = np.random.default_rng(0)
    scores = np.array([0.5])
    noise = random.standard_normal((2000, 1, 8))
    widths = {}
    for spread, studies in ((0.01, 5), (0.1, 5), (0.1, 2)):
        low, high = score_intervals(0.5 + spread * noise, scores, studies=studies)
        assert low[0] <= 0.5 <= high[0]
        widths[spread, studies] = float(high[0] - low[0])
    assert widths[0.01, 5] < 0.2 * widths[0.1, 5] < 0.2 * widths[0.1, 2]


def test_a_permutation_p_value_is_the_share_of_all_deals_that_are_as_extreme() -> None:
    """Two submissions, two workloads, two studies: 36 deals, counted by hand from the scores of each."""
    times = np.full((2, 2, 2, 2), np.inf)
    times[0, :, :, 0] = [[10.0, 11.0], [20.0, 23.0]]
    times[1, :, :, 0] = [[15.0, 19.0], [26.0, 37.0]]
    rules = make_rules({"digits": "maximize", "speech": "minimize"}, studies=2)
    board = make_board(make_tree(rules, times), rules, rules.tuning["external"], Mode.RULES)
    found = permutation_p_values((board.times,), rules, seed=0)
    assert found[0, 1] == found[1, 0] == pytest.approx(2 / 36)  # no deal but this one and its mirror separates all four
    assert smallest_p_value(2, 2) == pytest.approx(2 / 36)


@settings(max_examples=40)
@given(arrays(np.float64, (2, 2, 3, 2), elements=time_values))
def test_permutation_p_values_do_not_depend_on_who_comes_first(times: np.ndarray) -> None:
    first, second = (permutation_p_values((_board(t).times,), RULES, seed=0) for t in (times, times[::-1]))
    assert 0 < first[0, 1] <= 1
    assert first[0, 1] == pytest.approx(second[0, 1])


def test_adjusted_p_values_follow_shaffer() -> None:
    assert possible_true(4) == (0, 1, 2, 3, 6)
    assert possible_true(5) == (0, 1, 2, 3, 4, 6, 10)
    p = np.full((3, 3), np.nan)
    for (i, j), value in {(0, 1): 0.01, (0, 2): 0.02, (1, 2): 0.5}.items():
        p[i, j] = p[j, i] = value
    adjusted = adjusted_p_values(p)
    assert adjusted[0, 1] == pytest.approx(0.03)  # three pairs may be equal; once one is not, at most one other is
    assert adjusted[0, 2] == pytest.approx(0.03)  # never below a smaller one's
    assert adjusted[1, 2] == 0.5
    assert np.isnan(adjusted_p_values(np.full((3, 3), np.nan))).all()


def test_clear_differences_separate_and_equal_ones_tie() -> None:
    random = np.random.default_rng(0)
    times = 40 * np.exp(0.02 * random.standard_normal((3, 2, 3, 2)))
    times[2] *= 2
    board = analyse(make_tree(RULES, times), RULES, TUNING, replicates=500)
    groups = {row.submission: row.tie_group for row in board.leaderboard}
    assert groups == {"s0": 1, "s1": 1, "s2": 2}
    comparisons = {(d.a, d.b): d for d in board.comparisons}
    assert comparisons["s0", "s1"].verdict is None
    assert comparisons["s0", "s1"].studies_needed_low > 3
    assert comparisons["s0", "s2"].verdict == "s0"
    assert comparisons["s0", "s2"].time_ratio == pytest.approx(0.5, rel=0.05)
    assert comparisons["s0", "s2"].studies_needed_high == 3


@settings(max_examples=25)
@given(arrays(np.float64, (4, 2, 3, 2), elements=st.one_of(st.floats(1.0, 99.0), st.sampled_from([10.0, np.inf]))))
def test_what_is_said_about_a_pair_is_never_contradicted(times: np.ndarray) -> None:
    analysis = analyse(make_tree(RULES, times), RULES, TUNING, replicates=50)
    rows = {row.submission: row for row in analysis.leaderboard}
    for pair in analysis.comparisons:
        a, b = rows[pair.a], rows[pair.b]
        assert (pair.verdict is not None) == (pair.p_adjusted <= 0.05 and pair.difference != 0)
        if pair.verdict is None:
            assert a.tie_group == b.tie_group
            assert pair.studies_needed_high >= pair.studies_needed_low > 3
        else:
            better, worse = (a, b) if pair.verdict == pair.a else (b, a)
            assert better.score > worse.score
            assert better.rank < worse.rank
            assert worse.rank_low > 1
            assert better.rank_high < 4
            assert better.tie_group <= worse.tie_group
            assert pair.studies_needed_high == 3
    assert all(row.rank_low <= row.rank <= row.rank_high for row in rows.values())


def test_rank_sets_and_tie_groups_are_read_off_the_comparison() -> None:
    better = np.zeros((3, 3), bool)
    better[0, 2] = True
    assert [limit.tolist() for limit in rank_sets(better)] == [[1, 1, 2], [2, 3, 3]]
    assert tie_groups([0, 1, 2], better) == [1, 1, 1]  # the second is resolved from neither
    better[1, 2] = True
    assert tie_groups([0, 1, 2], better) == [1, 1, 2]


def test_more_studies_are_needed_for_smaller_differences_and_for_more_entrants() -> None:
    shape = {"studies": 3, "workloads": 8}
    near = studies_to_resolve(0.05, 0.05, 24.0, entrants=3, **shape)
    far = studies_to_resolve(0.2, 0.05, 24.0, entrants=3, **shape)
    many = studies_to_resolve(0.2, 0.05, 24.0, entrants=10, **shape)
    assert 3 < far[0] <= far[1] < near[1] == math.inf
    assert near[0] > far[0]
    assert many[1] > far[1]
    assert studies_to_resolve(0.0, 0.0, 24.0, entrants=3, **shape) == (math.inf, math.inf)
    assert all(map(math.isnan, studies_to_resolve(0.1, 0.1, 1.0, studies=1, workloads=8, entrants=3)))


def test_limits_of_few_studies_match_exact_tests() -> None:
    for studies in (3, 5):
        exact = stats.mannwhitneyu(range(studies), range(100, 100 + studies), method="exact").pvalue
        assert smallest_p_value(studies, 1) == pytest.approx(exact)
    assert undetected_failure_rate(3) == pytest.approx(1 - 0.05 ** (1 / 3))
    assert any("cannot distinguish anybody" in line for line in what_studies_can_show(2, 2, 5))
    assert not any("cannot distinguish anybody" in line for line in what_studies_can_show(3, 8, 5))


@settings(max_examples=30)
@given(arrays(np.float64, (2, 2, 3, 2), elements=st.one_of(st.floats(1, 99), st.just(np.inf))))
def test_harder_targets_take_longer_and_the_real_ones_are_among_them(times: np.ndarray) -> None:
    tree = make_tree(RULES, times)
    board = make_board(tree, RULES, TUNING, Mode.RULES)
    reached_times = sensitivity.target_reached_times(tree, board)
    np.testing.assert_array_equal(reached_times.study_s()[reached_times.shares.index(1.0)], board.times.study_s)
    assert np.all(reached_times.trial_s[1:] >= reached_times.trial_s[:-1])  # a harder target is never met earlier
    unchanged = [s for s in sensitivity.other_budgets(board, reached_times) if s.name == "budget x 1"]
    assert unchanged[0].scores == pytest.approx(tuple(board.scores))
    grid, solved = sensitivity.solved_over_time(board, reached_times)
    assert np.all(np.diff(solved, axis=1) >= 0)
    assert (grid[0], grid[-1]) == (0.0, 1.0)


def test_leaving_somebody_out_is_scoring_without_them() -> None:
    random = np.random.default_rng(0)
    times = random.uniform(10, 90, (3, 2, 3, 2))
    scenario = sensitivity.leave_one_submission_out(_board(times))[0]
    assert np.isnan(scenario.scores[0])
    assert scenario.scores[1:] == pytest.approx(tuple(_board(times[1:]).scores))


def test_speedups_declare_what_is_a_bound() -> None:
    times = np.full((3, 2, 3, 2), np.inf)
    times[0] = 20.0
    times[1, 0] = 10.0
    faster, lost = speedups(_board(times), "s0")
    assert faster.ratios == {"digits": 2.0, "speech": pytest.approx(0.2)}
    assert faster.kinds == {"digits": "exact", "speech": "at_most"}
    assert faster.with_budgets == pytest.approx(math.sqrt(2.0 * 0.2))
    assert faster.on_common == 2.0
    assert ("exact" in lost.kinds.values(), math.isnan(lost.on_common)) == (False, True)
    with pytest.raises(ValueError, match="choose from s0, s1, s2"):
        speedups(_board(times), "nobody")


def test_published_speedup(published_logs) -> None:
    from scoring.logs import read_logs
    from scoring.rules import load_rules

    rules = load_rules("v0.5")
    board = make_board(read_logs(published_logs, rules.workloads), rules, rules.tuning["self"], Mode.ALGOPERF)
    found = {s.submission: s for s in speedups(board, "baseline")}
    assert 1 / found["schedule_free_adamw"].with_budgets == pytest.approx(0.922368, abs=2e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(3, 9))
def test_a_front_of_rivals_gives_a_pair_the_ratios_that_all_of_them_give(seed, count):
    rules = load_rules("v0.5")
    workloads = (*rules.base_workloads, *rules.held_out)
    rng = np.random.default_rng(seed)
    times = rng.choice([1.0, 1.5, 2.0, 6.0, 9.0, np.inf], size=(1, count, len(workloads)))
    rivals = np.delete(times, [0, 1], axis=1)
    front = RivalFronts(times, workloads, rules).without(0, 1)
    pair = rng.choice([0.5, 1.0, 3.0, 20.0, np.inf], size=(1, 2, len(workloads)))
    with_all, with_front = (
        workload_scores(np.concatenate((pair, others), axis=1), workloads, rules)[:, :2] for others in (rivals, front)
    )
    np.testing.assert_array_equal(with_front, with_all)
    assert front.shape[1] <= rivals.shape[1]
