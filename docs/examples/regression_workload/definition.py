"""A periodic function of a few features, fitted by a network with one hidden layer."""

from dataclasses import dataclass

from algoperf import definition as d


@dataclass(frozen=True, kw_only=True)
class WaveConfig:
    num_features: int = 4
    num_hidden: int = 64


@dataclass(frozen=True, kw_only=True)
class WaveData:
    """Rows y = sin(x . w) + noise, with a normal `x`; `noise` is a standard deviation."""

    noise: float = 0.1
    seed: int = 0


WAVES = d.WorkloadDefinition(
    name="waves_mini",
    base="waves_mini",
    tier=d.Tier.MINI,
    title="Regression of a periodic function",
    dataset="waves_mini",
    loss_type=d.LossType.MEAN_SQUARED_ERROR,
    metric=d.MetricSpec(name="loss", direction=d.Direction.MINIMIZE),
    validation_target=0.06,
    test_target=0.06,
    splits=d.SplitSizes(train=4_000, eval_train=400, validation=400, test=400),
    budget=d.Budget(max_runtime_s=60.0, eval_period_s=0.5, step_hint=2_000),
    eval_batch_size=200,
    default_dropout=None,
    model=WaveConfig(),
    data=WaveData(),
    reference_batch_size=64,
    checks=d.ConformanceSpec(
        parameter_count=385,
        parameter_kinds={name: {"WEIGHT": 2, "BIAS": 2} for name in d.FRAMEWORKS},
        initial_loss=(0.2, 3.0),
    ),
    sources={"targets": "six times the variance of the noise, which no model can beat"},
)

DEFINITIONS = (WAVES,)
