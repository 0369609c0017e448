"""What a trial cost: counters go to the charged part and the rest apart, and what cannot be read has a reason."""

import sys
from pathlib import Path

import pytest
from fake_pynvml import fake_pynvml
from hypothesis import given
from hypothesis import strategies as st

from algoperf.energy import GpuEnergy, ProcessorEnergy
from algoperf.gpu_meter import GpuMeter, GpuSample, visible_gpus
from algoperf.harness.clock import CHARGED, Clock, Item
from algoperf.harness.cost_meter import CostMeter
from algoperf.records.cost import Cost, PhaseCost


class Machine:
    """A machine on which time passes when told: 10 watts, and twice as many CPU seconds as seconds."""

    source, boundary, missing = "cpu", "a fake processor", None

    def __init__(self) -> None:
        self.now_s = 0.0

    def joules(self) -> float:
        return 10 * self.now_s

    def meter(self, counters=None) -> CostMeter:
        return CostMeter(
            counters=[self] if counters is None else counters,
            sample=lambda: [GpuSample(load=0.5, clock_mhz=1500.0, throttled=("sw_power_cap",))],
            now=lambda: self.now_s,
            cpu_now=lambda: 2 * self.now_s,
        )


class Missing:
    source, boundary, missing = "gpu", None, "no driver"

    def joules(self) -> float:
        raise AssertionError("nothing is read of a source that is missing")


def test_energy_and_time_go_to_the_part_in_which_they_were_used():
    machine = Machine()
    meter = machine.meter([machine, Missing()])
    clock = Clock(fence=lambda: None, now=lambda: machine.now_s, observe=meter.switch)
    machine.now_s += 3.0
    clock.start_steps()
    machine.now_s += 5.0
    clock.stop_steps()
    with clock.paused_for(Item.EVALUATION):
        machine.now_s += 7.0
    with clock.preparing_for_eval():
        machine.now_s += 1.0
    cost = meter.cost(time_to_target_s=clock.submission_time_s(), examples_per_s=8.0)
    assert (cost.charged.seconds, cost.uncharged.seconds) == (6.0, 10.0)
    assert (cost.charged.energy_j, cost.uncharged.energy_j) == ({"cpu": 60.0}, {"cpu": 100.0})
    assert (cost.charged.cpu_s, cost.uncharged.cpu_s) == (12.0, 20.0)
    assert cost.energy_to_target_j == 60.0
    assert (cost.energy_boundary, cost.energy_missing) == ({"cpu": "a fake processor"}, {"gpu": "no driver"})


def test_energy_to_target_is_that_of_the_evaluation_that_met_it_and_needs_a_counter():
    machine = Machine()
    meter, blind = machine.meter(), machine.meter([Missing()])
    for number in range(1, 4):
        for one in (meter, blind):
            one.switch(True, 2.0 * (number - 1))
        machine.now_s += 2.0
        for one in (meter, blind):
            one.switch(False, 2.0 * number)
        machine.now_s += 100.0
    assert meter.cost(time_to_target_s=4.0).energy_to_target_j == 40.0
    assert meter.cost().energy_to_target_j is None
    assert blind.cost(time_to_target_s=4.0).energy_to_target_j is None
    assert blind.cost().charged.total_energy_j is None


def test_what_measuring_takes_is_not_charged():
    now = [0.0]
    charged = []

    def slow(is_charged, submission_time_s):
        now[0] += 50.0
        charged.append((is_charged, submission_time_s))

    clock = Clock(fence=lambda: None, now=lambda: now[0], observe=slow)
    clock.start_steps()
    now[0] += 2.0
    clock.stop_steps()
    assert clock.submission_time_s() == 2.0
    assert charged == [(True, 0.0), (False, 2.0)]
    assert clock.ledger_s()[Item.OTHER] == 100.0
    assert sum(clock.ledger_s()[item] for item in CHARGED) == 2.0


def test_the_thread_looks_at_the_gpus_and_ends(monkeypatch):
    machine = Machine()
    monkeypatch.setattr("algoperf.harness.cost_meter._PERIOD_S", 0.001)
    meter = machine.meter().start()
    while not meter.cost().uncharged.samples:
        pass
    meter.close()
    part = meter.cost().uncharged
    assert (part.gpu_utilisation, part.gpu_clock_mhz, part.throttled) == (0.5, 1500.0, {"sw_power_cap": 1.0})
    assert meter.cost().charged.gpu_utilisation is None


def test_peaks_of_memory_are_apart():
    meter = CostMeter(counters=[], sample=list)
    meter.switch(True, 0.0)
    assert bytearray(300_000_000).count(0) == 300_000_000
    meter.switch(False, 1.0)
    cost = meter.cost()
    if cost.charged.host_peak_bytes != cost.uncharged.host_peak_bytes:  # where the kernel lets a process reset its peak
        assert cost.charged.host_peak_bytes - cost.uncharged.host_peak_bytes > 100_000_000
    assert cost.charged.host_peak_bytes > 300_000_000


def zone(folder: Path, name: str, label: str, microjoules: int, limit: int = 1000) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / "name").write_text(label)
    (path / "max_energy_range_uj").write_text(str(limit))
    (path / "energy_uj").write_text(str(microjoules))
    return path / "energy_uj"


@given(steps=st.lists(st.integers(0, 999), max_size=20))
def test_counters_of_processors_may_start_again(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("powercap")
    counters = [zone(folder, "intel-rapl:0", "package-0", 900), zone(folder, "intel-rapl:0:1", "dram", 0)]
    zone(folder, "intel-rapl:0:0", "core", 5)
    energy = ProcessorEnergy(folder)
    assert energy.boundary == "RAPL zones package-0, dram, all work of the machine included"
    total = 0
    for step in steps:
        for counter in counters:
            counter.write_text(str((int(counter.read_text()) + step) % 1000))
        total += 2 * step
        assert energy.joules() == pytest.approx(total / 1e6)


def test_a_machine_without_counters_says_why(tmp_path, monkeypatch):
    assert "no zone of RAPL" in ProcessorEnergy(tmp_path / "none").missing
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    monkeypatch.setattr(Path, "read_text", _refused)
    assert ProcessorEnergy(tmp_path).missing == f"{tmp_path}/intel-rapl:0/energy_uj is readable by root only"


def _refused(self: Path) -> str:
    if self.name == "energy_uj":
        raise PermissionError(13, "Permission denied", str(self))
    return self.read_bytes().decode()


def test_gpus_count_energy_where_all_of_them_do(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus = [(40, 250, 1000, 35, 5_000), (60, 750, 1000, 40, 7_000)]
    library = fake_pynvml(gpus)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    meter = GpuMeter()
    energy = GpuEnergy(meter)
    gpus[:] = [(40, 250, 1000, 35, 6_500), (60, 750, 1000, 40, 7_500)]
    meter._handles = gpus
    assert energy.joules() == 2.0
    assert "NVIDIA H200 (0), NVIDIA H200 (1)" in energy.boundary
    assert [(sample.load, sample.clock_mhz, sample.throttled) for sample in meter.sample()] == [
        (0.4, 1980.0, ("sw_power_cap", "hw_thermal_slowdown")),
        (0.6, 1980.0, ("sw_power_cap", "hw_thermal_slowdown")),
    ]
    meter.close()
    assert not library.is_open
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml([(40, 250, 1000, 35, None)]))
    assert GpuEnergy(GpuMeter()).missing == "the driver counts no energy of these GPUs"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert GpuEnergy(GpuMeter()).missing == "no NVIDIA driver answers"


@pytest.mark.parametrize(
    ("variable", "chosen"),
    [(None, [0, 1, 2]), ("", []), ("2,0", [2, 0]), ("GPU-b", [1]), ("0,x,1", [0]), ("GPU-", []), ("3", [])],
)
def test_visible_gpus_are_read_as_cuda_reads_them(variable, chosen):
    assert visible_gpus(variable, ["GPU-a1", "GPU-b2", "GPU-c3"]) == chosen


parts = st.builds(
    PhaseCost,
    seconds=st.floats(0, 1e6),
    cpu_s=st.floats(0, 1e6),
    energy_j=st.dictionaries(st.sampled_from(["gpu", "cpu"]), st.floats(0, 1e9)),
    host_peak_bytes=st.none() | st.integers(0, 2**40),
    samples=st.integers(0, 1000),
    gpu_utilisation=st.none() | st.floats(0, 1),
)


@given(parts, parts)
def test_the_parts_of_two_processes_add_up(one, other):
    both = one.plus(other)
    assert both == other.plus(one)
    assert both.seconds == one.seconds + other.seconds
    assert (both.total_energy_j or 0.0) == pytest.approx((one.total_energy_j or 0.0) + (other.total_energy_j or 0.0))
    known = [part.gpu_utilisation for part in (one, other) if part.gpu_utilisation is not None and part.samples]
    if known:
        assert min(known) - 1e-9 <= both.gpu_utilisation <= max(known) + 1e-9


def test_the_target_may_be_met_in_the_first_process_or_a_later_one():
    used = PhaseCost(seconds=1.0, energy_j={"cpu": 100.0})
    part = Cost(charged=used, uncharged=PhaseCost())
    met = Cost(charged=used, uncharged=PhaseCost(), energy_to_target_j=30.0)
    assert met.after(part).energy_to_target_j == 130.0
    assert part.after(met).energy_to_target_j == 30.0
    assert part.after(part).energy_to_target_j is None
    assert part.after(met).after(part).processes == 3
