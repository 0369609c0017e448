"""What a step costs is measured relative to the reference, with periodic work counted whole."""

import json
import math

import pytest

from algoperf import step_cost
from algoperf.comparison.step_cost import _interval_rank, relative_cost
from algoperf.records.step_costs import RelativeStepCost, StepCosts, StepCostsFileError


class SteadySteps:
    """Steps that take `step_s` seconds, and every 50th `rare_s` more, times the load of the machine at each call."""

    batch_size = 8

    def __init__(self, step_s: float, rare_s: float, load) -> None:
        self.step_s, self.rare_s, self.load, self.number = step_s, rare_s, load, 0

    def seconds_of(self, num_steps: int) -> float:
        rare = sum(number % 50 == 0 for number in range(self.number, self.number + num_steps))
        self.number += num_steps
        return (num_steps * self.step_s + rare * self.rare_s) * self.load()

    def seconds_of_prepare_for_eval(self) -> float:
        return 3 * self.step_s * self.load()


def drifting_load():
    """Slower by 0.1 % at each call."""
    calls = iter(range(10**6))
    return lambda: 1.001 ** next(calls)


def test_rare_work_is_counted_whole_while_the_machine_gets_slower():
    load = drifting_load()
    mine, reference = SteadySteps(0.012, 0.4, load), SteadySteps(0.01, 0.0, load)
    cost = relative_cost(mine, reference, period=100, cycles=6, max_s=0.0)
    assert cost.cycles == 2  # no cycle starts after the time is up, but two are measured
    assert cost.ratio == pytest.approx(2.0, rel=0.01)  # (0.012 + 0.4 / 50) / 0.01
    assert cost.low <= cost.ratio <= cost.high
    assert cost.prepare_for_eval == pytest.approx(3.6, rel=0.01)


def test_six_cycles_give_an_interval_of_95_percent_and_fewer_say_so():
    assert [_interval_rank(count) for count in (2, 5, 6)] == [(0, 0.5), (0, 0.9375), (0, 0.96875)]
    rank, confidence = _interval_rank(40)
    assert rank == 13
    assert 0.95 <= confidence < 0.97


def test_a_submission_that_sleeps_costs_more_than_the_reference(tmp_path, capsys):
    submission, output = tmp_path / "sleepy.py", tmp_path / "costs.json"
    submission.write_text(
        "import time\n"
        "from reference_algorithms.nadamw.jax_submission import (\n"
        "    data_selection, get_batch_size, init_optimizer_state, prepare_for_eval, update_params as nadamw_update)\n"
        "def update_params(workload, current_param_container, current_params_types, model_state, hyperparameters,\n"
        "                  batch, loss_type, optimizer_state, eval_results, global_step, rng):\n"
        "    if global_step % 10 == 0:\n"
        "        time.sleep(0.2)\n"
        "    return nadamw_update(**locals())\n"
    )
    arguments = [f"--submission_path={submission}", "--workload=mnist_mini", f"--output={output}"]
    assert step_cost.main([*arguments, "--period=20", "--cycles=2", "--max_seconds=0"]) == 0
    assert "mnist_mini" in capsys.readouterr().out
    cost = StepCosts.load(output).step_costs["mnist_mini"]
    assert cost.ratio > 2
    assert cost.step_s > 0.02
    assert json.loads(output.read_text())["framework"] == "jax"


@pytest.mark.parametrize(
    ("flags", "expected"), [([], None), (["--torch_compile"], True), (["--no-torch_compile"], False)]
)
def test_models_are_compiled_as_asked_for(flags, expected, tmp_path, monkeypatch):
    asked = []

    class Recorded:
        """A submission whose steps cost nothing in particular."""

        batch_size = 8

        def __init__(self, submission, definition, backend, *, compile_model, **other):
            asked.append(compile_model)

        def seconds_of(self, num_steps):
            return 0.01 * num_steps

        def seconds_of_prepare_for_eval(self):
            return 0.01

    monkeypatch.setattr(step_cost, "SteppedSubmission", Recorded)
    arguments = ["--submission_path=reference_algorithms.nadamw.jax_submission", "--workload=mnist_mini"]
    assert step_cost.main([*arguments, f"--output={tmp_path / 'costs.json'}", *flags]) == 0
    assert asked == [expected, expected], "both submissions alike"


def test_a_file_of_something_else_is_refused(tmp_path):
    file = tmp_path / "costs.json"
    file.write_text('{"schema_version": 1, "step_costs": {"wmt": 3}}')
    with pytest.raises(StepCostsFileError, match="holds no step costs"):
        StepCosts.load(file)


def test_a_cost_outside_its_interval_is_refused():
    with pytest.raises(ValueError, match="in its interval"):
        RelativeStepCost(
            ratio=1.0, low=1.1, high=math.inf, confidence=0.9, cycles=2, period=1, batch_size=1,
            reference_batch_size=1, step_s=1, reference_step_s=1,
        )  # fmt: skip


def test_counts_below_one_are_a_line_on_the_terminal(capsys):
    assert step_cost.main(["--submission_path=x.py", "--workload=mnist_mini", "--period=0"]) == 2
    assert capsys.readouterr().err == "error: --period must be at least 1, got 0\n"
