"""One hidden layer on handwritten digits: a development workload, not scored, and its mini on scikit-learn's digits."""

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
class MnistConfig:
    """Flatten, dense, sigmoid, dense.

    Attributes:
      num_inputs: pixels of an image.
      num_hidden: units of the hidden layer.
    """

    num_inputs: int = 784
    num_hidden: int = 128
    num_classes: int = 10


@dataclass(frozen=True, kw_only=True)
class MnistData:
    """The input pipeline: (pixel - train_mean) / train_stddev on pixels as stored.

    MNIST's constants were meant for pixels between 0 and 1 and are applied to 0 ... 255, as AlgoPerf does: inputs
    reach 827. This is part of the task.

    Attributes:
      image_size: height and width, in pixels.
    """

    image_size: int = 28
    train_mean: float = 0.1307
    train_stddev: float = 0.3081


_KINDS = {"WEIGHT": 2, "BIAS": 2}

BASE = WorkloadDefinition(
    name="mnist",
    base="mnist",
    tier=Tier.DEVELOPMENT,
    title="One hidden layer on MNIST",
    dataset="mnist",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric=MetricSpec(name="accuracy", direction=Direction.MAXIMIZE),
    other_metrics=(MetricSpec(name="loss", direction=Direction.MINIMIZE),),
    validation_target=0.97,
    test_target=0.97,
    splits=SplitSizes(train=50_000, eval_train=10_000, validation=10_000, test=10_000),
    budget=Budget(max_runtime_s=60, eval_period_s=10, step_hint=7_813),
    eval_batch_size=10_000,
    default_dropout=None,
    model=MnistConfig(),
    data=MnistData(),
    checks=ConformanceSpec(
        parameter_count=101_770,
        parameter_kinds=dict.fromkeys(FRAMEWORKS, _KINDS),
        initial_loss=(math.log(10) - 0.3, math.log(10) + 1.0),
    ),
    mini_name="mnist_mini",
    reference_batch_size=16,
    sources={"targets": "AlgoPerf v0.6", "budget": "AlgoPerf v0.6", "splits": "AlgoPerf v0.6"},
)

MINI = BASE.mini(
    "One hidden layer on 8x8 digits",
    dataset="mnist_mini",
    validation_target=0.965,
    test_target=0.96,
    splits=SplitSizes(train=1_197, eval_train=300, validation=300, test=300),
    budget=Budget(max_runtime_s=60, eval_period_s=0.5, step_hint=1_500),
    eval_batch_size=300,
    reference_batch_size=16,
    reference_hyperparameters={
        "learning_rate": 0.005,
        "one_minus_beta1": 0.1,
        "beta2": 0.999,
        "weight_decay": 0.02,
        "warmup_factor": 0.05,
        "label_smoothing": 0.0,
        "dropout_rate": 0.0,
    },
    model=MnistConfig(num_inputs=64),
    data=MnistData(image_size=8, train_mean=4.9, train_stddev=6.0),
    checks=ConformanceSpec(
        parameter_count=9_610,
        parameter_kinds=dict.fromkeys(FRAMEWORKS, _KINDS),
        initial_loss=(math.log(10) - 0.3, math.log(10) + 0.5),
    ),
    sources={
        "data": "the 1,797 digits of scikit-learn (UCI optical recognition of handwritten digits, test part)",
        "targets": "NadamW of reference_algorithms, reference_hyperparameters, seeds 0 to 9, PyTorch on CPU, evaluated "
        "every 50 steps: validation 0.965 exceeded after 300 to 450 steps, test 0.96 after 150 to 300",
        "data constants": "mean and standard deviation of the training pixels (0 to 16), rounded",
    },
)

DEFINITIONS = (BASE, MINI)
