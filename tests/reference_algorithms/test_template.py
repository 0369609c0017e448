"""The template that submitters copy works as it stands."""

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from train_small_problem import Run

from algoperf.submissions.loading import load_submission
from algoperf.submissions.tuning import SearchSpace
from scoring.submission_info import read_info

TEMPLATE = Path(__file__).parents[2] / "submissions" / "template"
FILES = [
    pytest.param("jax", "submission.py", marks=pytest.mark.jax),
    pytest.param("torch", "submission_pytorch.py", marks=pytest.mark.torch),
]


@pytest.mark.parametrize(("framework", "name"), FILES)
def test_the_template_trains_and_logs(framework: str, name: str):
    point = SearchSpace.load(TEMPLATE / "tuning_search_space.json").draw(1)[0]
    run = Run(imported(TEMPLATE / name), framework, point._replace(learning_rate=3e-3))
    rows, before = run.log(), run.loss()
    assert run.train(200).prepare_for_eval().loss() < 0.95 * before
    assert [(step, list(metrics)) for step, metrics in rows] == [(0, ["loss"])]


@pytest.mark.jax
@pytest.mark.torch
def test_the_frameworks_of_the_template_agree_on_the_loss():
    losses = []
    for framework, name in (("jax", "submission.py"), ("torch", "submission_pytorch.py")):
        point = SimpleNamespace(learning_rate=3e-3, weight_decay=0.1)
        losses.append(Run(imported(TEMPLATE / name), framework, point).train(100).loss())
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(("framework", "name"), FILES)
def test_the_harness_accepts_the_template(framework: str, name: str):
    submission = load_submission(str(TEMPLATE / name))
    assert submission.get_batch_size("wmt") == 128
    assert not submission.wants_train_state


def test_the_submission_record_is_what_the_board_asks_for():
    info, problems = read_info(TEMPLATE / "submission_info.yml")
    assert not problems
    assert all(dataclasses.asdict(info).values())


def imported(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(f"template_{path.stem}", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.torch
def test_the_learning_rate_stays_zero_after_the_step_hint():
    import torch

    module = imported(TEMPLATE / "submission_pytorch.py")
    point = SimpleNamespace(learning_rate=0.5, weight_decay=0.0)
    state = module.init_optimizer_state(SimpleNamespace(step_hint=20), torch.nn.Linear(2, 2), None, point, None)
    rates = []
    for _ in range(45):
        rates.append(state["optimizer"].param_groups[0]["lr"])
        state["optimizer"].step()
        state["schedule"].step()
    assert rates[0] == 0.0
    assert max(rates) == 0.5
    assert all(rate == pytest.approx(0.0, abs=1e-12) for rate in rates[20:])
