"""Generated clicks: fixed by the seed, in the raw format, with the loss that the hidden model says."""

import gzip
import json

import numpy as np
import pytest
from sklearn.metrics import log_loss

from workloads.criteo1tb.click_log import HIDDEN_MODEL_FILE, HiddenModel, format_rows, write_days
from workloads.criteo1tb.parser import bucket, parse


def test_a_seed_fixes_the_clicks_and_another_changes_them():
    days = [HiddenModel(seed).next_day(200) for seed in (5, 5, 6)]
    texts = [format_rows(day, 0, 200) for day in days]
    assert texts[0] == texts[1] != texts[2]


def test_text_holds_the_drawn_values():
    day = HiddenModel(0).next_day(300)
    rows = parse(np.frombuffer(format_rows(day, 0, 300), np.uint8))
    np.testing.assert_array_equal(rows.labels, day.clicks)
    np.testing.assert_allclose(rows.integers, np.log1p(np.maximum(day.integers, 0)), rtol=1e-6)
    names = [b"00000000" if day.category_missing[r, 3] else b"%08x" % day.categories[r, 3] for r in range(300)]
    assert rows.ids[:, 3].tolist() == [bucket(name, 3) for name in names]
    assert 0 < (day.integers < 0).mean() < 0.5
    assert 0 < day.category_missing.mean() < 0.2


def test_probabilities_are_those_of_the_clicks():
    day = HiddenModel(1).next_day(60_000)
    realised = log_loss(day.clicks, day.probabilities)
    expected = -np.mean(
        day.probabilities * np.log(day.probabilities) + (1 - day.probabilities) * np.log1p(-day.probabilities)
    )
    constant = log_loss(day.clicks, np.full(60_000, day.clicks.mean()))
    assert realised == pytest.approx(expected, abs=0.01)
    assert expected < constant - 0.1  # there is much to learn


def test_categories_follow_a_power_law_and_are_renewed_from_day_to_day():
    model = HiddenModel(2)
    first, second = (set(model.next_day(20_000).categories[:, 0].tolist()) for _ in range(2))
    assert 0.01 < len(second - first) / len(second) < 0.2
    _, counts = np.unique(HiddenModel(2).next_day(20_000).categories[:, 0], return_counts=True)
    counts = np.sort(counts)[::-1]
    assert counts[0] > 8 * counts[15] > 0


def test_files_record_the_loss_of_the_hidden_model(tmp_path, tiny_definition):
    write_days(tiny_definition, tmp_path, lambda message: None)
    days = json.loads((tmp_path / HIDDEN_MODEL_FILE).read_text())["days"]
    assert [day["rows"] for day in days] == [350, 350, 280]
    for number, day in enumerate(days):
        assert len(gzip.decompress((tmp_path / f"day_{number}.gz").read_bytes()).splitlines()) == day["rows"]
        assert 0.2 < day["expected_loss"] < 0.6
