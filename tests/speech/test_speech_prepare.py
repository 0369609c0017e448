"""Preparation: what is kept, what is left out, what is an error that names the file."""

import collections
import dataclasses
import shutil
import tarfile

import numpy as np
import pytest
import soundfile

from algoperf.data import Store, StoreError, StoreWriter
from algoperf.data.disk_space import DiskSpaceError
from algoperf.data.recipe import open_store
from algoperf.definition import Split, SplitSizes
from algoperf.registry import REGISTRY
from workloads.common.librispeech import data, prepare
from workloads.common.librispeech.definition import SpeechData
from workloads.common.librispeech.metrics import make_metrics
from workloads.common.librispeech.raw import read_audio

SENTENCES = ("THE CAT SAW", "A DOG RAN OFF", "IT'S THE CAT", "RAN THE DOG", "A CAT RAN", "THE DOG SAW IT")
FOLDERS = ("train-clean-100", "dev-clean", "test-clean")
RATE = 16_000


def tone(num_samples=3_000, amplitude=900):
    return (amplitude * np.sin(np.arange(num_samples))).astype(np.int16)


@pytest.fixture
def source_dir(tmp_path):
    """A tiny corpus in LibriSpeech's layout, six utterances in each folder."""
    for number, folder in enumerate(FOLDERS):
        write_chapter(tmp_path / "raw" / "LibriSpeech" / folder, speaker=10 + number)
    return tmp_path / "raw"


def write_chapter(folder, speaker):
    chapter = folder / str(speaker) / "7"
    chapter.mkdir(parents=True)
    lines = []
    for number, sentence in enumerate(SENTENCES):
        soundfile.write(chapter / f"{speaker}-7-{number:04d}.flac", tone(3_000 + 100 * number), RATE)
        lines.append(f"{speaker}-7-{number:04d} {sentence}\n")
    (chapter / f"{speaker}-7.trans.txt").write_text("".join(lines))


def definition(train=6, **changes):
    settings = {
        "vocab_size": 24,
        "max_samples": 4_000,
        "max_tokens": 32,
        "train_folders": FOLDERS[:1],
        "validation_folders": FOLDERS[1:2],
        "test_folders": FOLDERS[2:],
        "folder_sizes": (6, 6, 6),
    }
    return dataclasses.replace(
        REGISTRY.get("librispeech_conformer"),
        dataset="tiny",
        data=SpeechData(**{**settings, **changes}),
        splits=SplitSizes(train=train, eval_train=2, validation=6, test=6),
    )


def run(definition, source_dir, num_workers=1):
    messages = []
    data_dir = source_dir.parent / "data"
    prepare.prepare(definition, data_dir, source_dir=source_dir, num_workers=num_workers, report=messages.append)
    return data_dir, messages


def first_chapter(source_dir):
    return source_dir / "LibriSpeech" / "train-clean-100" / "10" / "7"


def test_audio_and_text_come_back(source_dir):
    tiny = definition()
    data_dir, messages = run(tiny, source_dir)
    source = data.open_split(tiny, Split.TRAIN, data_dir)
    tokenizer = data.open_tokenizer(tiny, data_dir)
    assert len(source) == 6
    for index, sentence in enumerate(SENTENCES):
        audio, tokens = source.utterance(index)
        np.testing.assert_array_equal(audio, tone(3_000 + 100 * index))
        assert tokens[-1] == 2
        assert tokenizer.decode([tokens]) == [sentence]
    assert any("6 of 18 utterances" in message for message in messages)
    Store(data_dir / "prepared" / "tiny").verify()


def test_worker_processes_write_the_same_store(source_dir, tmp_path):
    stores = []
    for num_workers in (1, 2):
        data_dir, _ = run(definition(), source_dir, num_workers)
        stores.append({path.name: path.read_bytes() for path in (data_dir / "prepared" / "tiny").rglob("*.npy")})
        shutil.rmtree(data_dir)
    assert stores[0] == stores[1]


def test_archives_are_extracted(source_dir):
    folder = source_dir / "LibriSpeech" / "dev-clean"
    with tarfile.open(source_dir / "dev-clean.tar.gz", "w:gz") as archive:
        archive.add(folder, "LibriSpeech/dev-clean")
    shutil.rmtree(folder)
    tiny = definition()
    assert len(data.open_split(tiny, Split.VALIDATION, run(tiny, source_dir)[0])) == 6


def test_an_archive_that_does_not_fit_is_not_extracted(source_dir, monkeypatch):
    folder = source_dir / "LibriSpeech" / "dev-clean"
    with tarfile.open(source_dir / "dev-clean.tar.gz", "w:gz") as archive:
        archive.add(folder, "LibriSpeech/dev-clean")
    shutil.rmtree(folder)
    free = (source_dir / "dev-clean.tar.gz").stat().st_size - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda path: collections.namedtuple("usage", "free")(free))
    with pytest.raises(DiskSpaceError, match=r"extracting .*dev-clean\.tar\.gz needs .* more, .* --source_dir"):
        run(definition(), source_dir)
    extracted_before = source_dir / ".dev-clean.partial" / "LibriSpeech" / "dev-clean" / "11" / "7" / "11-7-0000.flac"
    extracted_before.parent.mkdir(parents=True)
    extracted_before.write_bytes(b"half")
    assert len(data.open_split(definition(), Split.VALIDATION, run(definition(), source_dir)[0])) == 6


@pytest.mark.parametrize("size", [0, 300])
def test_a_truncated_archive_is_named(source_dir, size):
    folder = source_dir / "LibriSpeech" / "dev-clean"
    archive = source_dir / "dev-clean.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, "LibriSpeech/dev-clean")
    shutil.rmtree(folder)
    archive.write_bytes(archive.read_bytes()[:size])
    with pytest.raises(StoreError, match=r"dev-clean\.tar\.gz"):
        run(definition(), source_dir)
    assert not folder.exists()


def test_an_interrupted_preparation_goes_on(source_dir, monkeypatch):
    monkeypatch.setattr(prepare, "UTTERANCES_PER_PART", 2)
    tiny, seen = definition(), []
    broken = source_dir / "LibriSpeech" / "test-clean" / "12" / "7" / "12-7-0005.flac"
    good = broken.read_bytes()
    broken.write_bytes(good[:40])
    with pytest.raises(StoreError, match=r"12-7-0005\.flac"):
        run(tiny, source_dir)
    broken.write_bytes(good)
    read = prepare.read_audio
    monkeypatch.setattr(prepare, "read_audio", lambda path: seen.append(path.name) or read(path))
    data_dir, _ = run(tiny, source_dir)
    assert sorted(seen) == ["12-7-0004.flac", "12-7-0005.flac"]
    assert [len(data.open_split(tiny, split, data_dir)) for split in (Split.TRAIN, Split.TEST)] == [6, 6]
    assert not (data_dir / "prepared" / "tiny.parts").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.unlink(), "1 (no audio file)"),
        (lambda file: soundfile.write(file, tone(4_001), RATE), "1 (audio too long)"),
    ],
)
def test_what_is_left_out_is_told(source_dir, change, reason):
    change(first_chapter(source_dir) / "10-7-0001.flac")
    tiny = definition(train=5)
    data_dir, messages = run(tiny, source_dir)
    assert f"train-clean-100: left out {reason}" in messages
    assert len(data.open_split(tiny, Split.TRAIN, data_dir)) == 5


def test_long_transcripts_are_left_out(source_dir):
    tiny = definition(train=5, max_characters=13)
    tiny = dataclasses.replace(tiny, splits=SplitSizes(train=5, eval_train=2, validation=5, test=5))
    _, messages = run(tiny, source_dir)
    assert "train-clean-100: left out 1 (transcript too long)" in messages


def test_audio_of_the_longest_length_is_kept(source_dir):
    soundfile.write(first_chapter(source_dir) / "10-7-0001.flac", tone(4_000), RATE)
    tiny = definition()
    audio, _ = data.open_split(tiny, Split.TRAIN, run(tiny, source_dir)[0]).utterance(1)
    np.testing.assert_array_equal(audio, tone(4_000))


def rewrite_transcripts(source_dir, change):
    path = first_chapter(source_dir) / "10-7.trans.txt"
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace(" A DOG RAN OFF", ""),
            r"10-7\.trans\.txt, line 2: the transcript of 10-7-0001 is empty",
        ),
        (lambda text: text.replace(" A DOG RAN OFF", "   "), r"10-7\.trans\.txt, line 2.* is empty"),
        (
            lambda text: text.replace("10-7-0001 A DOG RAN OFF\n", ""),
            r"10-7\.trans\.txt has no transcript of 10-7-0001",
        ),
        (lambda text: text + "10-7-0006 EXTRA\n", r"train-clean-100 should have 6 utterances, found 7"),
    ],
)
def test_bad_transcripts_are_named(source_dir, change, message):
    rewrite_transcripts(source_dir, change)
    with pytest.raises(StoreError, match=message):
        run(definition(), source_dir)


def test_a_missing_transcript_file_is_named(source_dir):
    (first_chapter(source_dir) / "10-7.trans.txt").unlink()
    with pytest.raises(StoreError, match=r"10/7 has 6 FLAC files and no 10-7\.trans\.txt"):
        run(definition(), source_dir)


def test_characters_outside_the_vocabulary_are_told(source_dir):
    path = source_dir / "LibriSpeech" / "dev-clean" / "11" / "7" / "11-7.trans.txt"
    path.write_text(path.read_text().replace("A CAT RAN", "A QUIZ RAN"))
    with pytest.raises(StoreError, match=r"11-7-0004\.flac has characters that the tokenizer does not know: 'QUZ'"):
        run(definition(), source_dir)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: file.write_text("not audio"), "is no readable audio"),
        (lambda file: file.write_bytes(b""), "is no readable audio"),
        (lambda file: file.write_bytes(file.read_bytes()[:60]), "is no readable audio"),
        (lambda file: soundfile.write(file, tone(0), RATE, format="WAV"), "has no samples"),
    ],
)
def test_bad_audio_is_named(source_dir, write, message):
    write(first_chapter(source_dir) / "10-7-0003.flac")
    with pytest.raises(StoreError, match=rf"10-7-0003\.flac {message}"):
        run(definition(), source_dir)


def test_a_missing_folder_is_named(source_dir):
    shutil.rmtree(source_dir / "LibriSpeech" / "test-clean")
    with pytest.raises(StoreError, match=r"neither a folder LibriSpeech/test-clean nor an archive test-clean\.tar\.gz"):
        run(definition(), source_dir)
    with pytest.raises(StoreError, match=r"no raw data at .*openslr\.org/12"):
        run(definition(), source_dir / "nothing")


def test_stereo_is_averaged(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.stack([tone(), tone() // 2], axis=1), RATE)
    expected = np.round((tone().astype(float) + tone() // 2) / 2)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac"), expected)


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_other_rates_are_resampled(tmp_path, rate):
    time = np.arange(rate // 2) / rate
    soundfile.write(tmp_path / "a.flac", (8_000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16), rate)
    audio = read_audio(tmp_path / "a.flac")
    assert audio.dtype == np.int16
    assert len(audio) == RATE // 2
    expected = 8_000 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)
    np.testing.assert_allclose(audio[1_000:-1_000], expected[1_000:-1_000], atol=80)


def test_clipped_audio_stays_in_range(tmp_path):
    square = np.where(np.arange(4_000) % 100 < 50, 32_767, -32_768).astype(np.int16)
    soundfile.write(tmp_path / "a.flac", square, RATE)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac"), square)
    soundfile.write(tmp_path / "b.flac", square, 8_000)
    assert np.abs(read_audio(tmp_path / "b.flac").astype(int)).max() == 32_768  # overshoot of the filter is clipped


def test_a_tokenizer_may_be_given(source_dir, tmp_path):
    tiny = definition()
    data_dir, _ = run(tiny, source_dir)
    model = data.open_tokenizer(tiny, data_dir).model
    shutil.rmtree(data_dir)
    (source_dir / "spm_model.vocab").write_bytes(model)
    data_dir, messages = run(tiny, source_dir)
    assert any("using the tokenizer" in message for message in messages)
    assert data.open_tokenizer(tiny, data_dir).model == model

    def with_path(path):
        return dataclasses.replace(tiny, data=dataclasses.replace(tiny.data, tokenizer_vocab_path=str(path)))

    make_metrics(with_path(source_dir / "spm_model.vocab"), Split.TEST, data_dir)
    with pytest.raises(StoreError, match="no tokenizer at"):
        make_metrics(with_path(tmp_path / "nothing"), Split.TEST, data_dir)
    (tmp_path / "text").write_text("no model")
    with pytest.raises(StoreError, match="no SentencePiece model"):
        make_metrics(with_path(tmp_path / "text"), Split.TEST, data_dir)
    other = definition(vocab_size=23)
    (source_dir / "spm_model.vocab").unlink()
    shutil.rmtree(data_dir)
    data_dir, _ = run(other, source_dir)
    (tmp_path / "other").write_bytes(model)
    different = dataclasses.replace(
        other, data=dataclasses.replace(other.data, tokenizer_vocab_path=str(tmp_path / "other"))
    )
    with pytest.raises(StoreError, match="another tokenizer"):
        make_metrics(different, Split.TEST, data_dir)


def test_a_store_without_tokenizer_is_an_error(source_dir):
    tiny = definition()
    data_dir, _ = run(tiny, source_dir)
    with StoreWriter(data_dir / "prepared" / "tiny", open_store(tiny, data_dir, data.recipe(tiny)).meta):
        pass
    with pytest.raises(StoreError, match="has no tokenizer"):
        make_metrics(tiny, Split.TEST, data_dir)


def test_a_store_of_other_settings_is_refused(source_dir):
    data_dir, _ = run(definition(), source_dir)
    with pytest.raises(StoreError, match="max_samples = 4000"):
        data.open_split(definition(max_samples=5_000), Split.TRAIN, data_dir)


def test_flac_whose_header_leaves_the_length_open_is_named(tmp_path):
    path, audio = tmp_path / "a.flac", tone(5_000)
    soundfile.write(path, audio, RATE, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # STREAMINFO: 36 bits of the number of samples, where 0 means unknown
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"a\.flac does not say how many samples it has"):
        read_audio(path)
