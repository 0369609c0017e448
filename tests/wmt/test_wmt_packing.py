"""Packing neither splits, loses, repeats nor reorders a token, and fills rows as the rule says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.wmt.packing import Ragged, assign_rows, pack

CAPACITY = 9
_sequence = st.lists(st.integers(1, 60_000), min_size=1, max_size=CAPACITY)
_corpus = st.lists(st.tuples(_sequence, _sequence), min_size=1, max_size=40)


def _packed(corpus, group=7):
    inputs, targets = (Ragged.from_lists([pair[side] for pair in corpus]) for side in (0, 1))
    return pack(inputs, targets, CAPACITY, group)


def _unpacked(rows, name):
    """Reads the sentences back out of a packed corpus, with their positions."""
    found = []
    for tokens, segments, positions in zip(
        rows[name], rows[f"{name}_segmentation"], rows[f"{name}_position"], strict=True
    ):
        for segment in range(1, segments.max() + 1):
            inside = segments == segment
            assert positions[inside].tolist() == list(range(inside.sum()))
            assert (np.diff(np.flatnonzero(inside)) == 1).all()
            found.append(tokens[inside].tolist())
        padding = segments == 0
        assert not tokens[padding].any()
        assert not positions[padding].any()
    return found


@given(_corpus, st.integers(1, 12))
def test_every_sentence_comes_out_whole_and_in_order(corpus, group):
    rows = _packed(corpus, group)
    assert _unpacked(rows, "inputs") == [pair[0] for pair in corpus]
    assert _unpacked(rows, "targets") == [pair[1] for pair in corpus]


@given(_corpus, st.integers(1, 12))
def test_both_sides_of_a_pair_share_row_and_number(corpus, group):
    rows = _packed(corpus, group)
    for source, target in zip(rows["inputs_segmentation"], rows["targets_segmentation"], strict=True):
        assert set(source) - {0} == set(target) - {0}


@given(_corpus, st.integers(1, 12))
def test_rows_are_filled_one_pair_after_the_other(corpus, group):
    """The vectorised packer does what the rule says pair by pair."""
    rows, used = [], None
    for number, pair in enumerate(corpus):
        lengths = [len(side) for side in pair]
        if number % group == 0 or max(u + n for u, n in zip(used, lengths, strict=True)) > CAPACITY:
            rows.append([])
            used = [0, 0]
        rows[-1].append(pair)
        used = [u + n for u, n in zip(used, lengths, strict=True)]
    packed = _packed(corpus, group)
    assert packed["inputs_segmentation"].max(axis=1).tolist() == [len(row) for row in rows]


def test_a_sentence_longer_than_a_row_or_empty_is_refused():
    for lengths in ([[3, CAPACITY + 1]], [[0, 2]]):
        with pytest.raises(ValueError, match="must have 1 to 9 tokens"):
            assign_rows(np.array(lengths), CAPACITY, 4)


def test_unknown_pieces_cut_the_end_of_a_sentence():
    """AlgoPerf's packing counts tokens without the zeros, and takes so many from the start."""
    sequences = Ragged.from_lists([[5, 0, 7, 0, 2], [4, 2], [0]])
    cut = sequences.truncated_by_zeros()
    assert cut.padded(5).tolist() == [[5, 0, 7, 0, 0], [4, 2, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert cut.lengths.tolist() == [3, 2, 1]
