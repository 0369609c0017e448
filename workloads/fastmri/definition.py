"""U-Net reconstruction of undersampled knee MRI: base, variants and mini."""

from dataclasses import dataclass

from algoperf.definition import (
    FRAMEWORKS,
    Budget,
    ConformanceSpec,
    Direction,
    LossType,
    MetricSpec,
    ReferenceBudget,
    SplitSizes,
    Tier,
    WorkloadDefinition,
)
from algoperf.edition import V1_0

ACTIVATIONS = ("leaky_relu", "tanh")
NORMS = ("instance", "layer")


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """U-Net from one channel to one channel.

    Attributes:
      channels: channels of the first conv block; doubles at each pooling.
      pool_layers: number of 2x2 average poolings.
      activation: `leaky_relu` (slope 0.2) or `tanh`.
      norm: `instance` (per image and channel, no parameters) or `layer` (per image over all axes, per-channel scale
        and bias); transposed convolutions are always followed by instance norm.
    """

    channels: int = 32
    pool_layers: int = 4
    activation: str = "leaky_relu"
    norm: str = "instance"

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")


@dataclass(frozen=True, kw_only=True)
class PhantomGenerator:
    """Generator of the mini's volumes: ellipse phantoms with tissue texture, seen by one coil with noise.

    Attributes:
      seed: seed of the whole dataset.
      slices_per_volume: slices of one HDF5 file.
      widths: k-space columns; each volume draws one of them.
      noise: standard deviation of the k-space noise relative to the brightest tissue, per image pixel.
    """

    seed: int
    slices_per_volume: int
    widths: tuple[int, ...]
    noise: float


@dataclass(frozen=True, kw_only=True)
class FastMRIData:
    """Undersampling and cropping of the raw k-space.

    Attributes:
      image_size: height and width of inputs and targets, in pixels.
      acceleration: reciprocal of the fraction of k-space columns that are kept, on average.
      centre_fraction: fraction of the columns, around zero frequency, that are always kept.
      clip: normalised intensities are limited to [-clip, clip].
      validation_volumes: of the sorted volumes of the `val` folder, the first are validation, the rest test.
      generator: how the mini's volumes are made; None for the real dataset.
    """

    image_size: int = 320
    acceleration: int = 4
    centre_fraction: float = 0.08
    clip: float = 6.0
    validation_volumes: int = 100
    generator: PhantomGenerator | None = None


def _kinds(model: UNetConfig) -> dict[str, dict[str, int]]:
    blocks = 2 * model.pool_layers + 1
    kinds = {"CONV_WEIGHT": 2 * blocks + model.pool_layers + 1, "BIAS": 1}
    if model.norm == "layer":
        kinds |= {"LAYER_NORM_SCALE": 2 * blocks, "LAYER_NORM_BIAS": 2 * blocks}
    return dict.fromkeys(FRAMEWORKS, kinds)


_UPSTREAM = "AlgoPerf v0.6"
_MODEL = UNetConfig()

BASE = WorkloadDefinition(
    name="fastmri",
    base="fastmri",
    tier=Tier.FULL,
    title="U-Net on fastMRI knee images",
    dataset="fastmri",
    loss_type=LossType.MEAN_ABSOLUTE_ERROR,
    metric=MetricSpec(name="ssim", direction=Direction.MAXIMIZE),
    other_metrics=(MetricSpec(name="loss", direction=Direction.MINIMIZE),),
    validation_target=0.723653,
    test_target=0.740633,
    splits=SplitSizes(train=34_742, eval_train=3_584, validation=3_554, test=3_581),
    budget=Budget(max_runtime_s=4_430, eval_period_s=80, step_hint=18_094),
    later_budgets={V1_0.name: Budget(max_runtime_s=2_745, eval_period_s=110, step_hint=18_094)},
    eval_batch_size=256,
    default_dropout=0.0,
    model=_MODEL,
    data=FastMRIData(),
    checks=ConformanceSpec(
        small_model=UNetConfig(channels=4, pool_layers=2),
        small_data=FastMRIData(image_size=20),
        parameter_count=7_756_097,
        parameter_kinds=_kinds(_MODEL),
        initial_loss=(0.4, 3.0),
    ),
    mini_name="fastmri_mini",
    reference_batch_size=32,
    sources={
        "targets": _UPSTREAM,
        "budget": _UPSTREAM,
        "later_budgets": "AlgoPerf 1.0.0 workload properties",
        "model": "Zbontar et al., fastMRI: An Open Dataset and Benchmarks for Accelerated MRI, 2018, section 5.2",
        "splits": "slices of the 973 train and 199 val volumes (first 100 sorted ones: validation, the rest: test)",
    },
)


MODEL_SIZE = BASE.variant(
    "fastmri_model_size",
    "Shallower and wider U-Net on fastMRI knee images",
    validation_target=0.723559,
    test_target=0.740726,
    parameter_count=7_692_929,
    parameter_kinds=_kinds,
    small_switches={"channels": 8, "pool_layers": 1},
    channels=64,
    pool_layers=3,
)
TANH = BASE.variant(
    "fastmri_tanh",
    "U-Net with tanh on fastMRI knee images",
    validation_target=0.717840,
    test_target=0.734505,
    activation="tanh",
)
LAYERNORM = BASE.variant(
    "fastmri_layernorm",
    "U-Net with layer norm on fastMRI knee images",
    validation_target=0.723284,
    test_target=0.739996,
    parameter_count=7_761_985,
    parameter_kinds=_kinds,
    norm="layer",
)

_MINI_MODEL = UNetConfig(channels=12, pool_layers=3)

MINI = BASE.mini(
    "Small U-Net on generated phantoms",
    dataset="fastmri_mini",
    validation_target=0.7498,
    test_target=0.7639,
    horizons={3: (0.792, 0.805)},
    splits=SplitSizes(train=2560, eval_train=128, validation=128, test=128),
    budget=ReferenceBudget(
        max_runtime_s=195,
        eval_period_s=8.8,
        step_hint=533,
        max_runtime_steps=533,
        eval_period_steps=24,
        target_steps=309,
    ),
    eval_batch_size=64,
    reference_batch_size=32,
    reference_hyperparameters={
        "learning_rate": 0.003196141908083713,
        "one_minus_beta1": 0.14271575260500177,
        "beta2": 0.99,
        "weight_decay": 0.06407823336414556,
        "warmup_factor": 0.05,
        "label_smoothing": 0.0,
        "dropout_rate": 0.0,
    },
    model=_MINI_MODEL,
    data=FastMRIData(
        image_size=48,
        validation_volumes=16,
        generator=PhantomGenerator(seed=2018, slices_per_volume=8, widths=(52, 54, 60), noise=0.02),
    ),
    checks=ConformanceSpec(parameter_count=270_553, parameter_kinds=_kinds(_MINI_MODEL), initial_loss=(0.4, 3.0)),
    sources={"targets": "docs/target_setting.md", "budget": "docs/target_setting.md"},
)

DEFINITIONS = (BASE, MODEL_SIZE, TANH, LAYERNORM, MINI)
