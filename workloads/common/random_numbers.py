"""Random numbers as a function of a key: no state, any order, vectorised over keys.

The generator is Philox4x32-10 with the key schedule of TensorFlow's stateless random operations, so that numbers which
AlgoPerf fixed with `tf.random.stateless_uniform` come out the same. Source: Salmon et al., Parallel Random Numbers: As
Easy as 1, 2, 3, 2011.
"""

from collections.abc import Sequence

import numpy as np

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_SCRAMBLING_KEY = (0x3EC8F720, 0x02461E29)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def uniforms(seeds: np.ndarray, count: int) -> np.ndarray:
    """Returns float32 [..., count] in [0, 1), multiples of 2**-23.

    Args:
      seeds: integers [..., 2]; equal pairs give equal numbers, and a smaller count gives a prefix.
    """
    words = np.asarray(seeds).astype(np.int64).view(np.uint64)
    first, second = words[..., 0], words[..., 1]
    counter = [first & _LOW, first >> _HALF, second & _LOW, second >> _HALF]
    key = [np.uint64(word) for word in _SCRAMBLING_KEY]
    scrambled = [word[..., None] for word in _philox(counter, key)]
    blocks = np.arange(-(-count // 4), dtype=np.uint64)
    counter = [blocks, np.zeros_like(blocks), scrambled[2], scrambled[3]]
    counter = list(np.broadcast_arrays(*counter))
    bits = np.stack(_philox(counter, scrambled[:2]), axis=-1)
    bits = bits.reshape(*bits.shape[:-2], -1)[..., :count]
    mantissa = (bits & np.uint64(0x7FFFFF)).astype(np.uint32)
    return (mantissa | np.uint32(0x3F800000)).view(np.float32) - np.float32(1)


def example_seeds(seed: int, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Returns int64 [n, 2] for `uniforms`: one key for each (seed, epoch, index).

    Args:
      seed: below 2**63.
      epochs, indices: int64 [n], below 2**23 and 2**40.
    """
    keys = np.empty((len(indices), 2), np.int64)
    keys[:, 0] = seed
    keys[:, 1] = (np.asarray(epochs, np.int64) << 40) | indices
    return keys


def _philox(counter: Sequence[np.ndarray], key: Sequence[np.ndarray | np.uint64]) -> list[np.ndarray]:
    """Ten rounds on four words [...] (uint64 arrays holding 32 bits each); key words broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for number in range(_ROUNDS):
        left, right = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        weyl_0, weyl_1 = (np.uint64(number * weyl & 0xFFFFFFFF) for weyl in _WEYL)
        c0 = (right >> _HALF) ^ c1 ^ ((k0 + weyl_0) & _LOW)
        c2 = (left >> _HALF) ^ c3 ^ ((k1 + weyl_1) & _LOW)
        c1, c3 = right & _LOW, left & _LOW
    return [c0, c1, c2, c3]
