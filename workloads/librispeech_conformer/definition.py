"""Speech recognition with a Conformer: the task, its variants and its mini."""

from dataclasses import dataclass

from algoperf.definition import (
    JAX,
    PYTORCH,
    Budget,
    ConformanceSpec,
    LossType,
    ReferenceBudget,
    Tier,
    WorkloadDefinition,
)
from algoperf.edition import V1_0
from workloads.common.librispeech import definition as speech
from workloads.common.librispeech.definition import SpecAugment


@dataclass(frozen=True, kw_only=True)
class ConformerConfig:
    """Conformer encoder (Gulati et al. 2020) with absolute positions, on log-mel features.

    Attributes:
      vocab_size: number of logits.
      statistics: name of the feature statistics that normalise the log-mel bins.
      subsample_channels: channels of the two strided convolutions.
      width: size of the residual stream.
      ffn_width: size of the hidden layer of feed-forward modules.
      num_heads: attention heads; divides `width`.
      num_layers: blocks.
      kernel_size: width of the depthwise convolutions, odd.
      attention_multiplier: factor on what attention gives, before its output projection.
      post_layer_norm: layer norm at the end of each block.
      gelu: GELU (tanh approximation) in place of swish.
      batch_norm_momentum: share of the running statistics that a batch leaves.
      spec_augment: masks of training examples; None means none.
    """

    vocab_size: int = 1_024
    statistics: str = "librispeech"
    subsample_channels: int = 512
    width: int = 512
    ffn_width: int = 2_048
    num_heads: int = 8
    num_layers: int = 4
    kernel_size: int = 5
    attention_multiplier: float = 1.0
    post_layer_norm: bool = True
    gelu: bool = False
    batch_norm_momentum: float = 0.999
    spec_augment: SpecAugment | None = None

    def __post_init__(self) -> None:
        if self.width % self.num_heads or self.width % 2 or self.width < 4:
            raise ValueError(f"width {self.width} must be even, at least 4 and divisible by {self.num_heads} heads")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")


def _tensor_kinds(model: ConformerConfig) -> dict[str, dict[str, int]]:
    """Numbers of tensors of each kind. PyTorch fuses the projections of queries, keys and values."""
    layers = model.num_layers
    norms = layers * (5 if model.post_layer_norm else 4) + 1
    common = {
        "CONV_WEIGHT": 2 + 4 * layers,  # dense kernels inside convolution modules count as convolutions
        "WEIGHT": 2 + 5 * layers,
        "BIAS": 4 + 7 * layers,
        "LAYER_NORM_SCALE": norms,
        "LAYER_NORM_BIAS": norms,
        "BATCH_NORM_SCALE": layers,
        "BATCH_NORM_BIAS": layers,
        "ATTENTION_OUT": layers,
    }
    separate = {"ATTENTION_Q": layers, "ATTENTION_K": layers, "ATTENTION_V": layers, "ATTENTION_BIAS": 4 * layers}
    fused = {"ATTENTION_QKV": layers, "ATTENTION_BIAS": 2 * layers}
    return {JAX.name: common | separate, PYTORCH.name: common | fused}


_SMALL_MODEL = ConformerConfig(vocab_size=16, subsample_channels=8, width=16, ffn_width=32, num_heads=2, num_layers=2)

CONFORMER = WorkloadDefinition(
    name="librispeech_conformer",
    base="librispeech_conformer",
    tier=Tier.FULL,
    title="LibriSpeech speech recognition, Conformer",
    dataset=speech.DATASET,
    loss_type=LossType.CTC_LOSS,
    metric=speech.WER,
    other_metrics=speech.OTHER_METRICS,
    validation_target=0.085884,
    test_target=0.052981,
    splits=speech.SPLITS,
    budget=Budget(max_runtime_s=58_015, eval_period_s=1_440, step_hint=76_000),
    later_budgets={V1_0.name: Budget(max_runtime_s=43_680, eval_period_s=1_747, step_hint=76_000)},
    eval_batch_size=256,
    default_dropout=0.1,
    model=ConformerConfig(spec_augment=SpecAugment()),
    data=speech.SpeechData(),
    checks=ConformanceSpec(
        small_model=_SMALL_MODEL,
        small_data=speech.SMALL_DATA,
        parameter_count=32_321_792,
        parameter_kinds=_tensor_kinds(ConformerConfig()),
        initial_loss=(5.0, 40.0),
    ),
    mini_name="librispeech_conformer_mini",
    reference_batch_size=256,
    sources={
        "later_budgets": "AlgoPerf 1.0.0 workload properties",
        **speech.SOURCES,
        "parameter_count": "7,608,320 subsampling + 4 x 6,046,784 blocks + 526,336 final norm and output",
        "initial_loss": "nats per token of uniform predictions over the frames of a random batch, with a margin",
    },
)


ATTENTION_TEMPERATURE = CONFORMER.variant(
    "librispeech_conformer_attention_temperature",
    f"{CONFORMER.title}, scaled attention",
    validation_target=0.109977,
    test_target=0.068065,
    attention_multiplier=1.6,
)
LAYERNORM = CONFORMER.variant(
    "librispeech_conformer_layernorm",
    f"{CONFORMER.title}, no norm after blocks",
    validation_target=0.09731,
    test_target=0.05996,
    parameter_count=32_317_696,
    parameter_kinds=_tensor_kinds,
    post_layer_norm=False,
)
GELU = CONFORMER.variant(
    "librispeech_conformer_gelu",
    f"{CONFORMER.title}, GELU",
    validation_target=0.094114,
    test_target=0.056629,
    gelu=True,
)

_MINI_MODEL = ConformerConfig(
    vocab_size=64,
    batch_norm_momentum=0.9,  # a run has hundreds of steps, not tens of thousands
    spec_augment=speech.MINI_SPEC_AUGMENT,
    statistics="librispeech_mini",
    subsample_channels=32,
    width=96,
    ffn_width=192,
    num_heads=12,
    num_layers=2,
)

MINI = CONFORMER.mini(
    "Recognition of generated speech, Conformer",
    dataset=speech.MINI_DATASET,
    validation_target=0.1474,
    test_target=0.1697,
    splits=speech.MINI_SPLITS,
    budget=ReferenceBudget(
        max_runtime_s=450,
        eval_period_s=9.7,
        step_hint=560,
        max_runtime_steps=560,
        eval_period_steps=12,
        target_steps=228,
    ),
    eval_batch_size=64,
    reference_batch_size=64,
    reference_hyperparameters={
        "learning_rate": 0.003196141908083713,
        "one_minus_beta1": 0.14271575260500177,
        "beta2": 0.99,
        "weight_decay": 0.06407823336414556,
        "warmup_factor": 0.05,
        "label_smoothing": 0.0,
        "dropout_rate": 0.0,
    },
    default_dropout=0.0,
    model=_MINI_MODEL,
    data=speech.MINI_DATA,
    checks=ConformanceSpec(
        small_model=_SMALL_MODEL,
        small_data=speech.SMALL_DATA,
        parameter_count=359_760,
        parameter_kinds=_tensor_kinds(_MINI_MODEL),
        initial_loss=(5.0, 40.0),
    ),
    sources={"targets": "docs/target_setting.md", "budget": "docs/target_setting.md"},
)

DEFINITIONS = (CONFORMER, ATTENTION_TEMPERATURE, LAYERNORM, GELU, MINI)

COMPONENTS = {name: f"workloads.common.librispeech.{name}" for name in ("data", "prepare", "metrics", "sources")}
