"""ResNet-50 on ImageNet: base, variants and mini."""

import dataclasses
import math
from dataclasses import dataclass

from algoperf.definition import (
    FRAMEWORKS,
    Budget,
    ConformanceSpec,
    LossType,
    ReferenceBudget,
    Tier,
    WorkloadDefinition,
)
from algoperf.edition import V1_0
from workloads.common.imagenet.definition import (
    ACCURACY,
    DATASET,
    LOSS,
    MINI_GENERATOR,
    MINI_SPLITS,
    ImageNetData,
    full_splits,
)

ACTIVATIONS = ("relu", "silu", "gelu")


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Bottleneck ResNet v1.5 (the stride is in the 3x3 convolution).

    Attributes:
      blocks: bottleneck blocks per stage; every stage but the first halves height and width.
      width: channels of the stem and of the first stage's 3x3 convolutions; doubles per stage.
      activation: `relu`, `silu` or `gelu` (tanh approximation).
      last_scale: initial scale of the last batch norm of each block.
    """

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    activation: str = "relu"
    last_scale: float = 0.0

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")


def _kinds(blocks: tuple[int, ...]) -> dict[str, dict[str, int]]:
    convolutions = 1 + 3 * sum(blocks) + len(blocks)
    kinds = {
        "CONV_WEIGHT": convolutions,
        "BATCH_NORM_SCALE": convolutions,
        "BATCH_NORM_BIAS": convolutions,
        "WEIGHT": 1,
        "BIAS": 1,
    }
    return dict.fromkeys(FRAMEWORKS, kinds)


_UPSTREAM = "AlgoPerf v0.6"
_LOG_10 = math.log(10)

BASE = WorkloadDefinition(
    name="imagenet_resnet",
    base="imagenet_resnet",
    tier=Tier.FULL,
    title="ResNet-50 on ImageNet",
    dataset=DATASET,
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric=ACCURACY,
    other_metrics=(LOSS,),
    validation_target=1 - 0.22569,
    test_target=1 - 0.3440,
    splits=full_splits(1024),
    budget=Budget(max_runtime_s=66_159, eval_period_s=510, step_hint=195_999),
    later_budgets={V1_0.name: Budget(max_runtime_s=49_918, eval_period_s=1_996, step_hint=195_999)},
    eval_batch_size=1024,
    default_dropout=None,
    model=ResNetConfig(),
    data=ImageNetData(),
    checks=ConformanceSpec(
        small_model=ResNetConfig(blocks=(2, 1), width=4),
        small_data=ImageNetData(num_classes=10, image_size=32, resize_size=36),
        parameter_count=25_557_032,
        parameter_kinds=_kinds((3, 4, 6, 3)),
        initial_loss=(_LOG_10 - 0.2, _LOG_10 + 0.2),
    ),
    mini_name="imagenet_resnet_mini",
    reference_batch_size=1024,
    sources={
        "targets": _UPSTREAM,
        "budget": _UPSTREAM,
        "later_budgets": "AlgoPerf 1.0.0 workload properties",
        "model": "He et al., Deep Residual Learning for Image Recognition, 2015; stride in the 3x3 convolution",
        "last_scale": "Goyal et al., Accurate, Large Minibatch SGD, 2017, section 5.1",
    },
)

SILU = BASE.variant(
    "imagenet_resnet_silu",
    "ResNet-50 with SiLU on ImageNet",
    validation_target=0.75445,
    test_target=0.6323,
    reference_batch_size=512,
    activation="silu",
)
GELU = BASE.variant(
    "imagenet_resnet_gelu",
    "ResNet-50 with GELU on ImageNet",
    validation_target=0.76765,
    test_target=0.6519,
    reference_batch_size=512,
    activation="gelu",
)
LARGE_BN_INIT = BASE.variant(
    "imagenet_resnet_large_bn_init",
    "ResNet-50 with large initial batch-norm scales on ImageNet",
    validation_target=0.76526,
    test_target=0.6423,
    initial_loss=(_LOG_10 - 0.5, _LOG_10 + 1.5),
    last_scale=8.0,
)

_MINI_BLOCKS = (1, 1, 1)

# Six outlines, where the transformer's mini has four: with four, networks of this width end within the noise of 2,048
# validation images of each other.
_GENERATOR = dataclasses.replace(MINI_GENERATOR, outlines=6)

MINI = BASE.mini(
    "Small ResNet on generated images of textured shapes",
    dataset="imagenet_resnet_mini",
    validation_target=0.8632,
    test_target=0.8789,
    horizons={3: (0.9365, 0.9453)},
    splits=MINI_SPLITS,
    budget=ReferenceBudget(
        max_runtime_s=172,
        eval_period_s=11.8,
        step_hint=933,
        max_runtime_steps=933,
        eval_period_steps=64,
        target_steps=705,
    ),
    eval_batch_size=256,
    reference_batch_size=128,
    reference_hyperparameters={
        "learning_rate": 0.003196141908083713,
        "one_minus_beta1": 0.14271575260500177,
        "beta2": 0.99,
        "weight_decay": 0.06407823336414556,
        "warmup_factor": 0.05,
        "label_smoothing": 0.0,
        "dropout_rate": 0.0,
    },
    model=ResNetConfig(blocks=_MINI_BLOCKS, width=24),
    data=ImageNetData(
        num_classes=_GENERATOR.outlines * _GENERATOR.textures,
        image_size=32,
        resize_size=36,
        area_range=(0.5, 1.0),
        decoded=True,
        generator=_GENERATOR,
    ),
    checks=ConformanceSpec(
        parameter_count=291_504,
        parameter_kinds=_kinds(_MINI_BLOCKS),
        initial_loss=(math.log(24) - 0.2, math.log(24) + 0.2),
    ),
    sources={"targets": "docs/target_setting.md", "budget": "docs/target_setting.md"},
)

DEFINITIONS = (BASE, SILU, GELU, LARGE_BN_INIT, MINI)

COMPONENTS = {
    "data": "workloads.common.imagenet.source",
    "prepare": "workloads.common.imagenet.prepare",
    "sources": "workloads.common.imagenet.sources",
}
