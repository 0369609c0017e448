"""What a submission can reach: what it changes there changes no measurement and no record."""

import sys
import time

import numpy as np
import pytest
import toy_runs
from toy_runs import config, endless, run, trial_dir

from algoperf.backends import base
from algoperf.backends.base import UnsavableStateError
from algoperf.runner.weights import checkpoint_weights

FRAMEWORKS = [pytest.param("jax", marks=pytest.mark.jax), pytest.param("pytorch", marks=pytest.mark.torch)]
NUM_STEPS = 30


def submission(tmp_path, framework, addition: str) -> str:
    """Path of the plain submission with `addition` at its end, where `original` is its `update_params`."""
    path = tmp_path / f"{framework}_submission.py"
    source = toy_runs.SUBMISSIONS[framework].read_text()
    path.write_text(f"{source}\noriginal = update_params\noriginal_init = init_optimizer_state\n{addition}")
    return str(path)


def record_of(tmp_path, framework, addition: str = "", registry=None, **flags):
    """The record of a short run with the addition."""
    flags = {"max_global_steps": NUM_STEPS, **flags}
    tmp_path.mkdir(parents=True, exist_ok=True)
    path = submission(tmp_path, framework, addition)
    [result], _ = run(config(tmp_path, framework, submission_path=path, **flags), registry or endless())
    return result.record


@pytest.mark.torch
def test_the_ledger_of_a_resumed_run_has_the_set_up_of_every_process(tmp_path):
    slow = """
import sys
import time
time.sleep(0.2)
def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    time.sleep(0.3)
    return original_init(workload, model_params, model_state, hyperparameters, rng)
"""
    wall_s = 0.0
    for number, steps in enumerate((10, 20, 30)):
        (trial_dir(tmp_path, "pytorch") / "trial.json").unlink(missing_ok=True)
        begun_s = time.monotonic()
        addition = f"# process {number}\n{slow}"  # a module of this name would not be imported anew
        folder = tmp_path / f"process_{number}"
        folder.mkdir()
        path = submission(folder, "pytorch", addition)
        settings = config(tmp_path, "pytorch", submission_path=path, max_global_steps=steps, resume_last_run=True)
        [result], _ = run(settings, endless())
        wall_s += time.monotonic() - begun_s
    ledger = result.record.ledger
    assert result.record.preemption_count == 2
    assert ledger.import_submission_s >= 0.6
    assert ledger.init_optimizer_state_s >= 0.9
    assert ledger.other_s < wall_s - 1.5
    assert ledger.total_s <= wall_s


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_metrics_logger_offers_one_method(framework, tmp_path):
    curious = """
def update_params(*, workload, global_step, **arguments):
    names = [name for name in dir(workload.metrics_logger) if not name.startswith("__")]
    assert names == ["append_scalar_metrics"], names
    return original(workload=workload, global_step=global_step, **arguments)
"""
    assert record_of(tmp_path, framework, curious).outcome == "completed"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_results_that_a_hook_changes_stay_as_they_are_on_record(framework, tmp_path):
    liar = """
def update_params(*, eval_results, **arguments):
    for _, row in eval_results:
        row.update({name: 0.0 for name in row})
    result = original(eval_results=eval_results, **arguments)
    eval_results.clear()
    return result
"""
    honest, changed = (record_of(tmp_path / name, framework, text) for name, text in [("a", ""), ("b", liar)])
    assert changed.outcome == "completed"
    assert changed.best_validation.value == honest.best_validation.value
    assert changed.best_validation.global_step == honest.best_validation.global_step
    assert changed.best_validation.submission_time_s > 0


UNSAVABLE = """
import threading
def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    state = original_init(workload, model_params, model_state, hyperparameters, rng)
    return {"state": state, "lock": threading.Lock()}
def update_params(*, optimizer_state, **arguments):
    state, params, model_state = original(optimizer_state=optimizer_state["state"], **arguments)
    return {**optimizer_state, "state": state}, params, model_state
"""


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_state_that_cannot_be_saved_is_found_before_the_first_step(framework, tmp_path):
    with pytest.raises(UnsavableStateError, match=r"\['lock'\] is a _thread.lock.*--save_checkpoints=False"):
        record_of(tmp_path / "saved", framework, UNSAVABLE)
    assert not (trial_dir(tmp_path / "saved", framework) / "measurements.csv").exists()
    record = record_of(tmp_path / "unsaved", framework, UNSAVABLE, save_checkpoints=False)
    assert (record.outcome, record.global_step) == ("completed", NUM_STEPS)


GROWING = """
import jax.numpy as jnp
def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    state, update = original_init(workload, model_params, model_state, hyperparameters, rng)
    return {"sgd": state, "average": None, "history": [], "update": update}
def update_params(*, optimizer_state, global_step, **arguments):
    own = dict(optimizer_state)
    (own["sgd"], _), params, model_state = original(
        optimizer_state=(own["sgd"], own["update"]), global_step=global_step, **arguments
    )
    if own["average"] is None:
        own["average"] = jax.tree.map(jnp.zeros_like, params)
    own["average"] = jax.tree.map(lambda mean, new: 0.5 * mean + 0.5 * new, own["average"], params)
    if global_step % 10 == 0:
        own["history"] = [*own["history"], jnp.float32(global_step)]
    params = jax.tree.map(lambda new, mean: new + 0.01 * (mean - new) * len(own["history"]), params, own["average"])
    return own, params, model_state
"""


@pytest.mark.jax
def test_a_state_that_grows_in_training_is_resumed_as_if_uninterrupted(tmp_path):
    path = submission(tmp_path, "jax", GROWING)
    for folder, steps in (("alone", (45,)), ("parts", (5, 25, 45))):
        for max_steps in steps:
            (trial_dir(tmp_path / folder, "jax") / "trial.json").unlink(missing_ok=True)
            settings = config(
                tmp_path / folder, "jax", submission_path=path, max_global_steps=max_steps, resume_last_run=True
            )
            [result], _ = run(settings, endless())
            assert result.record.global_step == max_steps, result.record.error
    assert result.record.preemption_count == 2
    backend = base.load("jax")
    alone, parts = (
        checkpoint_weights(trial_dir(tmp_path / name, "jax"), backend, endless()) for name in ("alone", "parts")
    )
    for name, value in alone.items():
        np.testing.assert_array_equal(parts[name], value)


TORCH_HOOKS = {
    "pre-hook on the module": "model.register_forward_pre_hook(lambda module, args: (hacked(args[0]),))",
    "hook on the module": "model.register_forward_hook(lambda module, args, output: hacked(output))",
    "hook on every module": (
        "torch.nn.modules.module.register_module_forward_hook(lambda module, args, output: hacked(output))"
    ),
    "other eval and train": "model.eval = model.train = lambda mode=True: hacked(model)",
    "other forward of the object": "model.forward = lambda *args, **kwargs: hacked(type(model).forward(model, *args))",
    "other class of the object": (
        "model.__class__ = type('Other', (type(model),), {'forward': lambda self, *args: "
        "hacked(super(type(self), self).forward(*args))})"
    ),
    "other forward of the class": "patch(type(model), 'forward')",
    "other call of all modules": "patch(torch.nn.Module, '__call__')",
    "call of the class, where it had none": "patch(type(model), '__call__')",
    "evaluation of the workload": "patch(type(workload._model), 'evaluate')",
    "code of the evaluation": "patch_code(type(workload._model).evaluate)",
    "evaluation of the object": "workload._model.evaluate = lambda *args: hacked(None)",
}
TORCH_ATTACK = """
import inspect, sys
def hacked(value):
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "_evaluate_split":
            raise RuntimeError("reached the evaluation")
        frame = frame.f_back
    return value
def patch(cls, name):
    was = getattr(cls, name)
    def other(*args, **kwargs):
        return hacked(was(*args, **kwargs))
    setattr(cls, name, other)
    undo.append((cls, name, was))
def patch_code(function):
    def other(self, params, batch, model_state):
        raise RuntimeError("reached the evaluation")
    function = inspect.unwrap(function)
    was = function.__code__
    function.__code__ = other.__code__
    undo.append((function, "__code__", was))
undo = []
def update_params(*, workload, current_param_container, global_step, **arguments):
    model = current_param_container
    if global_step == 0:
        ATTACK
    result = original(
        workload=workload, current_param_container=model, global_step=global_step, **arguments
    )
    return result
"""


@pytest.mark.torch
@pytest.mark.parametrize("name", TORCH_HOOKS)
def test_no_code_of_a_pytorch_submission_runs_in_an_evaluation(name, tmp_path, undone):
    record = record_of(tmp_path, "pytorch", TORCH_ATTACK.replace("ATTACK", TORCH_HOOKS[name]))
    assert record.outcome == "completed", record.error
    assert record.best_validation.value > 0


@pytest.fixture
def undone():
    """Puts classes and hooks back that a submission of this process has changed."""
    yield
    from torch.nn.modules import module

    module._global_forward_hooks.clear()
    for loaded in [m for n, m in sys.modules.items() if n.endswith(".pytorch_submission") and hasattr(m, "undo")]:
        for owner, name, was in reversed(loaded.undo):
            setattr(owner, name, was)
        loaded.undo.clear()


@pytest.mark.torch
def test_hooks_of_a_submission_work_in_training(tmp_path):
    counting = """
calls = []
def update_params(*, workload, current_param_container, global_step, **arguments):
    if global_step == 0:
        current_param_container.register_forward_pre_hook(lambda module, args: calls.append(module.training))
    result = original(
        workload=workload, current_param_container=current_param_container, global_step=global_step, **arguments
    )
    assert len(calls) == global_step + 1, len(calls)
    return result
"""
    record = record_of(tmp_path, "pytorch", counting)
    assert record.outcome == "completed", record.error


WRONG_MODELS = {
    "pytorch": {
        "another model": "torch.nn.Linear(3, 2)",
        "more parameters": "with_more(params)",
        "no module": "{'weight': params}",
    },
    "jax": {
        "another shape": "jax.tree.map(lambda leaf: leaf[..., None], params)",
        "more parameters": "{**params, 'more': jnp.zeros(3)}",
        "fewer parameters": "{}",
    },
}
WRONG = """
def with_more(params):
    params.more = torch.nn.Linear(1, 1)
    return params
def prepare_for_eval(
    workload, current_param_container, current_params_types, model_state, hyperparameters, loss_type, optimizer_state,
    eval_results, global_step, rng,
):
    params = current_param_container
    if global_step > 1:
        params = CHANGE
    return optimizer_state, params, model_state
"""


@pytest.mark.parametrize(
    ("framework", "kind"),
    [
        pytest.param(framework, kind, marks=pytest.mark.jax if framework == "jax" else pytest.mark.torch)
        for framework, kinds in WRONG_MODELS.items()
        for kind in kinds
    ],
)
def test_another_model_is_refused(framework, kind, tmp_path):
    record = record_of(
        tmp_path, framework, WRONG.replace("CHANGE", WRONG_MODELS[framework][kind]), save_checkpoints=False
    )
    assert record.outcome == "crashed"
    assert "WrongModelError: the submission returned" in record.error


@pytest.mark.jax
@pytest.mark.parametrize(
    "attack",
    [
        "type(workload._model).evaluate = lambda *args: 1 / 0",
        "workload._model.evaluate = lambda *args: 1 / 0",
        "workload.evaluate_batch = lambda *args: 1 / 0",
    ],
)
def test_no_code_of_a_jax_submission_runs_in_an_evaluation(attack, tmp_path):
    addition = f"""
def update_params(*, workload, global_step, **arguments):
    if global_step == 0:
        {attack}
    return original(workload=workload, global_step=global_step, **arguments)
"""
    from algoperf.testing.toy_workload import jax_model

    model = type(jax_model.build(toy_runs.REGISTRY.get("toy_mini")))
    before = dict(vars(model))
    try:
        record = record_of(tmp_path, "jax", addition)
    finally:
        if "evaluate" in before:
            model.evaluate = before["evaluate"]
        elif "evaluate" in vars(model):
            del model.evaluate
    assert record.outcome == "completed", record.error
