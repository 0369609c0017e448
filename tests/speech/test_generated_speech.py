"""The mini's language and sound."""

import re

import numpy as np
import pytest
import soundfile

from workloads.common.librispeech import corpus
from workloads.common.librispeech.definition import MINI_DATA, SpeechData, SyntheticSpeech
from workloads.common.librispeech.language import Language
from workloads.common.librispeech.synthesis import HOP, Voice, draw_voice, synthesise

VOICE = Voice(pitch_hz=120.0, formant_scale=1.0, tempo=1.0, tilt=1.0)


def small_data():
    generator = SyntheticSpeech(
        seed=3, train_speakers=4, eval_speakers=2, min_words=3, max_words=4, noise_db=(10.0, 20.0)
    )
    return SpeechData(
        vocab_size=40,
        max_samples=25_600,
        max_tokens=32,
        train_folders=("train-clean-100",),
        validation_folders=("dev-clean",),
        test_folders=("test-clean",),
        folder_sizes=(12, 4, 4),
        generator=generator,
    )


def read_corpus(raw_dir):
    return {path.relative_to(raw_dir).as_posix(): path.read_bytes() for path in raw_dir.rglob("*") if path.is_file()}


def test_the_corpus_has_the_real_layout_and_is_repeatable(tmp_path):
    for name in ("a", "b"):
        corpus.write_raw(small_data(), tmp_path / name, lambda message: None)
    first, again = (read_corpus(tmp_path / name) for name in ("a", "b"))
    assert first == again
    flacs = [name for name in first if name.endswith(".flac")]
    assert len(flacs) == 20
    for name in flacs:
        assert re.fullmatch(r"LibriSpeech/[a-z0-9-]+/(\d+)/(\d+)/\1-\2-\d{4}\.flac", name)
        info = soundfile.info(tmp_path / "a" / name)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert info.frames <= 25_600
    corpus.write_raw(small_data(), tmp_path / "a", lambda message: pytest.fail("generated twice"))


def test_no_speaker_or_sentence_is_in_two_folders(tmp_path):
    corpus.write_raw(small_data(), tmp_path, lambda message: None)
    speakers, sentences = {}, {}
    for folder in small_data().folders:
        paths = list((tmp_path / "LibriSpeech" / folder).glob("*/*/*.trans.txt"))
        speakers[folder] = {path.parts[-3] for path in paths}
        sentences[folder] = [line.partition(" ")[2] for path in paths for line in path.read_text().splitlines()]
    names = list(speakers)
    for number, folder in enumerate(names):
        for other in names[number + 1 :]:
            assert not speakers[folder] & speakers[other]
            assert not set(sentences[folder]) & set(sentences[other])
        assert len(set(sentences[folder])) == len(sentences[folder])
    assert [len(speakers[folder]) for folder in names] == [4, 2, 2]


def test_verbs_agree_with_their_subjects():
    language = Language(MINI_DATA.generator.seed)
    articles, verbs = {}, set(language._verbs)
    for number in (0, 1):
        for plural in (0, 1):
            articles[language._articles[number][plural]] = bool(plural)
    for sentence in language.sentences(200, 3, 5, 0, set()):
        words = sentence.split()
        verb = next(word for word in words if word in verbs or word.removesuffix("T") in verbs)
        assert articles[words[0]] == (verb in verbs)


def test_too_few_sentences_is_an_error():
    with pytest.raises(ValueError, match="found only"):
        Language(0).sentences(3, 9, 9, 0, set())


def test_two_seeds_are_two_languages():
    first, second = (set(Language(seed)._nouns) for seed in (0, 1))
    assert len(first & second) < len(first) // 2


def test_utterances_fit_and_noise_is_as_loud_as_asked():
    rng = np.random.default_rng(0)
    loud, quiet = synthesise(["SATU MIN", "SATU MIN"], [VOICE, VOICE], np.array([0.0, 40.0]), 8_000, rng)
    assert loud.dtype == np.int16
    assert max(len(loud), len(quiet)) <= 8_000
    assert len(quiet) % HOP == 0

    def edge_level(audio):  # utterances begin with silence
        return np.sqrt(np.mean(audio[:200].astype(float) ** 2)) / np.sqrt(np.mean(audio.astype(float) ** 2))

    assert edge_level(loud) > 0.4
    assert edge_level(quiet) < 0.05


def test_vowels_have_their_formants():
    audio = synthesise(["IIIIIIIII"], [VOICE], np.array([60.0]), 32_000, np.random.default_rng(0))[0].astype(float)
    middle = audio[len(audio) // 4 : -len(audio) // 4]
    power = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) ** 2
    frequencies = np.fft.rfftfreq(len(middle), 1 / 16_000)

    def band(low, high):
        return power[(frequencies > low) & (frequencies < high)].sum()

    assert band(180, 400) > 5 * band(600, 1_500)
    assert band(2_000, 2_600) > 2 * band(600, 1_500)


def test_voices_differ():
    rng = np.random.default_rng(0)
    pitches = [draw_voice(rng).pitch_hz for _ in range(50)]
    assert min(pitches) < 120 < 180 < max(pitches)


def test_a_letter_without_sound_is_an_error():
    with pytest.raises(ValueError, match="no sound for"):
        synthesise(["AXA"], [VOICE], np.array([20.0]), 8_000, np.random.default_rng(0))
