"""Vision transformer on ImageNet: base, variants and mini."""

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
    MINI_DATASET,
    MINI_GENERATOR,
    MINI_SPLITS,
    ImageNetData,
    full_splits,
)


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Vision transformer without class token, with fixed sine-cosine position embedding.

    Attributes:
      patch_size: side of a patch, in pixels.
      width: channels of a token; divisible by 4 and by `heads`.
      depth: encoder blocks.
      mlp_width: hidden channels of the MLPs.
      heads: attention heads.
      gated_mlp: multiplies the activated hidden layer by a linear function of itself.
      post_layer_norm: layer norm after each residual sum instead of before each branch; no final layer norm.
      attention_pooling: one learned query attends to the tokens, instead of their mean.
    """

    patch_size: int = 16
    width: int = 384
    depth: int = 12
    mlp_width: int = 1536
    heads: int = 6
    gated_mlp: bool = False
    post_layer_norm: bool = False
    attention_pooling: bool = False

    def __post_init__(self) -> None:
        if self.width % 4 or self.width % self.heads:
            raise ValueError(f"width must be divisible by 4 and by heads={self.heads}, got {self.width}")


def _kinds(model: ViTConfig) -> dict[str, dict[str, int]]:
    pooling = int(model.attention_pooling)
    attentions = model.depth + pooling
    layer_norms = 2 * model.depth + (not model.post_layer_norm) + pooling
    dense = model.depth * (3 if model.gated_mlp else 2) + 2 * pooling + 2
    kinds = {
        "CONV_WEIGHT": 1,
        "ATTENTION_Q": attentions,
        "ATTENTION_K": attentions,
        "ATTENTION_V": attentions,
        "ATTENTION_OUT": attentions,
        "ATTENTION_BIAS": 4 * attentions,
        "WEIGHT": dense + pooling,
        "BIAS": dense + 1,
        "LAYER_NORM_SCALE": layer_norms,
        "LAYER_NORM_BIAS": layer_norms,
    }
    return dict.fromkeys(FRAMEWORKS, kinds)


_UPSTREAM = "AlgoPerf v0.6"
_MODEL = ViTConfig()
_LOG_10 = math.log(10)

BASE = WorkloadDefinition(
    name="imagenet_vit",
    base="imagenet_vit",
    tier=Tier.FULL,
    title="Vision transformer (S/16) on ImageNet",
    dataset=DATASET,
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric=ACCURACY,
    other_metrics=(LOSS,),
    validation_target=1 - 0.22691,
    test_target=1 - 0.3481,
    splits=full_splits(2048),
    budget=Budget(max_runtime_s=69_768, eval_period_s=420, step_hint=167_999),
    later_budgets={V1_0.name: Budget(max_runtime_s=64_292, eval_period_s=2_571, step_hint=167_999)},
    eval_batch_size=2048,
    default_dropout=0.0,
    model=_MODEL,
    data=ImageNetData(rand_augment=True, mixup_alpha=0.2),
    checks=ConformanceSpec(
        small_model=ViTConfig(patch_size=8, width=16, depth=2, mlp_width=32, heads=2),
        small_data=ImageNetData(
            num_classes=10,
            image_size=32,
            resize_size=36,
            rand_augment=True,
            translate_px=14,
            cutout_px=6,
            mixup_alpha=0.2,
        ),
        parameter_count=22_122_472,
        parameter_kinds=_kinds(_MODEL),
        initial_loss=(_LOG_10 - 1e-3, _LOG_10 + 1e-3),
    ),
    mini_name="imagenet_vit_mini",
    reference_batch_size=1024,
    sources={
        "targets": _UPSTREAM,
        "budget": _UPSTREAM,
        "later_budgets": "AlgoPerf 1.0.0 workload properties",
        "model": "Dosovitskiy et al., An Image is Worth 16x16 Words, 2021, size S/16; "
        "Beyer et al., Better plain ViT baselines for ImageNet-1k, 2022",
    },
)


GLU = BASE.variant(
    "imagenet_vit_glu",
    "Vision transformer with gated MLPs on ImageNet",
    validation_target=0.75738,
    test_target=0.6359,
    parameter_count=50_452_456,
    parameter_kinds=_kinds,
    reference_batch_size=512,
    gated_mlp=True,
)
POST_LN = BASE.variant(
    "imagenet_vit_post_ln",
    "Vision transformer with layer norm after the residual sums on ImageNet",
    validation_target=0.75312,
    test_target=0.6286,
    parameter_count=22_121_704,
    parameter_kinds=_kinds,
    post_layer_norm=True,
)
MAP = BASE.variant(
    "imagenet_vit_map",
    "Vision transformer with attention pooling on ImageNet",
    validation_target=0.77113,
    test_target=0.6523,
    parameter_count=23_896_552,
    parameter_kinds=_kinds,
    attention_pooling=True,
)

_MINI_MODEL = ViTConfig(patch_size=8, width=64, depth=3, mlp_width=128, heads=4)

MINI = BASE.mini(
    "Small vision transformer on generated images of textured shapes",
    dataset=MINI_DATASET,
    validation_target=0.4038,
    test_target=0.3945,
    splits=MINI_SPLITS,
    budget=ReferenceBudget(
        max_runtime_s=100,
        eval_period_s=5.4,
        step_hint=3_333,
        max_runtime_steps=3_333,
        eval_period_steps=181,
        target_steps=2_144,
    ),
    eval_batch_size=256,
    reference_batch_size=64,
    reference_hyperparameters={
        "learning_rate": 0.001,
        "one_minus_beta1": 0.1,
        "beta2": 0.99,
        "weight_decay": 0.02,
        "warmup_factor": 0.05,
        "label_smoothing": 0.0,
        "dropout_rate": 0.0,
    },
    model=_MINI_MODEL,
    data=ImageNetData(
        num_classes=MINI_GENERATOR.outlines * MINI_GENERATOR.textures,
        image_size=32,
        resize_size=36,
        area_range=(0.5, 1.0),
        rand_augment=True,
        translate_px=7,
        cutout_px=4,
        mixup_alpha=0.2,
        decoded=True,
        generator=MINI_GENERATOR,
    ),
    checks=ConformanceSpec(
        parameter_count=118_096,
        parameter_kinds=_kinds(_MINI_MODEL),
        initial_loss=(math.log(16) - 1e-3, math.log(16) + 1e-3),
    ),
    sources={"targets": "docs/target_setting.md", "budget": "docs/target_setting.md"},
)

DEFINITIONS = (BASE, GLU, POST_LN, MAP, MINI)

COMPONENTS = {
    "data": "workloads.common.imagenet.source",
    "prepare": "workloads.common.imagenet.prepare",
    "sources": "workloads.common.imagenet.sources",
}
