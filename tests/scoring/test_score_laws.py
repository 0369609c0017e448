"""Laws that any score must obey, on random boards with misses, absent logs, a guarded workload and two trials."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scoring_boards import make_rules, make_tree

from scoring.analysis import analyse
from scoring.board import make_board
from scoring.logs import LogTree
from scoring.profiles import exact_score, grid_score
from scoring.times import Mode

RULES = make_rules({"digits": "maximize", "speech": "minimize"}, held_out={"digits_hard": "digits"})
TUNING = RULES.tuning["external"]
SHAPE = (3, 3, 3, 2)  # submissions, workloads, studies, trials

times = st.one_of(
    st.floats(1.0, 99.0), st.floats(20.0, 25.0), st.sampled_from([10.0, 20.0, 40.0, np.inf, np.nan, 101.0])
)
boards = arrays(np.float64, SHAPE, elements=times)
places = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))


def scores(times_s: np.ndarray, mode: Mode = Mode.RULES) -> np.ndarray:
    return make_board(make_tree(RULES, times_s), RULES, TUNING, mode).scores


@given(boards, st.sampled_from(list(Mode)))
def test_scores_lie_between_zero_and_one(times_s: np.ndarray, mode: Mode) -> None:
    found = scores(times_s, mode)
    assert np.all((found >= 0) & (found <= 1 + 1e-12))


@given(boards, st.randoms(use_true_random=False))
def test_permuting_trials_and_studies_changes_no_score(times_s: np.ndarray, random) -> None:
    shuffled = times_s.copy()
    for at in np.ndindex(SHAPE[:2]):
        order = random.sample(range(SHAPE[2]), SHAPE[2])
        shuffled[at] = shuffled[at][order]
        for study in range(SHAPE[2]):
            shuffled[(*at, study)] = shuffled[(*at, study)][random.sample(range(SHAPE[3]), SHAPE[3])]
    np.testing.assert_array_equal(scores(shuffled), scores(times_s))


@given(boards, st.permutations(range(SHAPE[0])), st.sampled_from(list(Mode)))
def test_permuting_submissions_permutes_scores(times_s: np.ndarray, order: list[int], mode: Mode) -> None:
    np.testing.assert_array_equal(scores(times_s[order], mode), scores(times_s, mode)[order])


@given(boards, places, st.floats(0.01, 1.0))
def test_a_smaller_time_never_lowers_the_score(times_s: np.ndarray, place: tuple, factor: float) -> None:
    faster = times_s.copy()
    faster[place] = 60.0 * factor if not np.isfinite(times_s[place]) else times_s[place] * factor
    assert scores(faster)[place[0]] >= scores(times_s)[place[0]] - 1e-12


@given(boards, places)
def test_deleting_a_trial_or_study_never_improves_the_score(times_s: np.ndarray, place: tuple) -> None:
    before = scores(times_s)[place[0]]
    tree = make_tree(RULES, times_s)
    without_trial = _without(tree, lambda t: t.name == _name(place))
    without_study = _without(tree, lambda t: t.name.startswith(_name(place).rsplit("/", 1)[0]))
    for smaller in (without_trial, without_study):
        assert make_board(smaller, RULES, TUNING, Mode.RULES).scores[place[0]] <= before + 1e-12


def _name(place: tuple) -> str:
    submission, workload, study, trial = place
    return f"s{submission}/study_{study}/{RULES.scored_workloads[workload]}_jax/trial_{trial + 1}"


def _without(tree: LogTree, drop) -> LogTree:
    return dataclasses.replace(tree, trials=tuple(t for t in tree.trials if not drop(t)))


ratios = arrays(np.float64, (3, 4), elements=st.one_of(st.floats(1.0, 5.0), st.just(np.inf)))


@given(ratios, st.sampled_from([2.0, 4.0, 8.0]))
def test_exact_integral_is_the_limit_of_the_trapezoid(found: np.ndarray, tau_max: float) -> None:
    exact = exact_score(found, tau_max)
    for points in (100, 1000, 10000):
        step = 1 / (points - 1)  # a jump is misplaced by at most one step of the grid
        assert np.max(np.abs(grid_score(found, tau_max, points) - exact)) <= step + 1e-12


def _verdicts(times_s: np.ndarray) -> dict:
    analysis = analyse(make_tree(RULES, times_s), RULES, TUNING, replicates=50)
    return {(d.a, d.b): d for d in analysis.comparisons}


@settings(max_examples=25)
@given(boards)
def test_a_strictly_worse_entrant_can_only_take_a_verdict_away(times_s: np.ndarray) -> None:
    worst = np.nan_to_num(times_s, nan=np.inf, posinf=np.inf).max(axis=0) * 1.5
    before, after = _verdicts(times_s), _verdicts(np.concatenate((times_s, worst[None])))
    for pair, comparison in before.items():
        assert after[pair].difference == comparison.difference
        assert after[pair].p_adjusted >= comparison.p_adjusted - 1e-12
        assert after[pair].verdict in (comparison.verdict, None)


@settings(max_examples=15)
@given(boards, st.randoms(use_true_random=False))
def test_permuting_logs_changes_no_interval(times_s: np.ndarray, random) -> None:
    shuffled = times_s.copy()
    for at in np.ndindex(SHAPE[:2]):
        shuffled[at] = shuffled[at][random.sample(range(SHAPE[2]), SHAPE[2])][:, ::-1]
    tree, other = make_tree(RULES, times_s), make_tree(RULES, shuffled)
    first, second = (analyse(t, RULES, TUNING, replicates=50).leaderboard for t in (tree, other))
    for a, b in zip(first, second, strict=True):
        fields = {k: v for k, v in dataclasses.asdict(a).items() if k != "score_algoperf"}
        for key, value in fields.items():
            assert getattr(b, key) == pytest.approx(value, nan_ok=True), key
