"""`toy` (which wants a raw file) and `toy_mini` (generated): one linear layer, squared error."""

import dataclasses
from dataclasses import dataclass

from algoperf.definition import (
    FRAMEWORKS,
    Budget,
    ConformanceSpec,
    Direction,
    LossType,
    MetricSpec,
    SplitSizes,
    Tier,
    WorkloadDefinition,
)


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    num_features: int = 3


@dataclass(frozen=True, kw_only=True)
class ToyData:
    """Rows y = x . w + b + noise.

    Attributes:
      noise: standard deviation of the noise, so that the lowest possible loss is `noise ** 2`.
      seed: of the generator.
    """

    noise: float = 0.1
    seed: int = 5


_KINDS = {"WEIGHT": 1, "BIAS": 1}

MINI = WorkloadDefinition(
    name="toy_mini",
    base="toy",
    tier=Tier.MINI,
    title="Linear regression",
    dataset="toy_mini",
    loss_type=LossType.MEAN_SQUARED_ERROR,
    metric=MetricSpec(name="loss", direction=Direction.MINIMIZE),
    validation_target=0.02,
    test_target=0.02,
    splits=SplitSizes(train=200, eval_train=40, validation=50, test=30),
    budget=Budget(max_runtime_s=20.0, eval_period_s=0.05, step_hint=300),
    eval_batch_size=32,
    default_dropout=None,
    model=ToyConfig(),
    data=ToyData(),
    checks=ConformanceSpec(
        parameter_count=4, parameter_kinds=dict.fromkeys(FRAMEWORKS, _KINDS), initial_loss=(0.5, 20.0)
    ),
    reference_batch_size=8,
    sources={"targets": "twice the variance of the noise, which no model can beat"},
)

BASE = dataclasses.replace(MINI, name="toy", tier=Tier.FULL, dataset="toy", mini_name="toy_mini")

DEFINITIONS = (BASE, MINI)
