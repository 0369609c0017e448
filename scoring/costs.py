"""What the runs of a board cost: hours, energy, energy to target, and money by a price table of the user's."""

import math
import statistics
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from algoperf.errors import UserError
from algoperf.records.cost import Cost, PhaseCost
from algoperf.records.trial import TrialRecord
from scoring.log_issues import printable
from scoring.logs import LogTree

JOULES_PER_KWH = 3.6e6
_SECONDS_PER_HOUR = 3600.0
_ENERGY_KEY, _DEVICE_KEY, _CURRENCY_KEY = "energy_per_kwh", "device_hour", "currency"


class PricesError(UserError, ValueError):
    """A price table cannot be used; the message says what is expected."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What hours and energy cost.

    Attributes:
      currency: of all prices.
      device_hour: of one device, by a part of its name, whatever its case; the longest part that fits counts. A run on
        processors alone takes one device.
      energy_per_kwh: on top, where energy was measured; None where it is in the price of the hour.
    """

    currency: str
    device_hour: Mapping[str, float] = field(default_factory=dict)
    energy_per_kwh: float | None = None

    @classmethod
    def read(cls, path: Path) -> "Prices":
        """Reads a TOML file.

        Raises:
          PricesError: it cannot be read, or holds something else.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PricesError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        if unknown := set(content) - {entry.name for entry in fields(cls)}:
            raise PricesError(
                f"{path}: unknown {', '.join(sorted(unknown))}; expected {_CURRENCY_KEY}, {_ENERGY_KEY}, "
                f"[{_DEVICE_KEY}]"
            )
        devices = content.get(_DEVICE_KEY, {})
        numbers = [*(devices.values() if isinstance(devices, dict) else [None])]
        numbers += [content[_ENERGY_KEY]] if _ENERGY_KEY in content else []
        if not isinstance(content.get(_CURRENCY_KEY), str) or not all(_is_price(number) for number in numbers):
            raise PricesError(f'{path}: expected {_CURRENCY_KEY} = "EUR" and prices of at least 0, got {content}')
        return cls(**content)

    def of_hour(self, device: str) -> float | None:
        """Price of an hour of a device; None where the table has none."""
        fitting = [name for name in self.device_hour if name.lower() in device.lower()]
        return self.device_hour[max(fitting, key=len)] if fitting else None


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """What the trials of a submission on a workload cost. NaN stands for what is not known.

    Attributes:
      trials: that measured their cost.
      charged_h, uncharged_h: wall time, summed.
      energy_charged_kwh, energy_uncharged_kwh: summed; NaN where a trial has no energy.
      energy_to_target_kwh: median over the trials that met the validation target.
      energy_of: what the energy is of, or why there is none.
      host_peak_bytes, device_peak_bytes: largest of a trial.
      cpu_cores: processor cores in use on average while the submission was charged.
      gpu_utilisation, gpu_clock_mhz: means over the charged parts.
      throttled: reasons for which GPUs were slowed down there, with the share of samples.
      examples_per_s: median.
      money: summed, in `currency`; NaN where a price is missing.
    """

    submission: str
    workload: str
    trials: int
    charged_h: float
    uncharged_h: float
    energy_charged_kwh: float
    energy_uncharged_kwh: float
    energy_to_target_kwh: float
    energy_of: str
    host_peak_bytes: float
    device_peak_bytes: float
    cpu_cores: float
    gpu_utilisation: float
    gpu_clock_mhz: float
    throttled: str
    examples_per_s: float
    money: float
    currency: str


def cost_rows(tree: LogTree, prices: Prices | None = None) -> list[CostRow]:
    """A row for each submission and workload with a trial that measured its cost, by name."""
    grouped: dict[tuple[str, str], list[TrialRecord]] = {}
    for trial in tree.trials:
        record = trial.record
        if record is not None and record.cost is not None:
            grouped.setdefault((trial.submission, trial.workload), []).append(record)
    return [_row(*key, records, prices) for key, records in sorted(grouped.items())]


def _row(submission: str, workload: str, records: Sequence[TrialRecord], prices: Prices | None) -> CostRow:
    costs = [record.cost for record in records if record.cost is not None]
    charged = _sum(cost.charged for cost in costs)
    to_target = [cost.energy_to_target_j for cost in costs if cost.energy_to_target_j is not None]
    rates = [cost.examples_per_s for cost in costs if cost.examples_per_s is not None]
    return CostRow(
        submission=submission,
        workload=workload,
        trials=len(costs),
        charged_h=charged.seconds / _SECONDS_PER_HOUR,
        uncharged_h=sum(cost.uncharged.seconds for cost in costs) / _SECONDS_PER_HOUR,
        energy_charged_kwh=_energy_kwh(cost.charged for cost in costs),
        energy_uncharged_kwh=_energy_kwh(cost.uncharged for cost in costs),
        energy_to_target_kwh=statistics.median(to_target) / JOULES_PER_KWH if to_target else math.nan,
        energy_of=printable("; ".join(sorted({_energy_of(cost) for cost in costs}))),
        host_peak_bytes=_largest(part.host_peak_bytes for cost in costs for part in (cost.charged, cost.uncharged)),
        device_peak_bytes=_largest(cost.device_peak_bytes for cost in costs),
        cpu_cores=charged.cpu_s / charged.seconds if charged.seconds else math.nan,
        gpu_utilisation=_or_nan(charged.gpu_utilisation),
        gpu_clock_mhz=_or_nan(charged.gpu_clock_mhz),
        throttled=", ".join(f"{printable(reason)} {share:.0%}" for reason, share in charged.throttled.items()),
        examples_per_s=statistics.median(rates) if rates else math.nan,
        money=sum(_money(record, prices) for record in records) if prices else math.nan,
        currency=prices.currency if prices else "",
    )


def _money(record: TrialRecord, prices: Prices) -> float:
    """Price of one trial; NaN where the table has none for its device."""
    cost = record.cost
    assert cost is not None
    name, count = _devices(record.provenance)
    price = prices.of_hour(name)
    if price is None:
        return math.nan
    money = price * count * cost.seconds / _SECONDS_PER_HOUR
    if prices.energy_per_kwh is not None:
        joules = [part.total_energy_j for part in (cost.charged, cost.uncharged)]
        money += prices.energy_per_kwh * sum(j for j in joules if j is not None) / JOULES_PER_KWH
    return money


def _devices(provenance: Mapping[str, Any]) -> tuple[str, int]:
    """Name and number of the devices of a run; of one on processors, the model of the processor, once."""
    hardware = _mapping(provenance.get("hardware"))
    devices = _mapping(hardware.get("devices"))
    names = devices.get("device_names")
    if devices.get("platform") == "cpu" or not isinstance(names, list) or not names:
        return str(hardware.get("cpu_model") or "cpu"), 1
    count = devices.get("num_devices")
    return str(names[0]), count if isinstance(count, int) else len(names)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _energy_of(cost: Cost) -> str:
    chosen = cost.energy_boundary or cost.energy_missing
    return ", ".join(f"{source}: {text}" for source, text in chosen.items()) or "not measured"


def _energy_kwh(parts: Iterable[PhaseCost]) -> float:
    joules = [part.total_energy_j for part in parts]
    known = [j for j in joules if j is not None]
    return sum(known) / JOULES_PER_KWH if known and len(known) == len(joules) else math.nan


def _sum(parts: Iterable[PhaseCost]) -> PhaseCost:
    total = PhaseCost()
    for part in parts:
        total = total.plus(part)
    return total


def _largest(values: Iterable[int | None]) -> float:
    return float(max((value for value in values if value is not None), default=math.nan))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _is_price(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
