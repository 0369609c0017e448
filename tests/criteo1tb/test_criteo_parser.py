"""Fields become the numbers and hash buckets that AlgoPerf gives; bad lines are located."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.criteo1tb.definition import BUCKET_COUNTS, NUM_CATEGORIES, NUM_INTEGERS
from workloads.criteo1tb.parser import LineError, bucket, parse

# Buckets of a missing category in columns 0 ... 25, computed with the FarmHash library.
MISSING_BUCKETS = (
    *(16124033, 10351, 4188, 7307, 19695, 0, 6670, 378, 5, 27691836, 1866611, 184436, 4),
    *(202, 10577, 64, 3, 387, 9, 13392961, 5775802, 11306799, 361450, 6860, 42, 8),
)
_MASK = (1 << 64) - 1


def fingerprint64(text: bytes) -> int:
    """FarmHash Fingerprint64 of up to 16 bytes, in plain integers."""
    k0, k2, length = 0xC3A5C85C97CB3127, 0x9AE16A3B2F90404F, len(text)

    def fetch(start, size):
        return int.from_bytes(text[start : start + size], "little")

    def rotate(value, shift):
        return ((value >> shift) | (value << (64 - shift))) & _MASK

    def combine(u, v, multiplier):
        a = (u ^ v) * multiplier & _MASK
        a ^= a >> 47
        b = (v ^ a) * multiplier & _MASK
        b ^= b >> 47
        return b * multiplier & _MASK

    multiplier = (k2 + 2 * length) & _MASK
    if length >= 8:
        a, b = (fetch(0, 8) + k2) & _MASK, fetch(length - 8, 8)
        c = (rotate(b, 37) * multiplier + a) & _MASK
        d = (rotate(a, 25) + b) * multiplier & _MASK
        return combine(c, d, multiplier)
    if length >= 4:
        return combine((length + (fetch(0, 4) << 3)) & _MASK, fetch(length - 4, 4), multiplier)
    y, z = text[0] + (text[length >> 1] << 8), length + (text[-1] << 2)
    mixed = (y * k2 & _MASK) ^ (z * k0 & _MASK)
    return (mixed ^ (mixed >> 47)) * k2 & _MASK


def as_text(*lines: bytes) -> np.ndarray:
    return np.frombuffer(b"".join(line + b"\n" for line in lines), np.uint8)


def line(label=b"0", integers=(b"",) * NUM_INTEGERS, categories=(b"",) * NUM_CATEGORIES) -> bytes:
    return b"\t".join([label, *integers, *categories])


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compilation takes seconds, which Hypothesis would blame on its first example."""
    parse(as_text(line()))


def test_reference_hash_has_the_known_fingerprints():
    assert [fingerprint64(text) % 3 for text in (b"Hello", b"TensorFlow", b"2.x")] == [0, 2, 2]


def test_check_vectors():
    assert tuple(bucket(b"00000000", column) for column in range(NUM_CATEGORIES)) == MISSING_BUCKETS
    assert bucket(b"68fd1e64", 0) == 6734129
    assert bucket(b"68fd1e64", 0) % 4_194_304 == 2539825
    assert bucket(b"80e26c9b", 1) == 16854


@given(st.lists(st.from_regex(rb"[0-9a-fA-F]{8}", fullmatch=True), min_size=26, max_size=26))
def test_ids_are_farmhash_of_the_field_and_its_column(categories):
    (ids,) = parse(as_text(line(categories=categories))).ids
    expected = [
        fingerprint64(field + str(column).encode()) % BUCKET_COUNTS[column] for column, field in enumerate(categories)
    ]
    assert ids.tolist() == expected


@given(st.lists(st.integers(-(10**9), 10**12), min_size=13, max_size=13), st.sampled_from([0, 1]))
def test_numbers_are_logs_and_negative_ones_count_as_zero(values, label):
    rows = parse(as_text(line(str(label).encode(), [str(value).encode() for value in values])))
    expected = np.log(np.maximum(values, 0).astype(np.float32) + np.float32(1))
    np.testing.assert_allclose(rows.integers[0], expected, rtol=3e-7)
    assert rows.labels.tolist() == [label]


@pytest.mark.parametrize("missing", [b"", b"-1"])
def test_empty_and_minus_one_are_missing(missing):
    rows = parse(as_text(line(missing, [missing] * NUM_INTEGERS, [missing] * NUM_CATEGORIES)))
    assert rows.labels.tolist() == [0]
    assert not rows.integers.any()
    assert tuple(rows.ids[0]) == MISSING_BUCKETS


@pytest.mark.parametrize(
    ("bad", "field", "message"),
    [
        (b"\t".join([b"1"] * 5), 5, "the line ends here, expected 40"),
        (b"", 1, "the line ends here, expected 40"),
        (line() + b"\t", 40, "the line continues, expected 40"),
        (line() + b"\t1", 40, "the line continues, expected 40"),
        (line(label=b"2"), 1, "label 0 or 1, or nothing; got '2'"),
        (line(label=b"yes"), 1, "label 0 or 1, or nothing; got 'yes'"),
        (line(integers=(b"7", b"1.5", *(b"",) * 11)), 3, "whole number, or nothing; got '1.5'"),
        (line(integers=(b"-", *(b"",) * 12)), 2, "whole number, or nothing; got '-'"),
        (line(integers=(b"9" * 19, *(b"",) * 12)), 2, "whole number"),
        (line(categories=(b"68fd1e6g", *(b"",) * 25)), 15, "8 hexadecimal digits, or nothing; got '68fd1e6g'"),
        (line(categories=(b"68fd1e6", *(b"",) * 25)), 15, "8 hexadecimal digits, or nothing; got '68fd1e6'"),
        (line(categories=(b"68fd1e644", *(b"",) * 25)), 15, "8 hexadecimal digits, or nothing; got '68fd1e644'"),
        (line(categories=(*(b"",) * 25, b"68fd1e64\r")), 40, "8 hexadecimal digits"),
        (line(categories=(*(b"",) * 25, b"-10")), 40, "8 hexadecimal digits"),
    ],
)
def test_a_bad_line_is_located(bad, field, message):
    with pytest.raises(LineError, match=rf"line 3, field {field}: .*{message}") as raised:
        parse(as_text(line(), line(), bad, line()))
    assert (raised.value.line, raised.value.field) == (2, field - 1)


def test_a_category_has_eight_bytes():
    with pytest.raises(ValueError, match="8 bytes"):
        bucket(b"123", 0)


@pytest.mark.parametrize("place", range(8))
def test_exactly_the_hexadecimal_digits_are_accepted(place):
    for byte in set(range(256)) - {ord("\t"), ord("\n")}:
        field = bytearray(b"09afAF5c")
        field[place] = byte
        text = as_text(line(categories=(bytes(field), *(b"",) * 25)))
        if byte in b"0123456789abcdefABCDEF":
            assert parse(text).ids[0, 0] == fingerprint64(bytes(field) + b"0") % BUCKET_COUNTS[0]
        else:
            with pytest.raises(LineError, match="line 1, field 15"):
                parse(text)
