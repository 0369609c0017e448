"""The generated language pair: repeatable, rule-bound, and with unseen combinations held out."""

import itertools

from workloads.wmt.language_pair import LanguagePair

COUNT = 400


def _pairs(seed, split, held_out, count=COUNT):
    return list(LanguagePair(seed).sentences(split, count, held_out=held_out))


def test_a_seed_always_gives_the_same_sentences():
    assert _pairs(1, "train", False) == _pairs(1, "train", False)
    assert _pairs(1, "train", False) != _pairs(2, "train", False)
    assert _pairs(1, "validation", True) != _pairs(1, "test", True)


def test_held_out_sentences_combine_words_that_training_never_combines():
    training = set(_pairs(1, "train", False, 4000))
    held_out = _pairs(1, "validation", True)
    assert not training & set(held_out)
    known = set(itertools.chain.from_iterable(source.lower().split() for source, _ in training))
    words = [word for source, _ in held_out for word in source.lower().split()]
    assert sum(word in known for word in words) / len(words) > 0.97


def test_the_finite_verb_decides_between_she_and_they():
    """One source pronoun has two translations, distinguished by agreement alone."""
    pairs = [(s.split(), t.split()) for s, t in _pairs(1, "train", False, 4000) if "." in s and "," not in s]
    pronoun = {subject: {s[0] for s, t in pairs if t[0] == subject} for subject in ("She", "They")}
    assert pronoun["She"] & pronoun["They"]


def test_articles_follow_the_next_sound():
    words = [word.lower() for _, target in _pairs(1, "train", False, 4000) for word in [*target.split(), "|"]]
    for word, following in itertools.pairwise(words):
        if word in ("a", "an"):
            assert (word == "an") == (following[0] in "aeiou")


def test_perfect_tense_is_split_in_one_language_only():
    """In a main clause the source's participle stands last; the target's follows its auxiliary."""
    pairs = [(s.rstrip("."), t) for s, t in _pairs(1, "train", False, 4000) if "?" not in s and "," not in s]
    perfect = [(s.split(), t.split()) for s, t in pairs if " has " in t and " not " not in t]
    assert len(perfect) > 200
    assert sum("ge" in source[-1] for source, _ in perfect) / len(perfect) > 0.95
    objects_after_verb = [len(t) - t.index("has") > 3 for _, t in perfect]
    assert sum(objects_after_verb) / len(perfect) > 0.4
