"""What the header of a JPEG file says about the layout of its pixels and of its entropy-coded data.

Source: ITU-T T.81 (1992), annex B.
"""

from typing import NamedTuple

_START_OF_FRAME, _PROGRESSIVE, _OTHER_FRAMES = (0xC0, 0xC1), 0xC2, range(0xC3, 0xD0)
_HUFFMAN, _ARITHMETIC, _RESERVED, _RESTART_INTERVAL, _START_OF_SCAN, _END = 0xC4, 0xCC, 0xC8, 0xDD, 0xDA, 0xD9
_BLOCK = 8


class Component(NamedTuple):
    """A colour component: its blocks in a unit, and the numbers of its Huffman tables."""

    blocks: int
    dc_table: int
    ac_table: int


class JpegHeader(NamedTuple):
    """Layout of a file with one scan of all its components, coded sequentially in Huffman codes of 8-bit samples.

    A unit (T.81: minimum coded unit) is the smallest rectangle of pixels that is coded on its own.

    Attributes:
      height, width: of the image, in pixels.
      size_at: where the height and then the width stand, 16 bits each, the high byte first.
      unit_height, unit_width: in pixels.
      components: in the order of the scan.
      restart_interval: units between restart markers; 0 means that there are none.
      tables: of each Huffman table (class, number): counts of codes of lengths 1 to 16, then symbols.
      segments: (marker, start, stop) of the segments before the entropy-coded data.
      scan: where these begin.
    """

    height: int
    width: int
    size_at: int
    unit_height: int
    unit_width: int
    components: tuple[Component, ...]
    restart_interval: int
    tables: dict[tuple[int, int], bytes]
    segments: list[tuple[int, int, int]]
    scan: int

    @property
    def units_per_row(self) -> int:
        return -(-self.width // self.unit_width)

    @property
    def rows_of_units(self) -> int:
        return -(-self.height // self.unit_height)


def parse_header(encoded: bytes) -> JpegHeader | None:
    """Returns None for files of another layout, and for files that are damaged up to the entropy-coded data."""
    try:
        return _parse(encoded)
    except IndexError:  # a segment is shorter than it must be
        return None


def _parse(encoded: bytes) -> JpegHeader | None:
    frame, interval, position = -1, 0, 2
    tables: dict[tuple[int, int], bytes] = {}
    segments: list[tuple[int, int, int]] = []
    if encoded[:2] != b"\xff\xd8":
        return None
    while position + 4 <= len(encoded) and encoded[position] == 0xFF:
        marker, stop = encoded[position + 1], position + 2 + (encoded[position + 2] << 8 | encoded[position + 3])
        segments.append((marker, position, stop))
        if marker in _START_OF_FRAME:
            frame = position
        elif marker == _HUFFMAN:
            _add_tables(tables, encoded[position + 4 : stop])
        elif marker == _RESTART_INTERVAL:
            interval = encoded[position + 4] << 8 | encoded[position + 5]
        elif marker == _START_OF_SCAN:
            layout = _layout(encoded[frame:], encoded[position:stop]) if frame >= 0 else None
            if layout is None:
                return None
            height, width, unit_height, unit_width, components = layout
            return JpegHeader(
                height, width, frame + 5, unit_height, unit_width, components, interval, tables, segments, stop
            )
        elif marker == _PROGRESSIVE or marker in _OTHER_FRAMES or marker < 0xC0:
            return None
        position = stop
    return None


def _add_tables(tables: dict[tuple[int, int], bytes], content: bytes) -> None:
    while len(content) > 17:
        length = 17 + sum(content[1:17])
        tables[content[0] >> 4, content[0] & 15] = content[1:length]
        content = content[length:]


def _layout(frame: bytes, scan: bytes) -> tuple[int, int, int, int, tuple[Component, ...]] | None:
    """Returns (height, width, unit height, unit width, components)."""
    precision, count = frame[4], frame[9]
    if precision != 8 or count not in (1, 3) or scan[4] != count or len(scan) < 6 + 2 * count:
        return None
    identities = [frame[10 + 3 * number] for number in range(count)]
    if identities != [scan[5 + 2 * number] for number in range(count)]:
        return None
    factors = [divmod(frame[11 + 3 * number], 16) for number in range(count)]
    if count == 1:  # alone in a scan, the blocks of a component follow each other whatever its factors
        factors = [(1, 1)]
    if not all(1 <= factor <= 4 for pair in factors for factor in pair):
        return None
    components = tuple(
        Component(horizontal * vertical, *divmod(scan[6 + 2 * number], 16))
        for number, (horizontal, vertical) in enumerate(factors)
    )
    unit_width, unit_height = (_BLOCK * max(pair[axis] for pair in factors) for axis in (0, 1))
    height, width = (frame[5] << 8) | frame[6], (frame[7] << 8) | frame[8]
    return (height, width, unit_height, unit_width, components) if height and width else None
