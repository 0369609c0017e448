"""JAX compiles the training step of an unmodified submission once, whatever its state looks like at the start."""

import pytest
import toy_runs
from toy_runs import config, endless, run

from algoperf.registry import REGISTRY

pytestmark = pytest.mark.jax
UNPLACED = """
import optax
def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    optimizer = optax.adam(hyperparameters.learning_rate)
    state = optimizer.init(model_params)
    assert not state[0].count.committed
    return state, optimizer.update

@functools.cache
def compiled_step():
    return jax.jit(train_step, static_argnums=(0, 1))
"""


@pytest.fixture(scope="module")
def listener():
    import jax

    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **details) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(details.get("fun_name", "unknown"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    return compiled


@pytest.fixture
def compiled(listener):
    """Names of the functions that were compiled during the test."""
    listener.clear()
    return listener


def test_an_optimizer_state_that_nobody_has_placed(compiled, tmp_path):
    path = tmp_path / "unplaced.py"
    path.write_text(toy_runs.SUBMISSIONS["jax"].read_text() + UNPLACED)
    settings = config(tmp_path, "jax", submission_path=str(path), max_global_steps=5)
    [result], _ = run(settings, endless())
    assert result.outcome == "completed", result.record.error
    assert compiled.count("jit(train_step)") == 1
    assert result.record.provenance["hardware"]["devices"]["num_compilations_of_process"] >= len(compiled)


def test_a_resumed_state(compiled, tmp_path):
    path = tmp_path / "resumed.py"
    path.write_text(toy_runs.SUBMISSIONS["jax"].read_text() + UNPLACED)
    settings = {"submission_path": str(path), "resume_last_run": True}
    [first], _ = run(config(tmp_path, "jax", max_global_steps=5, **settings), endless())
    (first.trial_dir / "trial.json").unlink()
    compiled.clear()
    [second], _ = run(config(tmp_path, "jax", max_global_steps=10, **settings), endless())
    assert second.record.preemption_count == 1
    assert compiled.count("jit(train_step)") <= 1


def test_the_template(compiled, tmp_path):
    template = toy_runs.ROOT / "submissions/template"
    settings = config(
        tmp_path,
        "jax",
        workload="mnist_mini",
        submission_path=str(template / "submission.py"),
        tuning_search_space=str(template / "tuning_search_space.json"),
        max_global_steps=5,
    )
    [result], _ = run(settings, REGISTRY)
    assert result.outcome == "completed", result.record.error
    assert compiled.count("jit(_train_step)") == 1
