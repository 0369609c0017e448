"""ResNet-18 on CIFAR-10: a development workload, not scored."""

import math
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
class CifarConfig:
    """ResNet of basic blocks with a 3x3 stem and no max-pooling.

    Attributes:
      blocks: basic blocks per stage; every stage but the first halves height and width.
      width: channels of the first stage; doubles per stage.
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64


@dataclass(frozen=True, kw_only=True)
class CifarData:
    """The input pipeline.

    Attributes:
      num_classes: number of labels.
      image_size: height and width of inputs, in pixels.
      padding_size: black pixels added to height and to width (half on each side) before the random crop.
      train_mean, train_stddev: per channel (red, green, blue), on the scale 0 to 1.
    """

    num_classes: int = 10
    image_size: int = 32
    padding_size: int = 4
    train_mean: tuple[float, float, float] = (0.49139968, 0.48215827, 0.44653124)
    train_stddev: tuple[float, float, float] = (0.24703233, 0.24348505, 0.26158768)


_KINDS = {"CONV_WEIGHT": 20, "BATCH_NORM_SCALE": 20, "BATCH_NORM_BIAS": 20, "WEIGHT": 1, "BIAS": 1}

BASE = WorkloadDefinition(
    name="cifar",
    base="cifar",
    tier=Tier.DEVELOPMENT,
    title="ResNet-18 on CIFAR-10",
    dataset="cifar",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric=MetricSpec(name="accuracy", direction=Direction.MAXIMIZE),
    other_metrics=(MetricSpec(name="loss", direction=Direction.MINIMIZE),),
    validation_target=0.85,
    test_target=0.85,
    splits=SplitSizes(train=45_000, eval_train=5_120, validation=5_000, test=10_000),
    budget=Budget(max_runtime_s=3_600, eval_period_s=600, step_hint=4_883),
    eval_batch_size=1024,
    default_dropout=None,
    model=CifarConfig(),
    data=CifarData(),
    checks=ConformanceSpec(
        small_model=CifarConfig(blocks=(1, 1), width=4),
        small_data=CifarData(image_size=16),
        parameter_count=11_173_962,
        parameter_kinds=dict.fromkeys(FRAMEWORKS, _KINDS),
        initial_loss=(math.log(10) - 0.2, math.log(10) + 0.2),
    ),
    reference_batch_size=128,
    sources={"targets": "AlgoPerf v0.6", "budget": "AlgoPerf v0.6"},
)

DEFINITIONS = (BASE,)
