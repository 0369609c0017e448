"""Crops that are decoded on their own have the pixels of the whole image, whatever the form of the file."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from algoperf.data import StoreError
from workloads.common.imagenet.jpeg_crops import CroppableJpeg, decode
from workloads.common.imagenet.jpeg_header import parse_header
from workloads.common.imagenet.restart_intervals import with_restart_intervals


def image_file(seed: int, height: int, width: int, *, grey: bool = False, **form: object) -> bytes:
    """A JPEG file of smooth colours with noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = np.clip(smooth + rng.normal(0, rng.integers(0, 60), smooth.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).convert("L" if grey else "RGB").save(file, "JPEG", **form)
    return file.getvalue()


def pixels_of(encoded: bytes) -> np.ndarray:
    return decode(np.frombuffer(encoded, np.uint8))


@settings(max_examples=120, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32), height=st.integers(1, 120), width=st.integers(1, 120))
def test_crops_have_the_pixels_of_the_whole(data, seed: int, height: int, width: int) -> None:
    form = {"quality": data.draw(st.integers(5, 100)), "optimize": data.draw(st.booleans())}
    grey = data.draw(st.booleans())
    if not grey:
        form["subsampling"] = data.draw(st.sampled_from([0, 1, 2]))
    original = image_file(seed, height, width, grey=grey, **form)
    whole = pixels_of(original)
    divided = with_restart_intervals(original)
    assert divided != original
    np.testing.assert_array_equal(pixels_of(divided), whole)
    jpeg = CroppableJpeg(divided, "x")
    assert jpeg.size == (height, width)
    for _ in range(3):
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        box = np.array([top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))])
        around, first_row, first_column = jpeg.decoded_around(box)
        part = around[top - first_row :, left - first_column :][: box[2], : box[3]]
        np.testing.assert_array_equal(part, whole[top : top + box[2], left : left + box[3]])


def test_only_the_surroundings_are_decoded_and_files_grow_little() -> None:
    original = image_file(3, 375, 500, quality=95, subsampling=2)
    divided = with_restart_intervals(original)
    assert len(divided) < 1.02 * len(original)
    around, _, _ = CroppableJpeg(divided, "x").decoded_around(np.array([150, 200, 100, 100]))
    assert around.shape[0] <= 100 + 4 * 16
    assert around.shape[1] <= 100 + 2 * 64 + 16
    whole, first_row, first_column = CroppableJpeg(original, "x").decoded_around(np.array([150, 200, 100, 100]))
    assert (whole.shape, first_row, first_column) == ((375, 500, 3), 0, 0)


def cmyk(encoded: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(encoded)).convert("CMYK").save(file, "JPEG")
    return file.getvalue()


def test_other_forms_stay_as_they_are_and_are_decoded_whole() -> None:
    progressive = image_file(1, 60, 50, progressive=True)
    divided = image_file(1, 60, 50, restart_marker_blocks=7)
    for encoded in (progressive, divided, cmyk(progressive)):
        assert with_restart_intervals(encoded) == encoded
        jpeg = CroppableJpeg(encoded, "x")
        assert jpeg.size == (60, 50)
        around, first_row, first_column = jpeg.decoded_around(np.array([20, 20, 10, 10]))
        assert (around.shape[:2], first_row, first_column) == ((60, 50), 0, 0)
    assert parse_header(progressive) is None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), is_cut=st.booleans())
def test_damaged_files_never_lead_to_more_than_an_error(seed: int, is_cut: bool) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(with_restart_intervals(image_file(seed, 40, 70)) if seed % 2 else image_file(seed, 40, 70))
    place = int(rng.integers(len(content)))
    if is_cut:
        del content[place:]
    else:
        content[place] ^= 1 << int(rng.integers(8))
    damaged = bytes(content)
    with_restart_intervals(damaged)
    jpeg = CroppableJpeg(damaged, "image 3 of part")
    try:
        height, width = jpeg.size
        if height * width < 10**6:
            jpeg.decoded_around(np.array([height // 3, width // 3, height // 2, width // 2]))
    except StoreError as error:
        refused = str(error)
        assert refused.startswith("image 3 of part cannot be decoded")


@pytest.mark.parametrize("length", [0, 1, 2, 3, 20, 200])
def test_beginnings_of_files_have_no_header(length: int) -> None:
    assert parse_header(image_file(0, 40, 70)[:length]) is None
