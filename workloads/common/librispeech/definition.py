"""What the speech workloads share: splits, metrics, the description of their data and of the augmentation."""

from dataclasses import dataclass, field

from algoperf.definition import Direction, MetricSpec, SplitSizes
from algoperf.digest import NOT_IN_DIGEST

WER = MetricSpec(name="wer", direction=Direction.MINIMIZE)
OTHER_METRICS = (
    MetricSpec(name="ctc_loss", direction=Direction.MINIMIZE),
    MetricSpec(name="plain_wer", direction=Direction.MINIMIZE),
)

DATASET = "librispeech"
MINI_DATASET = "librispeech_mini"


@dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """Masks on the features of each training example (Park et al. 2019), in proportion to its length.

    Attributes:
      time_masks: masks along time, each up to `max_time_ratio` of the real frames wide.
      frequency_masks: masks along frequency, each under `max_frequency_bins` wide.
    """

    time_masks: int = 10
    max_time_ratio: float = 0.05
    frequency_masks: int = 2
    max_frequency_bins: int = 27


@dataclass(frozen=True, kw_only=True)
class SyntheticSpeech:
    """Generator of the mini's utterances: formant synthesis of sentences of a small grammar.

    Attributes:
      seed: seed of the whole dataset, the language included.
      train_speakers, eval_speakers: voices; those of the evaluation splits are in no other split.
      min_words, max_words: length of a sentence.
      noise_db: range of the signal-to-noise ratio, in decibels; an utterance's ratio is uniform in it.
    """

    seed: int
    train_speakers: int
    eval_speakers: int
    min_words: int
    max_words: int
    noise_db: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class SpeechData:
    """How a folder of utterances becomes a store, and a store becomes batches.

    Attributes:
      vocab_size: pieces of the tokenizer, the blank (0) and the end of a sentence (2) among them.
      max_samples: length of the audio of every batch; longer utterances are left out by preparation.
      max_tokens: length of the targets of every batch.
      max_characters: utterances with longer transcripts are left out.
      train_folders, validation_folders, test_folders: folders of the raw data that make up a split, in this order.
      folder_sizes: utterances that each of these folders must have, those to be left out included.
      tokenizer_folder: the tokenizer is trained on the transcripts of this folder.
      tokenizer_vocab_path: SentencePiece model that must be the one of the store; None means that of the store.
      generator: what generates the raw data; None means a real dataset.
    """

    vocab_size: int = 1_024
    max_samples: int = 320_000
    max_tokens: int = 256
    max_characters: int = 256
    train_folders: tuple[str, ...] = ("train-clean-100", "train-clean-360", "train-other-500")
    validation_folders: tuple[str, ...] = ("dev-clean", "dev-other")
    test_folders: tuple[str, ...] = ("test-clean",)
    folder_sizes: tuple[int, ...] = (28_539, 104_014, 148_688, 2_703, 2_864, 2_620)
    tokenizer_folder: str = "train-clean-100"
    tokenizer_vocab_path: str | None = field(default=None, metadata=NOT_IN_DIGEST)
    generator: SyntheticSpeech | None = None

    def __post_init__(self) -> None:
        if len(self.folder_sizes) != len(self.folders):
            raise ValueError(
                f"{len(self.folder_sizes)} folder_sizes for the {len(self.folders)} folders {self.folders}"
            )

    @property
    def folders(self) -> tuple[str, ...]:
        return self.train_folders + self.validation_folders + self.test_folders


SPLITS = SplitSizes(train=263_840, eval_train=5_376, validation=5_348, test=2_472)
SMALL_DATA = SpeechData(vocab_size=16, max_samples=8_000, max_tokens=5)

MINI_SPEC_AUGMENT = SpecAugment(time_masks=4, frequency_masks=2, max_frequency_bins=12)
MINI_SPLITS = SplitSizes(train=1_408, eval_train=64, validation=128, test=128)
MINI_DATA = SpeechData(
    vocab_size=64,
    max_samples=25_600,
    max_tokens=32,
    train_folders=("train-clean-100",),
    validation_folders=("dev-clean",),
    test_folders=("test-clean",),
    folder_sizes=(1_408, 128, 128),
    generator=SyntheticSpeech(
        seed=29, train_speakers=40, eval_speakers=8, min_words=3, max_words=5, noise_db=(8.0, 30.0)
    ),
)

PUBLISHED = "AlgoPerf v0.6 workload properties"
SOURCES = {
    "targets": PUBLISHED,
    "budget": PUBLISHED,
    "splits": f"{PUBLISHED}; utterances of up to 320,000 samples and 256 characters",
}
