"""Every random number of a run comes from one recorded seed.

The keys of step n depend on (seed, n) only, so that a resumed run draws what an uninterrupted one would have drawn.
"""

import random
import secrets
from typing import Any, NamedTuple

import numpy as np

from algoperf.backends.base import Backend

_BLOCK_STEPS = 512
_KEY_LIMIT = 2**31 - 1
_DATA, _OPTIMIZER_INIT, _MODEL_INIT, _STEPS, _TRIALS, _HOST = range(6)


class StepKeys(NamedTuple):
    data_selection: Any
    update: Any
    prepare_for_eval: Any


def fresh_seed() -> int:
    """A seed from the operating system, for runs that were given none."""
    return secrets.randbits(32)


def trial_seed(run_seed: int, *, study: int, trial: int) -> int:
    """Seed of one trial (unsigned 32 bits), the same on every machine: a hash of seed, study and trial.

    No two of the three stand in for each other: the first study of one seed shares nothing with the second study of
    another.

    Args:
      run_seed: `--rng_seed`.
      study, trial: counted from 0.
    """
    return int(_stream(run_seed, _TRIALS, study, trial).generate_state(1, np.uint32)[0])


def seed_host_generators(seed: int) -> None:
    """Seeds Python's and NumPy's global generators, from which a submission may draw; alike on every rank.

    Args:
      seed: of the run before a submission is imported, of the trial before a trial starts.
    """
    python, legacy_numpy = _stream(seed, _HOST).generate_state(2, np.uint32)
    random.seed(int(python))
    np.random.seed(int(legacy_numpy))


class Seeds:
    """Keys of one trial in the backend's form.

    Args:
      backend: turns random words into keys.
      seed: any integer; negative ones count modulo 2**64.
    """

    def __init__(self, backend: Backend, seed: int) -> None:
        self.seed = seed
        self._backend = backend
        self._block_index = -1
        self._block: Any = None

    @property
    def data(self) -> int:
        """Seed of shuffles and augmentations."""
        return int(_stream(self.seed, _DATA).generate_state(1, np.uint32)[0])

    @property
    def optimizer_init(self) -> Any:
        return self._backend.as_keys(_words(_stream(self.seed, _OPTIMIZER_INIT), (2,)))

    @property
    def model_init(self) -> Any:
        return self._backend.as_keys(_words(_stream(self.seed, _MODEL_INIT), (2,)))

    def step(self, step: int) -> StepKeys:
        """Keys of step `step` (from 0)."""
        block_index, position = divmod(step, _BLOCK_STEPS)
        if block_index != self._block_index:
            words = _words(_stream(self.seed, _STEPS, block_index), (_BLOCK_STEPS, len(StepKeys._fields), 2))
            self._block = self._backend.as_keys(words)
            self._block_index = block_index
        keys = self._block[position]
        return StepKeys(keys[0], keys[1], keys[2])


def _stream(seed: int, *purpose: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed % 2**64, *purpose])


def _words(stream: np.random.SeedSequence, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.Generator(np.random.Philox(stream)).integers(0, _KEY_LIMIT, shape, dtype=np.int64)
