"""Laws that hold for every reference algorithm, in both frameworks."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import small_problem
from train_small_problem import Run

from algoperf import definition
from algoperf.backends import base
from algoperf.registry import REGISTRY, suites
from algoperf.submissions.loading import load_submission, resolve_batch_size
from algoperf.submissions.tuning import SearchSpace
from reference_algorithms.ademamix.slow_average import beta3

ROOT = Path(__file__).parents[2] / "reference_algorithms"
ALGORITHMS = sorted(path.parent.name for path in ROOT.glob("*/jax_submission.py"))
FRAMEWORKS = [pytest.param("jax", marks=pytest.mark.jax), pytest.param("torch", marks=pytest.mark.torch)]

# Parameters are of order 0.3 and move by 1e-2; float32 rounding over 20 steps leaves 5e-7.
TOLERANCE = 3e-6

# What only shows with other values than the defaults: preconditioned steps and several blocks. The ridge bounds the
# condition of the statistics, which are singular at first; with the default 1e-6 rounding grows to 3e-5.
SETTINGS = {
    "shampoo": {"start_step": 3, "root_every_steps": 4, "block_size": 6, "merge_size": 16, "matrix_epsilon": 1e-4}
}


def hyperparameters(algorithm: str, **changes: object) -> SimpleNamespace:
    fixed = json.loads((ROOT / algorithm / "self_tuning.json").read_text())
    return SimpleNamespace(**(fixed | SETTINGS.get(algorithm, {}) | {"warmup_factor": 0.02} | changes))


def largest_difference(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> float:
    assert first.keys() == second.keys()
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


def test_every_algorithm_has_the_same_files():
    assert {"adamw", "nadamw", "momentum", "nesterov", "lamb", "adafactor", "sam", "shampoo"} <= set(ALGORITHMS)
    assert {"schedule_free_adamw", "muon", "lion", "ademamix"} <= set(ALGORITHMS)
    for algorithm in ALGORITHMS:
        for name in ("torch_submission.py", "self_tuning.json", "search_spaces/default.json"):
            assert (ROOT / algorithm / name).is_file(), f"{algorithm} lacks {name}"


@pytest.mark.jax
@pytest.mark.torch
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_frameworks_follow_one_trajectory(algorithm: str):
    check_trajectories(algorithm, hyperparameters(algorithm))


@pytest.mark.jax
@pytest.mark.torch
@pytest.mark.parametrize("algorithm", ["nesterov", "sam", "schedule_free_adamw"])
def test_frameworks_clip_and_smooth_alike(algorithm: str):
    check_trajectories(algorithm, hyperparameters(algorithm, grad_clip=0.05, label_smoothing=0.1))


def check_trajectories(algorithm: str, point: SimpleNamespace) -> None:
    """Trains in both frameworks, with an evaluation on the way, from the same parameters on the same batches."""
    in_jax, in_torch = Run(algorithm, "jax", point), Run(algorithm, "torch", point)
    start = in_jax.params()
    for step in range(20):
        assert largest_difference(in_jax.train(1).params(), in_torch.train(1).params()) < TOLERANCE, f"step {step}"
        if step in (8, 19):
            in_jax.prepare_for_eval()
            in_torch.prepare_for_eval()
            assert largest_difference(in_jax.params(), in_torch.params()) < TOLERANCE, f"evaluation, step {step}"
    for name, value in in_jax.params().items():
        assert np.abs(value - start[name]).max() > 20 * TOLERANCE, f"{name} did not move"
    statistics = np.array(in_jax.model_state["batch_stats"]["mean"])
    np.testing.assert_allclose(in_torch.params_.running_mean.numpy(), statistics, atol=TOLERANCE)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_self_tuning_reduces_the_loss(algorithm: str, framework: str):
    run = Run(algorithm, framework, None)
    before = run.loss()
    assert run.train(small_problem.STEP_HINT).prepare_for_eval().loss() < 0.99 * before


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_resumed_is_as_if_never_stopped(algorithm: str, framework: str, tmp_path: Path):
    backend = base.load({"jax": "jax", "torch": "pytorch"}[framework])
    point = hyperparameters(algorithm)
    run = Run(algorithm, framework, point).train(7).prepare_for_eval()
    backend.save_state(tmp_path, run.checkpoint())
    whole = run.train(6).params()
    resumed = Run(algorithm, framework, point)
    resumed.restore(backend.load_state(tmp_path, resumed.checkpoint()), step=7)
    continued = resumed.train(6).params()
    for name, value in whole.items():
        np.testing.assert_array_equal(continued[name], value, err_msg=name)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_evaluations_do_not_change_schedule_free_training(framework: str):
    point = hyperparameters("schedule_free_adamw")
    plain = Run("schedule_free_adamw", framework, point).train(12)
    evaluated = Run("schedule_free_adamw", framework, point)
    for _ in range(4):
        evaluated.prepare_for_eval().train(3)
    assert largest_difference(plain.params(), evaluated.params()) < TOLERANCE
    trained = plain.params()
    assert largest_difference(plain.prepare_for_eval().params(), trained) > 100 * TOLERANCE
    assert largest_difference(plain.params(), plain.prepare_for_eval().params()) == 0, "preparing twice moves once"


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_harness_accepts_the_submission(algorithm: str, framework: str):
    submission = load_submission(str(ROOT / algorithm / f"{framework}_submission.py"))
    assert submission.prepare_for_eval is not None
    assert submission.get_batch_size("wmt") == 128
    with pytest.raises(LookupError, match="unknown workload 'unheard_of'"):
        submission.get_batch_size("unheard_of")
    assert resolve_batch_size(submission, small_problem.DEFINITION, 1) == 16  # the base workload's


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/search_spaces/*.json")), ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def test_search_spaces_draw_what_the_algorithm_reads(path: Path):
    fixed = json.loads((path.parents[1] / "self_tuning.json").read_text())
    space = SearchSpace.load(path)
    only_in_spaces, only_in_the_fixed_point = {"schedule_steps"}, {"root_every_steps"}
    for point in space.draw(len(space.points or range(5))):
        # the fixed point leaves dropout to the workload
        assert point.to_dict().keys() - only_in_spaces == (fixed.keys() - only_in_the_fixed_point) | {"dropout_rate"}
        assert 0 < point.learning_rate < 10
        assert 0 <= point.warmup_factor < 1


def test_reference_points_are_what_nadamw_reads():
    fixed = json.loads((ROOT / "nadamw" / "self_tuning.json").read_text())
    points = {d.name: d.reference_hyperparameters for d in REGISTRY.definitions() if d.reference_hyperparameters}
    assert {"mnist_mini", "wmt_mini"} <= points.keys()
    for name, point in points.items():
        assert point.keys() - {"schedule_steps"} == fixed.keys() | {"dropout_rate"}, name


def test_a_workload_of_a_suite_has_no_space_of_its_own():
    in_suites = {name for suite in suites().values() for name in suite.workloads}
    assert not [path for path in ROOT.glob("*/search_spaces/*.json") if path.stem in in_suites]


def test_the_default_space_of_nadamw_is_the_external_baseline():
    points = SearchSpace.load(ROOT / "nadamw" / "search_spaces" / "default.json").draw(5)
    assert len(points) == definition.EXTERNAL.trials_per_study == 5
    assert points[0].learning_rate == points[2].learning_rate == 0.001308209823469072
    assert [p.label_smoothing for p in points] == [0.1, 0.2, 0.0, 0.0, 0.0]
    fixed = json.loads((ROOT / "nadamw" / "self_tuning.json").read_text())
    assert points[4].to_dict() == {**fixed, "dropout_rate": 0.1}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_run_imports_one_framework(framework: str):
    other = {"jax": "torch", "torch": "jax"}[framework]
    code = (
        "import importlib, sys\n"
        f"for name in {ALGORITHMS}: importlib.import_module(f'reference_algorithms.{{name}}.{framework}_submission')\n"
        f"print([m for m in ({other!r}, 'tensorflow', 'algoperf.harness') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert result.stdout.strip() == "[]"


@pytest.mark.jax
@pytest.mark.torch
def test_loss_and_gradient_norm_are_logged_every_hundred_steps():
    rows = {}
    for framework in ("jax", "torch"):
        run = Run("nadamw", framework, hyperparameters("nadamw"))
        rows[framework] = run.log()
        run.train(150)
        assert [step for step, _ in rows[framework]] == [0]
        run.prepare_for_eval()
    for (step, in_jax), (torch_step, in_torch) in zip(rows["jax"], rows["torch"], strict=True):
        assert step == torch_step
        assert in_jax.keys() == in_torch.keys() == {"loss", "grad_norm"}
        assert in_torch == pytest.approx(in_jax, rel=1e-3)
    assert [step for step, _ in rows["jax"]] == [0, 100]


@pytest.mark.parametrize(("step_hint", "remembered"), [(256_000, 10_240), (1_000, 40), (10, 1)])
def test_the_slow_average_of_ademamix_remembers_a_share_of_the_run(step_hint, remembered):
    point = SimpleNamespace(slow_average_factor=0.04)
    assert 1 / (1 - beta3(point, step_hint)) == pytest.approx(remembered)
