"""German-to-English translation with an encoder-decoder Transformer: the task, its variants and its mini."""

import dataclasses
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


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Encoder-decoder Transformer (Vaswani et al. 2017) with one embedding table for inputs, targets and logits.

    Attributes:
      vocab_size: pieces of the shared vocabulary, also the number of logits.
      max_length: tokens in a packed row, in an evaluated sentence and in a translation with its start token.
      width: size of embeddings, attention projections and the residual stream.
      mlp_width: size of the hidden layer of feed-forward blocks.
      num_heads: attention heads; divides `width`.
      num_layers: encoder layers, and as many decoder layers.
      pre_norm: layer norm before each block with one more at the end of a stack, else after each residual sum.
      query_scale: factor on the queries of every attention (an inverse temperature).
      gated_tanh: feed-forward blocks tanh(W1 x + b1) * (Wg x + bg) in place of relu(W1 x + b1).
      beam_size, length_penalty: beam search; scores are divided by ((5 + length) / 6) ** length_penalty.
    """

    vocab_size: int = 32_000
    max_length: int = 256
    width: int = 1024
    mlp_width: int = 1024
    num_heads: int = 16
    num_layers: int = 6
    pre_norm: bool = True
    query_scale: float = 1.0
    gated_tanh: bool = False
    beam_size: int = 4
    length_penalty: float = 0.6

    def __post_init__(self) -> None:
        if self.width % self.num_heads or self.width % 2 or self.width < 4:
            raise ValueError(f"width {self.width} must be even, at least 4 and divisible by {self.num_heads} heads")


@dataclass(frozen=True, kw_only=True)
class TextData:
    """How sentence pairs become a store.

    Attributes:
      train_builder, eval_builder: TFDS folders of the raw data, below the source directory.
      source_key, target_key: names of the two languages in the raw records.
      tokenizer_bytes: the tokenizer is trained on the first sentences of the training data, up to so many bytes.
      pack_group: consecutive sentence pairs that are packed together; a row never spans two groups.
      shuffle_window: pairs are shuffled locally with a buffer of this size before they are packed.
      pair_seed: seed of the generated language pair; None means a real dataset.
    """

    train_builder: str = "wmt17_translate/de-en/1.0.0"
    eval_builder: str = "wmt14_translate/de-en/1.0.0"
    source_key: str = "de"
    target_key: str = "en"
    tokenizer_bytes: int = 10_000_000
    pack_group: int = 256
    shuffle_window: int = 1024
    pair_seed: int | None = None


def _tensor_kinds(model: TransformerConfig) -> dict[str, dict[str, int]]:
    """Numbers of tensors of each kind. PyTorch fuses the projections that read the same tensor."""
    encoder, decoder = model.num_layers, model.num_layers
    attentions = encoder + 2 * decoder
    dense = (encoder + decoder) * (3 if model.gated_tanh else 2)
    norms = 2 * encoder + 3 * decoder + (2 if model.pre_norm else 0)
    common = {
        "EMBEDDING": 1,
        "ATTENTION_OUT": attentions,
        "WEIGHT": dense,
        "BIAS": dense,
        "LAYER_NORM_SCALE": norms,
        "LAYER_NORM_BIAS": norms,
    }
    separate = {"ATTENTION_Q": attentions, "ATTENTION_K": attentions, "ATTENTION_V": attentions}
    fused = {"ATTENTION_QKV": encoder + decoder, "ATTENTION_Q": decoder, "ATTENTION_KV": decoder}
    return {JAX.name: common | separate, PYTORCH.name: common | fused}


_SMALL_MODEL = TransformerConfig(vocab_size=128, max_length=24, width=16, mlp_width=24, num_heads=2, num_layers=2)
_SMALL_TEXT = TextData(tokenizer_bytes=40_000, pack_group=16, shuffle_window=32)
_PUBLISHED = "AlgoPerf v0.6 workload properties"

WMT = WorkloadDefinition(
    name="wmt",
    base="wmt",
    tier=Tier.FULL,
    title="WMT German-English translation, Transformer",
    dataset="wmt",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric=MetricSpec(name="bleu", direction=Direction.MAXIMIZE),
    other_metrics=(
        MetricSpec(name="loss", direction=Direction.MINIMIZE),
        MetricSpec(name="accuracy", direction=Direction.MAXIMIZE),
    ),
    validation_target=30.8491,
    test_target=30.7219,
    splits=SplitSizes(train=5_906_184, eval_train=3_072, validation=3_000, test=3_003),
    budget=Budget(max_runtime_s=43_336, eval_period_s=840, step_hint=120_000),
    later_budgets={V1_0.name: Budget(max_runtime_s=16_114, eval_period_s=644, step_hint=120_000)},
    eval_batch_size=128,
    default_dropout=0.1,
    model=TransformerConfig(),
    data=TextData(),
    checks=ConformanceSpec(
        small_model=_SMALL_MODEL,
        small_data=_SMALL_TEXT,
        parameter_count=133_521_408,
        parameter_kinds=_tensor_kinds(TransformerConfig()),
        initial_loss=(4.5, 6.5),
    ),
    mini_name="wmt_mini",
    reference_batch_size=128,
    sources={
        "targets": _PUBLISHED,
        "budget": _PUBLISHED,
        "later_budgets": "AlgoPerf 1.0.0 workload properties",
        "splits": f"{_PUBLISHED}; train counts the sentence pairs of wmt17_translate/de-en before the length filter",
        "parameter_count": "32,768,000 embedding + 6 x 6,297,600 encoder + 6 x 10,493,952 decoder + 4,096 final norms",
        "initial_loss": "ln(vocabulary) plus half the unit variance of the logits, with a margin, at test size",
    },
)


POST_LN = WMT.variant(
    "wmt_post_ln",
    f"{WMT.title}, norm after residual",
    validation_target=30.0779,
    test_target=29.8982,
    parameter_count=133_517_312,
    parameter_kinds=_tensor_kinds,
    pre_norm=False,
)
ATTENTION_TEMP = WMT.variant(
    "wmt_attention_temp",
    f"{WMT.title}, attention temperature",
    validation_target=29.3379,
    test_target=29.4143,
    query_scale=4.0,
)
GLU_TANH = WMT.variant(
    "wmt_glu_tanh",
    f"{WMT.title}, gated tanh",
    validation_target=29.5779,
    test_target=29.0515,
    parameter_count=146_116_608,
    parameter_kinds=_tensor_kinds,
    gated_tanh=True,
)

_MINI_MODEL = TransformerConfig(vocab_size=1_000, max_length=36, width=128, mlp_width=256, num_heads=4, num_layers=2)

MINI = WMT.mini(
    "Translation of a generated language pair, Transformer",
    dataset="wmt_mini",
    validation_target=85.92,
    test_target=80.35,
    splits=SplitSizes(train=40_000, eval_train=64, validation=128, test=64),
    budget=ReferenceBudget(
        max_runtime_s=134,
        eval_period_s=10.7,
        step_hint=933,
        max_runtime_steps=933,
        eval_period_steps=75,
        target_steps=794,
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
    default_dropout=0.0,
    model=_MINI_MODEL,
    data=TextData(tokenizer_bytes=1_000_000, pair_seed=17),
    checks=ConformanceSpec(
        small_model=_SMALL_MODEL,
        small_data=dataclasses.replace(_SMALL_TEXT, pair_seed=17),
        parameter_count=787_968,
        parameter_kinds=_tensor_kinds(_MINI_MODEL),
        initial_loss=(4.5, 6.5),
    ),
    sources={
        "targets": "docs/target_setting.md",
        "budget": "docs/target_setting.md",
        "splits": "pairs made by language_pair.py; held-out ones combine words that training never combines",
        "parameter_count": "128,000 embedding + 2 x 131,968 encoder + 2 x 197,760 decoder + 512 final norms",
    },
)

DEFINITIONS = (WMT, POST_LN, ATTENTION_TEMP, GLU_TANH, MINI)
