"""A plain optimizer is called with what it asks for."""

from types import SimpleNamespace

import pytest

from reference_algorithms.common import plain_optimizer
from reference_algorithms.common.plain_optimizer import OptimizerFunctionError, call_with


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (lambda: (), ()),
        (lambda workload: workload, "w"),
        (lambda hp: hp, "h"),
        (lambda hp, task, rate=3: (hp, task, rate), ("h", "w", 3)),
        (lambda hyperparameters, decay=0.1: (hyperparameters, decay), ("h", 0.1)),
        (lambda *, workload, hyperparameters: (workload, hyperparameters), ("w", "h")),
        (lambda **options: options, {}),
    ],
)
def test_a_function_gets_what_it_asks_for(function, given):
    assert call_with(function, hyperparameters="h", workload="w") == given


def test_a_function_that_asks_for_more_is_told_what_there_is():
    with pytest.raises(OptimizerFunctionError, match=r"requires a, b, c, expected at most hyperparameters, workload"):
        call_with(lambda a, b, c: None, hyperparameters="h", workload="w")


@pytest.mark.torch
def test_an_optimizer_class_keeps_its_learning_rate_at_every_step():
    import torch

    from reference_algorithms.common.torch_step import set_learning_rate

    model = torch.nn.Linear(2, 2)
    for function in (torch.optim.AdamW, lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3)):
        optimizer = plain_optimizer.torch_optimizer(function)(model, SimpleNamespace(), None)
        factor = plain_optimizer.constant_schedule(None, 100)(7)
        set_learning_rate(optimizer, factor)
        assert [group["lr"] for group in optimizer.param_groups] == [1e-3]
