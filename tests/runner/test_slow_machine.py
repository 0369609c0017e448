"""The benchmarks of the clock: a machine with a part of its time, and one submission under several conditions."""

import runpy
import sys
import types
from pathlib import Path

import psutil
import pytest

from algoperf.definition import PYTORCH

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def benchmark(name: str) -> types.SimpleNamespace:
    return types.SimpleNamespace(**runpy.run_path(str(BENCHMARKS / f"{name}.py")))


def test_a_mini_reaches_its_target_with_half_of_the_time(tmp_path, capsys):
    slow_machine = benchmark("slow_machine")
    folders = [f"--experiment_dir={tmp_path / 'runs'}", f"--data_dir={tmp_path / 'data'}"]
    command = ["--workload=mnist_mini", f"--frameworks={PYTORCH.name}", "--share=0.5", *folders]
    assert slow_machine.main(command) == 0
    assert f"| {PYTORCH.name} | reached | 60 |" in capsys.readouterr().out


def test_what_runs_slowly_keeps_its_exit_status_and_its_children_end_running(tmp_path):
    child = "import time; time.sleep(60)"
    parent = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid); sys.exit(3)"
    slow_machine = benchmark("slow_machine")
    script = tmp_path / "parent.py"
    script.write_text(
        parent.replace("print(", f"open({str(tmp_path / 'pid')!r}, 'w').write(str(").replace(".pid)", ".pid))")
    )
    assert slow_machine.run_slowly([sys.executable, str(script)], 0.5, period_s=0.02) == 3
    left = psutil.Process(int((tmp_path / "pid").read_text()))
    try:
        assert left.status() != psutil.STATUS_STOPPED
    finally:
        left.kill()


def test_ratios_are_to_the_quiet_machine_in_seconds_and_in_reference_steps():
    conditions = benchmark("calibration_agreement")
    costs = {
        conditions.QUIET: conditions.Cost(seconds=0.2, reference_steps=2.0, spread=0.03),
        "loaded": conditions.Cost(seconds=0.5, reference_steps=2.2, spread=0.04),
        "one_core": None,
    }
    lines = dict(zip(costs, conditions.rows_of("toy", PYTORCH.name, costs), strict=True))
    assert lines["loaded"] == (
        f"| toy | {PYTORCH.name} | loaded | 0.5 | 2.50 | 2.2 | 1.10 ± 0.06 |",
        pytest.approx(1.1),
    )
    assert "no result" in lines["one_core"][0]
