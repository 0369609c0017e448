"""Decodes a part of a JPEG file, at the cost of that part.

Between restart markers the data of a file are coded on their own. Where the markers divide each row of units alike, the
units around a box are put together as a smaller file, and the decoder is given that. Its pixels are those of the whole
file: one unit more on each side is enough for the interpolation of colours.
"""

import functools

import cv2
import numpy as np

from algoperf.data.store import StoreError
from workloads.common.imagenet.jpeg_header import JpegHeader, parse_header

_RESTART_MARKERS = tuple(bytes([0xFF, 0xD0 + number]) for number in range(8))
_END_OF_IMAGE = b"\xff\xd9"


class CroppableJpeg:
    """An encoded image.

    Args:
      encoded: bytes of the file.
      name: of the file or of its row in a store, for error messages.
    """

    def __init__(self, encoded: bytes, name: str) -> None:
        self._encoded = encoded
        self._name = name
        self._header = parse_header(encoded)

    @functools.cached_property
    def size(self) -> tuple[int, int]:
        """(height, width); decodes the image where its header does not tell them."""
        if self._header is not None:
            return self._header.height, self._header.width
        return self.decoded().shape[:2]

    def decoded(self) -> np.ndarray:
        """The whole image, uint8 [height, width, 3]."""
        return self._decode(self._encoded)

    def decoded_around(self, box: np.ndarray) -> tuple[np.ndarray, int, int]:
        """Returns uint8 [height, width, 3] that holds a box (top, left, height, width), and where it begins.

        This is the whole image where the file cannot be divided.

        Raises:
          StoreError: it cannot be decoded.
        """
        header = self._header
        starts, stops = ([], []) if header is None else _intervals(self._encoded, header)
        if header is None or not starts:
            return self.decoded(), 0, 0
        top, left, height, width = (int(edge) for edge in box)
        interval_width = header.restart_interval * header.unit_width
        per_row = header.units_per_row // header.restart_interval
        first_row = max(top // header.unit_height - 1, 0)
        last_row = min((top + height - 1) // header.unit_height + 2, header.rows_of_units)
        first = max(left - 1, 0) // interval_width
        last = min((left + width) // interval_width + 1, per_row)
        view = memoryview(self._encoded)
        pieces: list[bytes | memoryview] = []
        for row in range(first_row, last_row):
            for number in range(row * per_row + first, row * per_row + last):
                pieces.append(view[starts[number] : stops[number]])
                pieces.append(_RESTART_MARKERS[len(pieces) // 2 % 8])
        pieces[-1] = _END_OF_IMAGE
        row_start, column_start = first_row * header.unit_height, first * interval_width
        size = (
            min(last_row * header.unit_height, header.height) - row_start,
            min(last * interval_width, header.width) - column_start,
        )
        pixels = self._decode(b"".join([_resized(self._encoded, header, size), *pieces]))
        if pixels.shape[:2] != size:
            raise StoreError(f"{self._name} cannot be decoded; delete the store and prepare it again")
        return pixels, row_start, column_start

    def _decode(self, encoded: bytes) -> np.ndarray:
        try:
            return decode(np.frombuffer(encoded, np.uint8))
        except StoreError as error:
            raise StoreError(f"{self._name} cannot be decoded; delete the store and prepare it again") from error


def decode(encoded: np.ndarray) -> np.ndarray:
    """Returns uint8 [height, width, 3], red first, of JPEG bytes uint8 [length]; grey images become three channels.

    Raises:
      StoreError: they are no image.
    """
    # OpenCV measured faster than Pillow and as fast as direct libjpeg-turbo bindings (benchmarks/vision_input.py).
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise StoreError(f"{len(encoded)} bytes are no image")
    return image


def _intervals(encoded: bytes, header: JpegHeader) -> tuple[list[int], list[int]]:
    """Where the data of each restart interval start and stop; nothing where intervals do not divide the rows."""
    interval, units = header.restart_interval, header.units_per_row * header.rows_of_units
    if not interval or header.units_per_row % interval:
        return [], []
    content = np.frombuffer(encoded, np.uint8)
    escapes = np.flatnonzero(content[header.scan : -1] == 0xFF) + header.scan
    markers = escapes[content[escapes + 1] - np.uint8(0xD0) < 8]
    if len(markers) != units // interval - 1 or not encoded.endswith(_END_OF_IMAGE):
        return [], []
    return [header.scan, *(markers + 2).tolist()], [*markers.tolist(), len(encoded) - 2]


def _resized(encoded: bytes, header: JpegHeader, size: tuple[int, int]) -> bytes:
    changed = bytearray(encoded[: header.scan])
    changed[header.size_at : header.size_at + 4] = size[0].to_bytes(2, "big") + size[1].to_bytes(2, "big")
    return bytes(changed)
