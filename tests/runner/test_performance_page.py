"""The tables of docs/performance.md are those that the kept measurements give, and its figures add up."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = runpy.run_path(str(ROOT / "benchmarks/device_table.py"))
MEASUREMENT = {
    "date": "2026-01-02",
    "device": "Card",
    "driver": "1",
    "python": "3.12",
    "packages": {"jax": "0.11", "torch": None},
    "note": "Alone.",
    "ceilings": {"tf32_tflops": 400.0, "copy_gb_per_s": 2000},
    "skipped": ["ogbg jax"],
    "failed": [{"name": "wmt pytorch", "last_words": ""}],
    "measured": [
        {
            "workload": "wmt",
            "framework": framework,
            "batch_size": 64,
            "matmul_precision": "tf32",
            "programs": {"harness": {"step_ms": 100.0}, "bare": {"step_ms": 95.0}},
            "peak_gb": 20.0,
            "first_step_s": {"harness": 80.0},
            **account,
        }
        for framework, account in (("pytorch", {"model_flops": 20e12}), ("jax", {"xla_bytes": 50e9}))
    ],
}


def test_the_page_has_the_tables_of_the_kept_measurements():
    assert TABLE["PAGE"].read_text() == TABLE["page"](TABLE["PAGE"].read_text())


def test_a_row_says_what_was_reached_and_what_could_be():
    lines = TABLE["_table"](MEASUREMENT).splitlines()
    head, row = ([cell.strip() for cell in lines[number].split("|")[1:-1]] for number in (4, 6))
    figures = dict(zip(head, row, strict=True))
    assert figures["workload (batch)"] == "wmt (64)"
    assert figures["TFLOP/s"] == "200"  # 20e12 in 0.1 s
    assert figures["MFU"] == "50%"
    assert figures["GB/s"] == "500"
    assert figures["share of the roofline"] == "50%"  # 50 ms of operations, 25 ms of bytes
    assert figures["examples/s, one card"] == "640"
    assert figures["eight cards"] == "5,120"
    assert "CUDA graphs, ms" not in figures
    assert lines[-1] == "Without a figure: ogbg jax, wmt pytorch."
