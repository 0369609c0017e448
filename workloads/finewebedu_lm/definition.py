"""Next-token prediction on educational web text with a decoder-only Transformer: the task and its mini."""

import math
from dataclasses import dataclass

from algoperf.definition import (
    JAX,
    PYTORCH,
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
from workloads.finewebedu_lm.world import WorldConfig


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """Decoder-only Transformer with rotary positions, normalised queries and keys, gated MLPs and one embedding table.

    Attributes:
      vocab_size: tokens of the vocabulary, also the number of logits; the last one ends a document.
      context: tokens that a block's predictions are made from.
      width: size of embeddings and of the residual stream.
      mlp_width: size of the hidden layer of feed-forward blocks, after the gate.
      num_heads: attention heads; divides `width` into even depths.
      num_layers: blocks of attention and MLP.
      rotary_base: ratio of the slowest to the fastest rotation, but for the last pair of components.
      norm_epsilon: in root-mean-square norms and beside the lengths of queries and keys.
      initial_stddev: of every matrix at the start, but for the two of a block that write to the residual stream.
    """

    vocab_size: int = 50_257
    context: int = 1_024
    width: int = 1_024
    mlp_width: int = 4_096
    num_heads: int = 8
    num_layers: int = 12
    rotary_base: float = 500_000.0
    norm_epsilon: float = 1e-6
    initial_stddev: float = 0.02

    def __post_init__(self) -> None:
        if self.width % (2 * self.num_heads):
            raise ValueError(f"width {self.width} must divide into {self.num_heads} heads of even depth")

    @property
    def head_depth(self) -> int:
        return self.width // self.num_heads

    @property
    def residual_stddev(self) -> float:
        """Initial standard deviation of matrices that write to the residual stream, of which a block has two."""
        return self.initial_stddev / math.sqrt(2 * self.num_layers)

    @property
    def initial_attention_scale(self) -> float:
        """Start of the learned factor on the scores, log2(L² - L) (Henry et al. 2020, query-key normalisation)."""
        return math.log2(self.context**2 - self.context)


@dataclass(frozen=True, kw_only=True)
class CorpusData:
    """How documents become a store.

    Attributes:
      held_out_share: part of the documents that is kept for validation, chosen by a hash of the text.
      vocabulary: digest of the vocabulary that the documents must be encoded with; None where one is trained on them.
      generator: what the documents are generated from; None means a real dataset.
    """

    held_out_share: float = 1 / 64
    vocabulary: str | None = None
    generator: WorldConfig | None = None


def _tensor_kinds(model: LanguageModelConfig) -> dict[str, dict[str, int]]:
    """Numbers of tensors of each kind. PyTorch fuses queries, keys and values; the factor on the scores is a WEIGHT."""
    layers = model.num_layers
    common = {"EMBEDDING": 1, "ATTENTION_OUT": layers, "WEIGHT": 3 * layers, "LAYER_NORM_SCALE": 2 * layers + 1}
    separate = {"ATTENTION_Q": layers, "ATTENTION_K": layers, "ATTENTION_V": layers}
    return {JAX.name: common | separate, PYTORCH.name: common | {"ATTENTION_QKV": layers}}


_SMALL_MODEL = LanguageModelConfig(vocab_size=128, context=24, width=16, mlp_width=24, num_heads=2, num_layers=2)
_GPT2 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"  # SHA-256 of OpenAI's vocab.bpe
_PUBLISHED = "AlgoPerf v1.0 workload properties"

BASE = WorkloadDefinition(
    name="finewebedu_lm",
    base="finewebedu_lm",
    tier=Tier.FULL,
    title="FineWeb-Edu language model, decoder-only Transformer",
    dataset="finewebedu",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric=MetricSpec(name="ppl", direction=Direction.MINIMIZE),
    other_metrics=(MetricSpec(name="loss", direction=Direction.MINIMIZE),),
    validation_target=22.2995,
    test_target=None,
    splits=SplitSizes(train=8_749_870, eval_train=10_000, validation=100_000, test=None),
    edition=V1_0.name,
    budget=Budget(max_runtime_s=31_967, eval_period_s=2_571, step_hint=72_000),
    eval_batch_size=256,
    default_dropout=None,
    model=LanguageModelConfig(),
    data=CorpusData(vocabulary=_GPT2),
    checks=ConformanceSpec(
        small_model=_SMALL_MODEL,
        small_data=CorpusData(),
        parameter_count=252_815_372,
        parameter_kinds=_tensor_kinds(LanguageModelConfig()),
        initial_loss=(math.log(128) - 0.05, math.log(128) + 0.05),
    ),
    mini_name="finewebedu_lm_mini",
    reference_batch_size=64,
    sources={
        "targets": f"{_PUBLISHED}; set on validation documents of which nine tenths were in AlgoPerf's training split",
        "budget": _PUBLISHED,
        "splits": f"{_PUBLISHED}; blocks of 1,025 tokens",
        "parameter_count": "51,463,168 embedding + 12 x 16,779,265 blocks + 1,024 final norm",
        "initial_loss": "ln(vocabulary) at test size, with a margin",
        "rotary_base": f"{_PUBLISHED}: 500,000, neighbouring components turn together",
    },
)

_MINI_MODEL = LanguageModelConfig(vocab_size=640, context=64, width=96, mlp_width=192, num_heads=4, num_layers=3)

MINI = BASE.mini(
    "Small language model on generated documents",
    dataset="finewebedu_mini",
    validation_target=2.248,
    test_target=None,
    splits=SplitSizes(train=40_000, eval_train=64, validation=256, test=None),
    budget=ReferenceBudget(
        max_runtime_s=383,
        eval_period_s=16.0,
        step_hint=1_200,
        max_runtime_steps=1_200,
        eval_period_steps=50,
        target_steps=945,
    ),
    eval_batch_size=64,
    reference_batch_size=32,
    reference_hyperparameters={
        "learning_rate": 0.0032,
        "one_minus_beta1": 0.14,
        "beta2": 0.99,
        "weight_decay": 0.06,
        "warmup_factor": 0.05,
        "label_smoothing": 0.0,
        "dropout_rate": 0.0,
    },
    model=_MINI_MODEL,
    data=CorpusData(
        held_out_share=1 / 16, generator=WorldConfig(seed=7, train_documents=21_000, held_out_documents=170)
    ),
    checks=ConformanceSpec(
        small_model=_SMALL_MODEL,
        small_data=CorpusData(
            held_out_share=1 / 16, generator=WorldConfig(seed=7, train_documents=300, held_out_documents=30)
        ),
        parameter_count=338_595,
        parameter_kinds=_tensor_kinds(_MINI_MODEL),
        initial_loss=(math.log(128) - 0.05, math.log(128) + 0.05),
    ),
    sources={
        "targets": "docs/target_setting.md",
        "budget": "docs/target_setting.md",
        "splits": "documents made by stories.py; held-out ones are about pairs of people that training never pairs; "
        "the generator itself has perplexity 1.828 on those",
        "parameter_count": "61,440 embedding + 3 x 92,353 blocks + 96 final norm",
    },
)

DEFINITIONS = (BASE, MINI)
