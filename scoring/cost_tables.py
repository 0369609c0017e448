"""What a board cost, as Markdown."""

import math
from collections.abc import Callable, Sequence

from scoring.costs import CostRow

_HEADS = (
    *("submission", "workload", "trials", "hours, charged + rest", "kWh, charged + rest", "kWh to target"),
    *("peak memory, host and device (GB)", "examples / s", "money"),
)


def cost_markdown(rows: Sequence[CostRow], escaped: Callable[[str], str]) -> list[str]:
    """A line for each submission and workload, and what the energy is of."""
    lines = [
        "Hours and energy are sums over trials, charged and uncharged parts apart; energy to target is the median of "
        "the trials that met the target.",
        "",
        f"| {' | '.join(_HEADS)} |",
        f"|{':---|' * 2}{'---:|' * (len(_HEADS) - 2)}",
        *(f"| {' | '.join(_columns(row, escaped))} |" for row in rows),
    ]
    sources = sorted({row.energy_of for row in rows})
    return [*lines, "", *(f"- Energy: {escaped(source)}." for source in sources)]


def _columns(row: CostRow, escaped: Callable[[str], str]) -> tuple[str, ...]:
    return (
        escaped(row.submission),
        escaped(row.workload),
        str(row.trials),
        _pair(row.charged_h, row.uncharged_h),
        _pair(row.energy_charged_kwh, row.energy_uncharged_kwh),
        _text(row.energy_to_target_kwh),
        f"{_text(row.host_peak_bytes / 1e9)}, {_text(row.device_peak_bytes / 1e9)}",
        _text(row.examples_per_s),
        f"{_text(row.money)} {escaped(row.currency)}".strip(),
    )


def _pair(one: float, other: float) -> str:
    return f"{_text(one)} + {_text(other)}"


def _text(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"
