"""Seeds of trials: distinct wherever seed, study or trial is, and none shared between two seeds."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from algoperf.harness.seeds import trial_seed

SEEDS = st.integers(-(2**63), 2**63 - 1)


@given(seeds=st.sets(SEEDS, min_size=2, max_size=4), studies=st.integers(1, 3), trials=st.integers(1, 5))
def test_no_two_trials_of_any_seeds_and_studies_share_a_seed(seeds, studies, trials):
    grid = list(itertools.product(seeds, range(studies), range(trials)))
    assert len({trial_seed(seed, study=study, trial=trial) for seed, study, trial in grid}) == len(grid)


def test_neighbouring_seeds_share_nothing():
    grid = list(itertools.product(range(100), range(3), range(5)))
    assert len({trial_seed(seed, study=study, trial=trial) for seed, study, trial in grid}) == len(grid)


@given(SEEDS, st.integers(0, 99), st.integers(0, 99))
def test_a_trial_has_the_same_seed_each_time(seed, study, trial):
    assert trial_seed(seed, study=study, trial=trial) == trial_seed(seed, study=study, trial=trial) < 2**32
