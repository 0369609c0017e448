"""Lines of the click logs to numbers and hashed ids, compiled.

Imported only by preparation: Numba takes a second to import and compiles on first use.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from workloads.criteo1tb.definition import BUCKET_COUNTS, NUM_CATEGORIES, NUM_FIELDS, NUM_INTEGERS

CATEGORY_BYTES = 8
MISSING_CATEGORY = b"00000000"

_TAB, _NEWLINE, _MINUS, _ZERO, _NINE = 9, 10, 45, 48, 57
_MAX_DIGITS = 18
_LOG_TABLE_SIZE = 1 << 16

# Kinds of problems; `PROBLEMS` has their descriptions.
_OK, _SHORT_LINE, _LONG_LINE, _BAD_LABEL, _BAD_INTEGER, _BAD_CATEGORY = range(6)
PROBLEMS = {
    _SHORT_LINE: f"the line ends here, expected {NUM_FIELDS} tab-separated fields",
    _LONG_LINE: f"the line goes on, expected {NUM_FIELDS} tab-separated fields",
    _BAD_LABEL: "expected a label 0 or 1, or nothing",
    _BAD_INTEGER: "expected a whole number, or nothing",
    _BAD_CATEGORY: f"expected {CATEGORY_BYTES} hexadecimal digits, or nothing",
}


class Rows(NamedTuple):
    """`labels` uint8 [n], `integers` float32 [n, 13] (log(max(v, 0) + 1)), `ids` int32 [n, 26] (hash buckets)."""

    labels: np.ndarray
    integers: np.ndarray
    ids: np.ndarray


class LineError(ValueError):
    """A line is not in the format. `line` and `field` count from 0, within the parsed text."""

    def __init__(self, line: int, field: int, problem: str, text: str) -> None:
        super().__init__(f"line {line + 1}, field {field + 1}: {problem}; got {text!r}")
        self.line, self.field, self.problem, self.text = line, field, problem, text


def parse(text: np.ndarray) -> Rows:
    """Parses whole lines: uint8 [bytes] that ends with a newline.

    A field that is empty or `-1` is missing: label 0, number 0, category `00000000`. Releases the GIL.

    Raises:
      LineError: the first bad line.
    """
    num_rows = int(np.count_nonzero(text == _NEWLINE))
    rows = Rows(
        labels=np.empty(num_rows, np.uint8),
        integers=np.empty((num_rows, NUM_INTEGERS), np.float32),
        ids=np.empty((num_rows, NUM_CATEGORIES), np.int32),
    )
    kind, row, field, position = _parse(text, *rows, _BUCKETS, _LOGS, _IS_HEX)
    if kind != _OK:
        rest = text[position : position + 40].tobytes()
        excerpt = rest.split(b"\n")[0].split(b"\t")[0].decode("utf-8", "replace")
        raise LineError(row, field, PROBLEMS[kind], excerpt)
    return rows


def bucket(category: bytes, column: int) -> int:
    """Returns the hash bucket of an 8-byte category in column 0 ... 25."""
    if len(category) != CATEGORY_BYTES:
        raise ValueError(f"a category has {CATEGORY_BYTES} bytes, got {category!r}")
    return int(_bucket(np.uint64(int.from_bytes(category, "little")), column, _BUCKETS[column]))


_BUCKETS = np.array(BUCKET_COUNTS, np.uint64)
_LOGS = np.log(np.arange(_LOG_TABLE_SIZE, dtype=np.float32) + np.float32(1))
_IS_HEX = np.isin(np.arange(256), list(b"0123456789abcdefABCDEF"))
_MISSING = np.uint64(int.from_bytes(MISSING_CATEGORY, "little"))
_K2 = np.uint64(0x9AE16A3B2F90404F)


@njit(inline="always")
def _rotate(value, shift):
    return (value >> np.uint64(shift)) | (value << np.uint64(64 - shift))


@njit(inline="always")
def _bucket(category, column, count):
    """FarmHash Fingerprint64 of the 8 bytes followed by the column in decimal, modulo `count`.

    Source: FarmHash (Pike 2014), `HashLen0to16` for 9 and 10 bytes.
    """
    if column < 10:
        length = np.uint64(9)
        last = (category >> np.uint64(8)) | (np.uint64(_ZERO + column) << np.uint64(56))
    else:
        length = np.uint64(10)
        digits = np.uint64(_ZERO + column // 10) | (np.uint64(_ZERO + column % 10) << np.uint64(8))
        last = (category >> np.uint64(16)) | (digits << np.uint64(48))
    multiplier = _K2 + length * np.uint64(2)
    a = category + _K2
    c = _rotate(last, 37) * multiplier + a
    d = (_rotate(a, 25) + last) * multiplier
    a = (c ^ d) * multiplier
    a ^= a >> np.uint64(47)
    b = (d ^ a) * multiplier
    b ^= b >> np.uint64(47)
    return np.int32((b * multiplier) % count)


@njit(inline="always")
def _read_integer(text, position):
    """Reads digits with an optional sign up to a tab or newline; returns (value, number of digits, end)."""
    sign = 1
    if text[position] == _MINUS:
        sign = -1
        position += 1
    start = position
    value = 0
    while _ZERO <= text[position] <= _NINE and position - start < _MAX_DIGITS:
        value = value * 10 + (text[position] - _ZERO)
        position += 1
    return sign * value, position - start, position


@njit(inline="always")
def _read_category(text, position, is_hex):
    """Reads 8 hexadecimal digits; returns (bytes as a little-endian number, whether they are all there)."""
    category = np.uint64(0)
    if position + CATEGORY_BYTES >= len(text):
        return category, False
    good = True
    for place in range(CATEGORY_BYTES):
        byte = text[position + place]
        good &= is_hex[byte]
        category |= np.uint64(byte) << np.uint64(8 * place)
    return category, good


@njit(nogil=True)
def _parse(text, labels, integers, ids, buckets, logs, is_hex):
    """Fills the rows; returns (problem, row, field, position in `text`) of the first problem."""
    position = 0
    for row in range(len(labels)):
        for field in range(1 + NUM_INTEGERS + NUM_CATEGORIES):
            start = position
            byte = text[position]
            if byte in (_TAB, _NEWLINE):
                value, category = 0, _MISSING
            elif field <= NUM_INTEGERS:
                value, num_digits, position = _read_integer(text, position)
                if num_digits == 0 or (text[position] != _TAB and text[position] != _NEWLINE):
                    return (_BAD_INTEGER if field else _BAD_LABEL), row, field, start
            else:
                category, good = _read_category(text, position, is_hex)
                if good:
                    position += CATEGORY_BYTES
                    good = text[position] == _TAB or text[position] == _NEWLINE
                elif byte == _MINUS and text[position + 1] == _ZERO + 1:
                    position += 2
                    category = _MISSING
                    good = text[position] == _TAB or text[position] == _NEWLINE
                if not good:
                    return _BAD_CATEGORY, row, field, start

            if field == 0:
                if value == -1:
                    value = 0
                if value != 0 and value != 1:
                    return _BAD_LABEL, row, field, start
                labels[row] = value
            elif field <= NUM_INTEGERS:
                if value < 0:
                    value = 0
                if value < len(logs):
                    integers[row, field - 1] = logs[value]
                else:
                    integers[row, field - 1] = np.log(np.float32(value) + np.float32(1))
            else:
                column = field - 1 - NUM_INTEGERS
                ids[row, column] = _bucket(category, column, buckets[column])

            is_last = field == NUM_INTEGERS + NUM_CATEGORIES
            if is_last and text[position] != _NEWLINE:
                return _LONG_LINE, row, field, position
            if not is_last and text[position] != _TAB:
                return _SHORT_LINE, row, field, start
            position += 1
    return _OK, 0, 0, 0
