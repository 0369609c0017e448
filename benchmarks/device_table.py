"""Tables of docs/performance.md from the measurements in docs/performance/*.json, which device_steps.py writes.

  python benchmarks/device_table.py [--check]

Writes them between the markers of the page; with --check, fails where the page has others.
"""

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE, MEASUREMENTS = ROOT / "docs/performance.md", ROOT / "docs/performance"
START, END = "<!-- tables of benchmarks/device_table.py -->", "<!-- end of the tables -->"
_FRAMEWORKS = {"jax": "JAX", "pytorch": "PyTorch"}
_HEAD = (
    "workload (batch)",
    "framework, precision",
    "harness, ms",
    "bare, ms",
    "eager, ms",
    "CUDA graphs, ms",
    "TFLOP/s",
    "MFU",
    "GB/s",
    "share of the roofline",
    "peak GB",
    "trial compilation, s",
    "first step, s",
    "examples/s, one card",
    "eight cards",
)


def tables(folder: Path = MEASUREMENTS) -> str:
    """One table for each measurement, the newest first."""
    return "\n\n".join(_table(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"), reverse=True))


def _table(measurement: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in measurement["packages"].items() if version)
    lines = [f"### {measurement['device']}, {measurement['date']}", ""]
    words = f"{versions}, Python {measurement['python']}, driver {measurement['driver']}. {measurement['note']}"
    lines += [*textwrap.wrap(words, 120), ""]
    rows = [_HEAD, *(_row(figures, measurement) for figures in _sorted(measurement["measured"]))]
    used = [number for number in range(len(_HEAD)) if any(row[number] for row in rows[1:])]
    for position, row in enumerate(rows):
        lines.append("| " + " | ".join(row[number] for number in used) + " |")
        if position == 0:
            lines.append("|" + "---|" * len(used))
    if measurement["skipped"] or measurement["failed"]:
        missing = [*measurement["skipped"], *(failure["name"] for failure in measurement["failed"])]
        lines += ["", f"Without a figure: {', '.join(missing)}."]
    return "\n".join(lines)


def _sorted(measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(measured, key=lambda m: (m["workload"], m["framework"], m["matmul_precision"]))


def _row(figures: dict[str, Any], measurement: dict[str, Any]) -> tuple[str, ...]:
    steps = {name: program["step_ms"] for name, program in figures["programs"].items()}
    step_ms = steps.get("harness") or steps.get("bare") or steps["bare_eager"]
    same = [m for m in measurement["measured"] if m["workload"] == figures["workload"]]
    flops = next((m["model_flops"] for m in same if m.get("model_flops")), None)
    num_bytes = next((m["xla_bytes"] for m in same if m.get("xla_bytes")), None)
    limits = measurement["ceilings"]
    peak_tflops, copy = limits.get(f"{figures['matmul_precision']}_tflops"), limits.get("copy_gb_per_s")
    tflops = flops and flops / step_ms / 1e9
    rate = num_bytes and num_bytes / step_ms / 1e6
    floor_ms = None
    if flops and num_bytes and peak_tflops and copy:
        floor_ms = max(flops / peak_tflops / 1e9, num_bytes / copy / 1e6)
    shared = "*" if figures.get("is_shared") else ""
    first = figures.get("first_step_s", {})
    return (
        f"{figures['workload']} ({figures['batch_size']:,})",
        f"{_FRAMEWORKS[figures['framework']]}, {figures['matmul_precision']}",
        _number(steps.get("harness")),
        _number(steps.get("bare")) + (shared if "bare" in steps else ""),
        _number(steps.get("bare_eager")) + (shared if "bare_eager" in steps else ""),
        _number(steps.get("bare_graphs")),
        _number(tflops),
        f"{tflops / peak_tflops:.0%}" if tflops and peak_tflops else "",
        _number(rate),
        f"{floor_ms / step_ms:.0%}" if floor_ms else "",
        _number(figures.get("peak_gb")),
        _number(figures.get("prepare_model_s") or None),
        _number(first.get("harness") or first.get("bare")),
        _rounded(1e3 * figures["batch_size"] / step_ms),
        _rounded(8e3 * figures["batch_size"] / step_ms),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _rounded(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}"


def page(text: str) -> str:
    """The page with the tables of now."""
    head, rest = text.split(START)
    _, tail = rest.split(END)
    return f"{head}{START}\n\n{tables()}\n\n{END}{tail}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    expected = page(PAGE.read_text())
    if options.check:
        if expected != PAGE.read_text():
            raise SystemExit(f"{PAGE} is not what {MEASUREMENTS} gives; run python benchmarks/device_table.py")
    else:
        PAGE.write_text(expected)


if __name__ == "__main__":
    main()
