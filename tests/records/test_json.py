"""JSON files: strict, complete or untouched, and one way to convert what a run holds."""

import enum
import json as stdlib_json
import math
import os
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.definition import Direction, LossType
from algoperf.records import json
from algoperf.records.files import RecorderError, RecordError


@dataclass(frozen=True)
class Point:
    x: float
    where: Path


class Colour(enum.Enum):
    RED = 1


def strictly(text: str):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return stdlib_json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (-math.inf, None),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.array([[1.0, math.inf]]), [[1.0, None]]),
        (Direction.MINIMIZE, "minimize"),
        (LossType.CTC_LOSS, "CTC_LOSS"),
        (Colour.RED, "RED"),
        (Point(0.5, Path("/a/b")), {"x": 0.5, "where": "/a/b"}),
        (namedtuple("Pair", "a b")(1, (2, 3)), {"a": 1, "b": [2, 3]}),
        ({"b", "a"}, ["a", "b"]),
        ({1: True, Colour.RED: None}, {"1": True, "RED": None}),
        ("\udcff", "\\udcff"),
    ],
)
def test_values_become_types_of_json(value, expected):
    assert json.plain(value) == expected


@pytest.mark.parametrize("value", [object(), object, len, {"a": [object()]}, {(1, 2): 3}, {None: 1}, {True: 1}])
def test_what_has_no_form_is_refused(value):
    with pytest.raises(TypeError, match=r"cannot write|a key in JSON"):
        json.plain(value)


def test_unknown_objects_become_what_the_caller_says():
    assert json.plain({"a": [object]}, unknown=str) == {"a": ["<class 'object'>"]}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_the_text_is_strict_and_says_what_the_conversion_says(value):
    assert strictly(json.dumps(value)) == json.plain(value)


def test_a_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "trial.json"
    json.write(path, {"b": 1, "a": [math.nan, np.float32(0.5), tmp_path]})
    content = strictly(path.read_text())
    assert list(content) == ["b", "a"]
    assert content["a"] == [None, 0.5, str(tmp_path)]
    with pytest.raises(TypeError, match="cannot write object as JSON"):
        json.write(path, {"b": object()})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecorderError, match=r"^cannot write .*trial.json: No space left on device; free some"):
        json.write(path, {"b": 2})
    assert json.read(path)["b"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["trial.json"]


@pytest.mark.parametrize("content", [None, "{", "[1]", "\xff"])
def test_what_is_no_object_is_named_or_none(tmp_path, content):
    path = tmp_path / "seed.json"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    assert json.read_if_intact(path) is None
    with pytest.raises(RecordError, match=r"seed\.json: expected a JSON object, got .*; restore or delete the file"):
        json.read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested more than 100 deep"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested more than 100 deep"),
        (b'{"seed": ' + b"9" * 400 + b"}", "a number of 400 digits"),
        (b'{"a": "' + b"x" * json.MAX_BYTES + b'"}', "larger than 4,194,304 bytes"),
    ],
)
def test_content_that_no_run_writes_is_refused(tmp_path, content, reason):
    path = tmp_path / "flags_0.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=reason):
        json.read(path)


def test_a_hundred_levels_and_many_small_values_are_read(tmp_path):
    path = tmp_path / "flags_0.json"
    path.write_bytes(b'{"a":' * 100 + b"1" + b"}" * 100)
    assert json.read(path)["a"]
    path.write_text('{"a": [' + "[]," * 500 + "[]]}")
    assert len(json.read(path)["a"]) == 501


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_a_pipe_a_folder_and_a_device_are_refused_without_waiting(tmp_path, make):
    path = tmp_path / "flags_0.json"
    make(path)
    with pytest.raises(RecordError, match="not a regular file"):
        json.read(path)
