"""Prediction of 128 molecular properties (ogbg-molpcba) with a graph network: the task, its variants and its mini."""

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

NUM_NODE_FEATURES = 9
NUM_EDGE_FEATURES = 3
ACTIVATIONS = ("relu", "gelu", "silu")


@dataclass(frozen=True, kw_only=True)
class GraphNetworkConfig:
    """Graph network (Battaglia et al. 2018): edge, node and global updates with sum aggregation.

    Attributes:
      latent_width: size of the linear embeddings of node and edge features.
      hidden_widths: layers of every update (Dense, LayerNorm, activation, dropout).
      num_steps: message-passing steps, each with its own weights.
      activation: relu, gelu (tanh approximation) or silu.
      num_tasks: logits of a graph.
    """

    latent_width: int = 256
    hidden_widths: tuple[int, ...] = (256,)
    num_steps: int = 5
    activation: str = "relu"
    num_tasks: int = 128

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")


@dataclass(frozen=True, kw_only=True)
class MoleculeData:
    """How molecules become a store.

    Attributes:
      builder: TFDS folder of the raw data, below the source directory.
      max_nodes, max_edges: limits on one graph (atoms; directed edges, two for each bond). A batch is padded to hold
        the largest graph, so one absurd graph would slow down every step: preparation refuses it.
      molecule_seed: seed of the generated molecules; None means the real ones.
    """

    builder: str = "ogbg_molpcba/0.1.3"
    max_nodes: int = 1_024
    max_edges: int = 4_096
    molecule_seed: int | None = None


def _tensor_kinds(model: GraphNetworkConfig) -> dict[str, dict[str, int]]:
    layers = 3 * model.num_steps * len(model.hidden_widths)
    kinds = {
        "EMBEDDING": 2,
        "WEIGHT": layers + 1,
        "BIAS": layers + 3,
        "LAYER_NORM_SCALE": layers,
        "LAYER_NORM_BIAS": layers,
    }
    return dict.fromkeys(FRAMEWORKS, kinds)


_SMALL_MODEL = GraphNetworkConfig(latent_width=8, hidden_widths=(8,), num_steps=2)
# Room for the nodes and edges of a batch depends on the sizes of the graphs in the split.
_RAGGED_LEAVES = ("nodes", "edges", "senders", "receivers")
_PUBLISHED = "AlgoPerf v0.6 workload properties"

OGBG = WorkloadDefinition(
    name="ogbg",
    base="ogbg",
    tier=Tier.FULL,
    title="OGBG molecular properties (ogbg-molpcba), graph network",
    dataset="ogbg",
    # As published. The loss is the sigmoid cross-entropy of the 128 tasks.
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric=MetricSpec(name="mean_average_precision", direction=Direction.MAXIMIZE),
    other_metrics=(
        MetricSpec(name="loss", direction=Direction.MINIMIZE),
        MetricSpec(name="accuracy", direction=Direction.MAXIMIZE),
    ),
    validation_target=0.28098,
    test_target=0.268729,
    splits=SplitSizes(train=350_343, eval_train=43_793, validation=43_793, test=43_793),
    budget=Budget(max_runtime_s=12_011, eval_period_s=240, step_hint=52_000),
    later_budgets={V1_0.name: Budget(max_runtime_s=11_303, eval_period_s=452, step_hint=52_000)},
    eval_batch_size=32_768,
    default_dropout=0.1,
    model=GraphNetworkConfig(),
    data=MoleculeData(),
    checks=ConformanceSpec(
        small_model=_SMALL_MODEL,
        parameter_count=3_554_176,
        parameter_kinds=_tensor_kinds(GraphNetworkConfig()),
        initial_loss=(0.55, 1.2),
        ragged_leaves=_RAGGED_LEAVES,
    ),
    mini_name="ogbg_mini",
    reference_batch_size=512,
    sources={
        "targets": _PUBLISHED,
        "budget": _PUBLISHED,
        "later_budgets": "AlgoPerf 1.0.0 workload properties",
        "splits": _PUBLISHED,
        "initial_loss": "ln 2 plus an eighth of the variance of the logits, with a margin, at test size",
    },
)


GELU = OGBG.variant(
    "ogbg_gelu", f"{OGBG.title}, GELU", validation_target=0.27771, test_target=0.262926, activation="gelu"
)
SILU = OGBG.variant(
    "ogbg_silu", f"{OGBG.title}, SiLU", validation_target=0.282178, test_target=0.272144, activation="silu"
)
MODEL_SIZE = OGBG.variant(
    "ogbg_model_size",
    f"{OGBG.title}, three steps of two hidden layers",
    validation_target=0.269446,
    test_target=0.253051,
    parameter_count=2_571_648,
    parameter_kinds=_tensor_kinds,
    small_switches={"latent_width": 6, "hidden_widths": (8, 8), "num_steps": 3},
    latent_width=128,
    hidden_widths=(256, 256),
    num_steps=3,
)

_MINI_MODEL = GraphNetworkConfig(latent_width=64, hidden_widths=(64,), num_steps=3)

MINI = OGBG.mini(
    "Properties of generated molecules, graph network",
    dataset="ogbg_mini",
    validation_target=0.5672,
    test_target=0.5584,
    splits=SplitSizes(train=12_000, eval_train=1_024, validation=2_000, test=2_000),
    budget=ReferenceBudget(
        max_runtime_s=254,
        eval_period_s=10.5,
        step_hint=1_600,
        max_runtime_steps=1_600,
        eval_period_steps=66,
        target_steps=1_160,
    ),
    eval_batch_size=1_024,
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
    default_dropout=0.0,
    model=_MINI_MODEL,
    data=MoleculeData(molecule_seed=31),
    checks=ConformanceSpec(
        small_model=_SMALL_MODEL,
        parameter_count=158_400,
        parameter_kinds=_tensor_kinds(_MINI_MODEL),
        initial_loss=(0.55, 1.2),
        ragged_leaves=_RAGGED_LEAVES,
    ),
    sources={"targets": "docs/target_setting.md", "budget": "docs/target_setting.md"},
)

DEFINITIONS = (OGBG, GELU, SILU, MODEL_SIZE, MINI)
