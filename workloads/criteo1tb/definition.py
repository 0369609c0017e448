"""Click-through prediction on the Criteo 1TB click logs with DLRM-small: the task, its variants and its mini."""

import dataclasses
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

NUM_INTEGERS = 13
NUM_CATEGORIES = 26
NUM_FIELDS = 1 + NUM_INTEGERS + NUM_CATEGORIES

# Hash buckets of the 26 categorical columns. Source: AlgoPerf v0.6, input pipeline of criteo1tb.
BUCKET_COUNTS = (
    *(39_884_406, 39_043, 17_289, 7_420, 20_263, 3, 7_120, 1_543, 63, 38_532_951, 2_953_546, 403_346, 10),
    *(2_208, 11_938, 155, 4, 976, 14, 39_979_771, 25_641_295, 39_664_984, 585_935, 12_972, 108, 36),
)


@dataclass(frozen=True, kw_only=True)
class DlrmConfig:
    """Deep learning recommendation model (Naumov et al. 2019) with one embedding table for all categorical columns.

    Attributes:
      table_rows: rows of the table; an id selects row id mod table_rows, whatever its column.
      embedding_width: size of an embedding. With the dot interaction, also the width of the last bottom layer.
      bottom_widths: layers on the 13 dense features.
      top_widths: layers on the interactions; the last one is the logit.
      residual: residual layers on the plain concatenation, in place of the pairwise dot products.
      layer_norm: layer norm after each hidden layer and on the embeddings.
      embedding_scale: embeddings start uniform on [0, embedding_scale); None means 1 / sqrt(table_rows).
    """

    table_rows: int = 4_194_304
    embedding_width: int = 128
    bottom_widths: tuple[int, ...] = (512, 256, 128)
    top_widths: tuple[int, ...] = (1024, 1024, 512, 256, 1)
    residual: bool = False
    layer_norm: bool = False
    embedding_scale: float | None = None

    def __post_init__(self) -> None:
        if not self.residual and self.bottom_widths[-1] != self.embedding_width:
            raise ValueError(
                f"the dot interaction needs a last bottom layer of embedding_width {self.embedding_width}, "
                f"got bottom_widths {self.bottom_widths}"
            )
        hidden = {*self.bottom_widths}, {*self.top_widths[:-1]}
        if self.residual and (len(hidden[0]) > 1 or len(hidden[1]) > 1):
            raise ValueError(f"residual layers have one width, got {self.bottom_widths} and {self.top_widths[:-1]}")

    @property
    def initial_embedding_scale(self) -> float:
        return self.embedding_scale if self.embedding_scale is not None else self.table_rows**-0.5


@dataclass(frozen=True, kw_only=True)
class ClickLogData:
    """How the raw day files become a store, and the order of training.

    Attributes:
      num_days: day files 0 ... num_days - 1. All but the last are training data; the last day begins with the test
        split and continues with the validation split.
      shuffle_block_rows: training visits blocks of so many consecutive rows in random order, and the rows of a block in
        their order (the raw data comes in pieces of 5,000,000 lines and batches are consecutive lines).
      click_seed: seed of the generated click logs; None means the real ones.
    """

    num_days: int = 24
    shuffle_block_rows: int = 5_000_000
    click_seed: int | None = None


def _tensor_kinds(model: DlrmConfig) -> dict[str, dict[str, int]]:
    dense = len(model.bottom_widths) + len(model.top_widths)
    kinds = {"EMBEDDING": 1, "WEIGHT": dense, "BIAS": dense}
    if model.layer_norm:
        # One after each hidden layer and one on the embeddings.
        kinds |= {"LAYER_NORM_SCALE": dense, "LAYER_NORM_BIAS": dense}
    return dict.fromkeys(FRAMEWORKS, kinds)


_SMALL_MODEL = DlrmConfig(table_rows=64, embedding_width=8, bottom_widths=(16, 8, 8), top_widths=(16, 16, 12, 8, 1))
_SMALL_LOG = ClickLogData(num_days=3, shuffle_block_rows=64)
_PUBLISHED = "AlgoPerf v0.6 workload properties"

CRITEO1TB = WorkloadDefinition(
    name="criteo1tb",
    base="criteo1tb",
    tier=Tier.FULL,
    title="Criteo 1TB click-through prediction, DLRM-small",
    dataset="criteo1tb",
    loss_type=LossType.SIGMOID_CROSS_ENTROPY,
    metric=MetricSpec(name="loss", direction=Direction.MINIMIZE),
    validation_target=0.123735,
    test_target=0.126041,
    splits=SplitSizes(train=4_195_197_692, eval_train=83_361_792, validation=83_274_637, test=95_000_000),
    budget=Budget(max_runtime_s=7_703, eval_period_s=120, step_hint=10_666),
    later_budgets={V1_0.name: Budget(max_runtime_s=8_915, eval_period_s=356, step_hint=10_666)},
    eval_batch_size=131_072,
    default_dropout=0.0,
    model=DlrmConfig(),
    data=ClickLogData(),
    checks=ConformanceSpec(
        small_model=_SMALL_MODEL,
        small_data=_SMALL_LOG,
        parameter_count=539_267_457,
        parameter_kinds=_tensor_kinds(DlrmConfig()),
        initial_loss=(0.1, 5.0),
    ),
    mini_name="criteo1tb_mini",
    reference_batch_size=262_144,
    sources={
        "targets": _PUBLISHED,
        "budget": _PUBLISHED,
        "later_budgets": "AlgoPerf 1.0.0 workload properties",
        "splits": f"{_PUBLISHED}; eval_train fills whole evaluation batches of the JAX workload",
        "eval_batch_size": f"{_PUBLISHED} (JAX)",
        "parameter_count": "536,870,912 embedding + 171,392 bottom + 2,225,153 top",
        "initial_loss": "the bias of the logit starts with standard deviation 1, so the loss depends on the seed",
    },
)


LAYER_NORM = CRITEO1TB.variant(
    "criteo1tb_layernorm",
    f"{CRITEO1TB.title}, layer norm",
    validation_target=0.123757,
    test_target=0.126152,
    parameter_count=539_275_137,
    parameter_kinds=_tensor_kinds,
    layer_norm=True,
)
RESNET = CRITEO1TB.variant(
    "criteo1tb_resnet",
    f"{CRITEO1TB.title}, residual layers",
    validation_target=0.12415,
    test_target=0.12648,
    parameter_count=538_121_473,
    small_switches={"residual": True, "bottom_widths": (8, 8, 8), "top_widths": (8, 8, 8, 8, 1)},
    residual=True,
    bottom_widths=(256, 256, 256),
    top_widths=(256, 256, 256, 256, 1),
)
EMBED_INIT = CRITEO1TB.variant(
    "criteo1tb_embed_init",
    f"{CRITEO1TB.title}, large initial embeddings",
    validation_target=0.129657,
    test_target=0.131967,
    embedding_scale=1.0,
)
# The full pipeline at a size that fits small machines, as in AlgoPerf; no suite has it.
TEST = CRITEO1TB.variant(
    "criteo1tb_test",
    f"{CRITEO1TB.title}, 65,536 embeddings",
    validation_target=CRITEO1TB.validation_target,
    test_target=CRITEO1TB.test_target,
    parameter_count=10_785_153,
    table_rows=65_536,
)

_MINI_MODEL = DlrmConfig(
    table_rows=16_384, embedding_width=32, bottom_widths=(128, 64, 32), top_widths=(768, 512, 256, 64, 1)
)

MINI = CRITEO1TB.mini(
    "Click-through prediction on generated click logs, DLRM",
    dataset="criteo1tb_mini",
    validation_target=0.4379,
    test_target=0.4446,
    horizons={3: (0.4336, 0.4388)},
    splits=SplitSizes(train=512_000, eval_train=8_192, validation=16_384, test=16_384),
    budget=ReferenceBudget(
        max_runtime_s=160,
        eval_period_s=8.4,
        step_hint=400,
        max_runtime_steps=400,
        eval_period_steps=21,
        target_steps=255,
    ),
    eval_batch_size=8_192,
    reference_batch_size=4_096,
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
    data=ClickLogData(num_days=4, shuffle_block_rows=1, click_seed=29),
    checks=ConformanceSpec(
        small_model=_SMALL_MODEL,
        small_data=dataclasses.replace(_SMALL_LOG, click_seed=29),
        parameter_count=1_393_633,
        parameter_kinds=_tensor_kinds(_MINI_MODEL),
        initial_loss=(0.1, 5.0),
    ),
    sources={"targets": "docs/target_setting.md", "budget": "docs/target_setting.md"},
)

DEFINITIONS = (CRITEO1TB, LAYER_NORM, RESNET, EMBED_INIT, TEST, MINI)
