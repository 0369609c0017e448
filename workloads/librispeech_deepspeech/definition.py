"""Speech recognition with bidirectional LSTMs (Deep Speech 2): the task, its variants and its mini."""

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
class DeepSpeechConfig:
    """Strided convolutions, bidirectional LSTMs and feed-forward layers on log-mel features (Amodei et al. 2016).

    Attributes:
      vocab_size: number of logits.
      statistics: name of the feature statistics that normalise the log-mel bins.
      subsample_channels: channels of the two strided convolutions.
      width: size of the residual stream; an LSTM has half of it in each direction.
      num_lstm_layers, num_ffn_layers: layers of each kind.
      residual: adds a layer's input to its output.
      tanh: tanh in place of ReLU, in convolutions and feed-forward layers.
      layer_norm: layer norm in place of batch norm before LSTM and feed-forward layers.
      decoder_layer_norm: layer norm before the output layer.
      batch_norm_momentum: share of the running statistics that a batch leaves.
      spec_augment: masks of training examples; None means none.
    """

    vocab_size: int = 1_024
    statistics: str = "librispeech"
    subsample_channels: int = 512
    width: int = 512
    num_lstm_layers: int = 6
    num_ffn_layers: int = 3
    residual: bool = True
    tanh: bool = False
    layer_norm: bool = False
    decoder_layer_norm: bool = True
    batch_norm_momentum: float = 0.999
    spec_augment: SpecAugment | None = None

    def __post_init__(self) -> None:
        if self.width % 2:
            raise ValueError(f"width must be even, got {self.width}")


def _tensor_kinds(model: DeepSpeechConfig) -> dict[str, dict[str, int]]:
    """Numbers of tensors of each kind. JAX has the gates of an LSTM as separate tensors."""
    lstms, ffns = model.num_lstm_layers, model.num_ffn_layers
    layer_norms = int(model.decoder_layer_norm) + (lstms + ffns if model.layer_norm else 0)
    batch_norms = 0 if model.layer_norm else lstms + ffns
    norms = {
        "LAYER_NORM_SCALE": layer_norms,
        "LAYER_NORM_BIAS": layer_norms,
        "BATCH_NORM_SCALE": batch_norms,
        "BATCH_NORM_BIAS": batch_norms,
    }
    common = {"CONV_WEIGHT": 2, **{kind: count for kind, count in norms.items() if count}}
    return {
        JAX.name: {**common, "WEIGHT": 2 + ffns + 16 * lstms, "BIAS": 4 + ffns + 8 * lstms},
        PYTORCH.name: {**common, "WEIGHT": 2 + ffns + 4 * lstms, "BIAS": 4 + ffns + 2 * lstms},
    }


_SMALL_MODEL = DeepSpeechConfig(vocab_size=16, subsample_channels=8, width=16, num_lstm_layers=2, num_ffn_layers=1)

DEEPSPEECH = WorkloadDefinition(
    name="librispeech_deepspeech",
    base="librispeech_deepspeech",
    tier=Tier.FULL,
    title="LibriSpeech speech recognition, Deep Speech",
    dataset=speech.DATASET,
    loss_type=LossType.CTC_LOSS,
    metric=speech.WER,
    other_metrics=speech.OTHER_METRICS,
    validation_target=0.119936,
    test_target=0.074143,
    splits=speech.SPLITS,
    budget=Budget(max_runtime_s=44_405, eval_period_s=1_440, step_hint=38_400),
    later_budgets={V1_0.name: Budget(max_runtime_s=36_949, eval_period_s=1_447, step_hint=38_400)},
    eval_batch_size=256,
    default_dropout=0.1,
    model=DeepSpeechConfig(spec_augment=SpecAugment()),
    data=speech.SpeechData(),
    checks=ConformanceSpec(
        small_model=_SMALL_MODEL,
        small_data=speech.SMALL_DATA,
        parameter_count=18_381_312,
        parameter_kinds=_tensor_kinds(DeepSpeechConfig()),
        initial_loss=(5.0, 40.0),
    ),
    mini_name="librispeech_deepspeech_mini",
    reference_batch_size=256,
    sources={
        "later_budgets": "AlgoPerf 1.0.0 workload properties",
        **speech.SOURCES,
        "parameter_count": "7,608,320 subsampling + 6 x 1,575,936 LSTM + 3 x 263,680 feed-forward + 526,336 output; "
        "LSTM gates have one bias each",
        "initial_loss": "nats per token of uniform predictions over the frames of a random batch, with a margin",
    },
)


TANH = DEEPSPEECH.variant(
    "librispeech_deepspeech_tanh",
    f"{DEEPSPEECH.title}, tanh",
    validation_target=0.150883,
    test_target=0.098613,
    tanh=True,
)
NO_RESNET = DEEPSPEECH.variant(
    "librispeech_deepspeech_no_resnet",
    f"{DEEPSPEECH.title}, no residual connections",
    validation_target=0.131564,
    test_target=0.079297,
    residual=False,
)
NORM_AND_SPEC_AUG = DEEPSPEECH.variant(
    "librispeech_deepspeech_norm_and_spec_aug",
    f"{DEEPSPEECH.title}, layer norm and more masks",
    validation_target=0.14342,
    test_target=0.090976,
    parameter_count=18_380_288,
    parameter_kinds=_tensor_kinds,
    small_switches={"layer_norm": True, "decoder_layer_norm": False},
    eval_batch_size=128,
    layer_norm=True,
    decoder_layer_norm=False,
    spec_augment=SpecAugment(time_masks=15, frequency_masks=4),
)

_MINI_MODEL = DeepSpeechConfig(
    vocab_size=64,
    batch_norm_momentum=0.9,  # a run has hundreds of steps, not tens of thousands
    spec_augment=speech.MINI_SPEC_AUGMENT,
    statistics="librispeech_mini",
    subsample_channels=32,
    width=192,
    num_lstm_layers=3,
    num_ffn_layers=1,
)

MINI = DEEPSPEECH.mini(
    "Recognition of generated speech, Deep Speech",
    dataset=speech.MINI_DATASET,
    validation_target=0.01917,
    test_target=0.005974,
    horizons={3: (0.001198, 0.00239)},
    splits=speech.MINI_SPLITS,
    budget=ReferenceBudget(
        max_runtime_s=115,
        eval_period_s=6.9,
        step_hint=400,
        max_runtime_steps=400,
        eval_period_steps=24,
        target_steps=242,
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
    default_dropout=0.0,
    model=_MINI_MODEL,
    data=speech.MINI_DATA,
    checks=ConformanceSpec(
        small_model=_SMALL_MODEL,
        small_data=speech.SMALL_DATA,
        parameter_count=849_824,
        parameter_kinds=_tensor_kinds(_MINI_MODEL),
        initial_loss=(5.0, 40.0),
    ),
    sources={"targets": "docs/target_setting.md", "budget": "docs/target_setting.md"},
)

DEFINITIONS = (DEEPSPEECH, TANH, NO_RESNET, NORM_AND_SPEC_AUG, MINI)

COMPONENTS = {name: f"workloads.common.librispeech.{name}" for name in ("data", "prepare", "metrics", "sources")}
