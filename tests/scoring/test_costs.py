"""What a board cost: energy that was not measured stays unknown, and money follows the user's price table."""

import math
from pathlib import Path

import pytest
from scoring_boards import give_costs

from algoperf.records.cost import Cost, PhaseCost
from scoring.analysis import analyse
from scoring.costs import Prices, PricesError, cost_rows
from scoring.logs import read_logs
from scoring.outputs import write_tables
from scoring.report import write_report
from scoring.rules import Rules

HOUR = 3600.0
MEASURED = Cost(
    charged=PhaseCost(seconds=HOUR, cpu_s=4 * HOUR, energy_j={"gpu": 7.2e6}, samples=10, gpu_utilisation=0.9),
    uncharged=PhaseCost(seconds=HOUR / 2, energy_j={"gpu": 1.8e6}),
    energy_boundary={"gpu": "NVML, boards of an H100"},
    energy_to_target_j=3.6e6,
    examples_per_s=100.0,
)
BLIND = Cost(
    charged=PhaseCost(seconds=HOUR),
    uncharged=PhaseCost(seconds=0.0),
    energy_missing={"gpu": "no NVIDIA driver answers"},
)
GPU = {
    "hardware": {
        "cpu_model": "A processor",
        "devices": {"platform": "gpu", "device_names": ["NVIDIA H100 PCIe"], "num_devices": 2},
    }
}


@pytest.fixture
def tree(written_board: Path, small_rules: Rules):
    first = sorted(path.name for path in written_board.iterdir())[0]
    give_costs(written_board, {path.name: BLIND for path in written_board.iterdir()} | {first: MEASURED}, GPU)
    return read_logs(written_board, small_rules.workloads)


def test_costs_are_summed_and_what_was_not_measured_is_not_zero(tree):
    first = cost_rows(tree)[0]
    count = first.trials
    assert count > 1
    assert (first.charged_h, first.uncharged_h) == pytest.approx((count, count / 2))
    assert (first.energy_charged_kwh, first.energy_uncharged_kwh) == pytest.approx((2 * count, count / 2))
    assert (first.energy_to_target_kwh, first.cpu_cores, first.gpu_utilisation) == pytest.approx((1.0, 4.0, 0.9))
    last = cost_rows(tree)[-1]
    assert math.isnan(last.energy_charged_kwh)
    assert math.isnan(last.energy_to_target_kwh)
    assert last.energy_of == "gpu: no NVIDIA driver answers"
    assert math.isnan(first.money)


def test_money_is_hours_of_devices_and_energy_by_the_longest_name_that_fits(tree, tmp_path):
    table = tmp_path / "prices.toml"
    table.write_text('currency = "EUR"\nenergy_per_kwh = 0.4\n[device_hour]\nH100 = 9.0\n"h100 pcie" = 2.0\n')
    rows = cost_rows(tree, Prices.read(table))
    assert rows[0].currency == "EUR"
    assert rows[0].money == pytest.approx(rows[0].trials * (1.5 * 2 * 2.0 + 2.5 * 0.4))
    assert rows[-1].money == pytest.approx(rows[-1].trials * 1.0 * 2 * 2.0)
    assert math.isnan(cost_rows(tree, Prices(currency="EUR", device_hour={"TPU": 1.0}))[0].money)


@pytest.mark.parametrize(
    "text",
    [
        "",
        'currency = "EUR"\n[device_hour]\nH100 = -1\n',
        "currency = 3\n",
        'currency = "EUR"\nprice = 2\n',
        "a b",
        'currency = "EUR"\nenergy_per_kwh = "much"\n',
        'currency = "EUR"\ndevice_hour = 3\n',
    ],
)
def test_a_price_table_that_cannot_be_used_is_one_line(text, tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(PricesError) as refusal:
        Prices.read(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_tables_and_report_show_costs_only_where_there_are_some(tree, small_rules, written_board, tmp_path):
    prices = Prices(currency="EUR", device_hour={"H100": 1.0})
    analysis = analyse(tree, small_rules, small_rules.tuning["self"], replicates=20, prices=prices)
    write_tables(analysis, tmp_path / "with")
    assert "What it cost" in (tmp_path / "with/leaderboard.md").read_text()
    assert "EUR" in (tmp_path / "with/costs.csv").read_text()
    assert '"costs"' in write_report(analysis, tmp_path / "with").read_text()
    give_costs(written_board, {}, GPU)
    bare = analyse(
        read_logs(written_board, small_rules.workloads), small_rules, small_rules.tuning["self"], replicates=20
    )
    write_tables(bare, tmp_path / "without")
    assert not (tmp_path / "without/costs.csv").exists()
    assert "What it cost" not in (tmp_path / "without/leaderboard.md").read_text()
