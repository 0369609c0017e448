"""What the driver says, and silence where there is no driver, no package or no permission."""

import subprocess
import sys

import pytest
from fake_pynvml import fake_pynvml

from algoperf import nvidia


def test_each_gpu_is_described_and_the_library_closed(monkeypatch):
    library = fake_pynvml([(40, 250, 1000, 35), (None, 750, 1000, None)])
    monkeypatch.setitem(sys.modules, "pynvml", library)
    first, second = nvidia.gpus()
    assert first == nvidia.Gpu(
        name="NVIDIA H200",
        driver_version="575.1",
        load=0.4,
        memory_total_mib=1000,
        memory_used_mib=250,
        memory_free_mib=750,
        temperature_c=35,
    )
    assert (second.load, second.memory_used_mib, second.temperature_c) == (None, 750, None)
    assert nvidia.driver_version() == "575.1"
    assert not library.is_open


@pytest.mark.parametrize("library", [None, fake_pynvml([(40, 250, 1000, 35)], driver=None)], ids=["package", "driver"])
def test_without_package_or_driver_nothing_is_known(monkeypatch, library):
    monkeypatch.setitem(sys.modules, "pynvml", library)  # None makes the import fail
    assert nvidia.driver_version() is None
    assert nvidia.gpus() == []


def test_an_idle_cold_gpu_has_zeros_not_unknowns(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml([(0, 0, 1000, 0)]))
    (gpu,) = nvidia.gpus()
    assert (gpu.load, gpu.memory_used_mib, gpu.temperature_c) == (0, 0, 0)


def test_the_driver_is_loaded_on_the_first_question_only():
    program = "import sys, algoperf.nvidia, algoperf.records.provenance; assert 'pynvml' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
