"""A small classification problem with parameters of every shape that an algorithm treats differently. NumPy only."""

import numpy as np

from algoperf.definition import (
    Budget,
    ConformanceSpec,
    Direction,
    LossType,
    MetricSpec,
    ParameterType,
    SplitSizes,
    Tier,
    WorkloadDefinition,
)

BATCH_SIZE = 16
NUM_CLASSES = 5
NUM_TOKENS = 7
STEP_HINT = 300

DEFINITION = WorkloadDefinition(
    name="small_problem",
    base="mnist",
    tier=Tier.DEVELOPMENT,
    title="Small problem for tests of training algorithms",
    dataset="small_problem",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric=MetricSpec(name="loss", direction=Direction.MINIMIZE),
    validation_target=0.1,
    test_target=None,
    splits=SplitSizes(train=64, eval_train=16, validation=16, test=None),
    budget=Budget(max_runtime_s=60.0, eval_period_s=10.0, step_hint=STEP_HINT),
    eval_batch_size=16,
    default_dropout=None,
    model=None,
    checks=ConformanceSpec(parameter_count=0, parameter_kinds={}, initial_loss=(0.0, 10.0)),
    reference_batch_size=16,
)

# Names are JAX paths. Kernels are [in, out], the convolution's [height, width, in, out].
SHAPES = {
    "embedding/embedding": (NUM_TOKENS, 6),
    "conv/kernel": (3, 3, 2, 4),
    "conv/bias": (4,),
    "hidden/kernel": (10, 8),
    "hidden/bias": (8,),
    "norm/scale": (8,),
    "output/kernel": (8, NUM_CLASSES),
    "output/bias": (NUM_CLASSES,),
}
TYPES = {
    "embedding/embedding": ParameterType.EMBEDDING,
    "conv/kernel": ParameterType.CONV_WEIGHT,
    "conv/bias": ParameterType.BIAS,
    "hidden/kernel": ParameterType.WEIGHT,
    "hidden/bias": ParameterType.BIAS,
    "norm/scale": ParameterType.LAYER_NORM_SCALE,
    "output/kernel": ParameterType.WEIGHT,
    "output/bias": ParameterType.BIAS,
}


def initial_params(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: (0.3 * rng.normal(size=shape)).astype(np.float32) for name, shape in SHAPES.items()}


def batch(step: int) -> dict[str, object]:
    """Inputs {"token": [16], "image": [16, 5, 5, 2]}, targets [16] that depend on both; the last weight is 0."""
    rng = np.random.default_rng([1, step])
    token = rng.integers(0, NUM_TOKENS, BATCH_SIZE)
    image = rng.normal(size=(BATCH_SIZE, 5, 5, 2)).astype(np.float32)
    targets = np.where(image[..., 0].mean((1, 2)) > 0.2, 4, token % 4)
    weights = np.ones(BATCH_SIZE, np.float32)
    weights[-1] = 0.0
    return {"inputs": {"token": token, "image": image}, "targets": targets, "weights": weights}
