"""A made-up language pair with the difficulties of a real one, generated from a seed.

The source language marks three genders and three cases on articles, with forms that coincide; inflects nouns, verbs and
adjectives; puts the finite verb second in main clauses and last in subordinate ones, participles and separable
particles at the end, and sometimes the object first. The target language has fixed subject-verb-object order,
auxiliaries for negation and questions, irregular forms, and articles that depend on the next sound.

What decides a translation may stand far away: a particle at the end of the clause changes the verb, the verb chooses
between two meanings of its object, its number tells `she` from `they`. What nothing decides is noise: synonyms, the
place of adverbs, and a share of wrong translations.

Sentences of the held-out splits contain a pair of words (verb and noun, or adjective and noun) that never occur
together in the training sentences.
"""

import itertools
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_SOURCE_ONSETS = ("b", "br", "d", "f", "g", "gr", "h", "k", "kl", "l", "m", "n", "r", "s", "sch", "st", "t", "w", "z")
_SOURCE_VOWELS = ("a", "e", "i", "o", "u", "ä", "ö", "ü", "au", "ei")
_SOURCE_CODAS = ("", "l", "n", "r", "t", "ch", "rk", "nd", "ß")
_TARGET_ONSETS = ("", "b", "c", "ch", "d", "f", "gl", "h", "j", "l", "m", "n", "p", "pr", "r", "sh", "t", "v", "y")
_TARGET_VOWELS = ("a", "e", "i", "o", "u", "ee", "oa", "ai")
_TARGET_CODAS = ("", "b", "ck", "d", "ll", "m", "p", "th", "x")

NUM_NOUNS, NUM_VERBS, NUM_ADJECTIVES, NUM_ADVERBS, NUM_NAMES = 75, 39, 24, 10, 10
HELD_OUT_ONE_IN = 12
_NOISE = 0.04
_MAX_WORDS = 20
_MASCULINE, _FEMININE, _NEUTER = range(3)
_NOMINATIVE, _ACCUSATIVE, _DATIVE = range(3)
_PRESENT, _PAST, _PERFECT = range(3)

# Forms of the definite article by case, then masculine, feminine, neuter, plural; numbers stand for five words.
_ARTICLE_FORMS = ((0, 1, 2, 1), (3, 1, 2, 1), (4, 0, 4, 3))
_ADJECTIVE_ENDINGS = (("e", "e", "e", "en"), ("en", "e", "e", "en"), ("en", "en", "en", "en"))
_PLURAL_ENDINGS = ("e", "en", "er")


@dataclass(frozen=True, kw_only=True)
class _Noun:
    number: int
    source: str
    gender: int
    plural_ending: str
    meanings: tuple[tuple[tuple[str, str], ...], ...]  # by class of the verb, synonyms of (singular, plural)


@dataclass(frozen=True, kw_only=True)
class _Verb:
    number: int
    source: str
    particle: str
    transitive: bool
    selects: int  # which meaning of its object
    base: str
    third: str
    past: str
    participle: str


@dataclass(frozen=True, kw_only=True)
class _Phrase:
    """A noun phrase in both languages; `words` identify its content words for the held-out rule."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    plural: bool
    noun: int | None
    adjective: int | None


class LanguagePair:
    """Generator of sentence pairs; a function of its seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        rng = random.Random(f"{seed} lexicon")
        source = _words(rng, _SOURCE_ONSETS, _SOURCE_VOWELS, _SOURCE_CODAS)
        target = _words(rng, _TARGET_ONSETS, _TARGET_VOWELS, _TARGET_CODAS)
        self._articles = tuple(itertools.islice(source, 5))
        self._indefinite, self._not, self._that, self._because = itertools.islice(source, 4)
        self._he, self._she_they, self._it = itertools.islice(source, 3)
        self._have = tuple(itertools.islice(source, 2))
        self._two, self._three, self._four = itertools.islice(source, 3)
        self._particles = tuple(itertools.islice(source, 4))
        self._prepositions = [(next(source), next(target)) for _ in range(5)]
        self._adverbs = [(next(source), next(target)) for _ in range(NUM_ADVERBS)]
        self._adjectives = [(next(source), next(target)) for _ in range(NUM_ADJECTIVES)]
        names = [word.capitalize() for word in itertools.islice(target, NUM_NAMES)]
        self._names = names
        self._nouns = [_noun(rng, number, next(source), target) for number in range(NUM_NOUNS)]
        self._verbs = self._make_verbs(rng, source, target)
        self._noun_weights = _zipf(NUM_NOUNS)
        self._verb_weights = _zipf(NUM_VERBS)

    def _make_verbs(self, rng: random.Random, source: Iterator[str], target: Iterator[str]) -> list[_Verb]:
        """A third of the verbs are another verb's stem with a separable particle."""
        verbs: list[_Verb] = []
        for number in range(NUM_VERBS):
            separable = number % 3 == 2
            base = next(target)
            regular = rng.random() < 0.7
            past = base + "ed" if regular else next(target)
            verbs.append(
                _Verb(
                    number=number,
                    source=verbs[-1].source if separable else next(source),
                    particle=rng.choice(self._particles) if separable else "",
                    transitive=rng.random() < 0.7,
                    selects=rng.randrange(2),
                    base=base,
                    third=base + "s",
                    past=past,
                    participle=past if regular else past + "en",
                )
            )
        rng.shuffle(verbs)
        return verbs

    def sentences(self, split: str, count: int, *, held_out: bool) -> Iterator[tuple[str, str]]:
        """Yields `count` pairs (source, target); those of one `split` name are always the same."""
        rng = random.Random(f"{self._seed} {split}")
        made = 0
        while made < count:
            source, target, pairs = self._sentence(rng)
            if len(source.split()) <= _MAX_WORDS and any(map(self._is_held_out, pairs)) == held_out:
                made += 1
                yield source, target

    def _is_held_out(self, pair: str) -> bool:
        return zlib.crc32(f"{self._seed} {pair}".encode()) % HELD_OUT_ONE_IN == 0

    def _sentence(self, rng: random.Random) -> tuple[str, str, list[str]]:
        """Returns source, target and the word pairs that the held-out rule looks at."""
        question = rng.random() < 0.15
        source, target, pairs = self._clause(rng, "question" if question else "main")
        if not question and rng.random() < 0.2:
            conjunction = rng.choice(((self._that, "that"), (self._because, "because")))
            more_source, more_target, more_pairs = self._clause(rng, "subordinate")
            source += [",", conjunction[0], *more_source]
            target += [conjunction[1], *more_target]
            pairs += more_pairs
        if rng.random() < _NOISE:
            target[rng.randrange(len(target))] = rng.choice(self._nouns).meanings[0][0][0]
        end = "?" if question else "."
        return _written(source, end), _written(_with_articles(target), end), pairs

    def _clause(self, rng: random.Random, kind: str) -> tuple[list[str], list[str], list[str]]:
        verb = rng.choices(self._verbs, self._verb_weights)[0]
        subject = self._subject(rng)
        objects = [self._noun_phrase(rng, _ACCUSATIVE, verb.selects)] if verb.transitive else []
        adverb = rng.choice(self._adverbs) if rng.random() < 0.4 else None
        location = None
        if rng.random() < 0.3:
            preposition, phrase = rng.choice(self._prepositions), self._noun_phrase(rng, _DATIVE, 0)
            location = ([preposition[0], *phrase.source], [preposition[1], *phrase.target])
        tense, negated = rng.choice((_PRESENT, _PAST, _PERFECT)), rng.random() < 0.15

        middle = [word for phrase in objects for word in phrase.source]
        late = (location[0] if location else []) + ([self._not] if negated else [])
        source = self._source_clause(rng, kind, verb, tense, subject, adverb, middle, late)
        target = _target_clause(kind == "question", verb, tense, negated, subject)
        target += [word for phrase in objects for word in phrase.target] + (location[1] if location else [])
        if adverb and kind != "question" and rng.random() < 0.15:
            target.insert(0, adverb[1])
        elif adverb:
            target.append(adverb[1])
        pairs = [f"subject {subject.noun} {verb.number}"] if subject.noun is not None else []
        pairs += [f"object {phrase.noun} {verb.number}" for phrase in objects]
        pairs += [f"adjective {p.noun} {p.adjective}" for p in (subject, *objects) if p.adjective is not None]
        return source, target, pairs

    def _source_clause(
        self,
        rng: random.Random,
        kind: str,
        verb: _Verb,
        tense: int,
        subject: _Phrase,
        adverb: tuple[str, str] | None,
        middle: list[str],
        late: list[str],
    ) -> list[str]:
        ending = ("en" if subject.plural else "t") if tense == _PRESENT else ("ten" if subject.plural else "te")
        if tense == _PERFECT:
            finite, last = self._have[subject.plural], f"{verb.particle}ge{verb.source}t"
        else:
            finite, last = verb.source + ending, verb.particle
        first, adverbs = list(subject.source), [adverb[0]] if adverb else []
        if kind == "subordinate":
            end = [last, finite] if tense == _PERFECT else [last + finite]
            return [*first, *adverbs, *middle, *late, *end]
        rest = [*middle, *late, last] if last else [*middle, *late]
        if kind == "question":
            return [finite, *first, *adverbs, *rest]
        if middle and rng.random() < 0.12:
            return [*middle, finite, *first, *adverbs, *rest[len(middle) :]]
        if adverb and rng.random() < 0.5:
            return [*adverbs, finite, *first, *rest]
        return [*first, finite, *adverbs, *rest]

    def _subject(self, rng: random.Random) -> _Phrase:
        kind = rng.random()
        if kind < 0.2:
            source, target, plural = rng.choice(
                (
                    (self._he, "he", False),
                    (self._she_they, "she", False),
                    (self._she_they, "they", True),
                    (self._it, "it", False),
                )
            )
            return _Phrase(source=(source,), target=(target,), plural=plural, noun=None, adjective=None)
        if kind < 0.32:
            name = rng.choice(self._names)
            return _Phrase(source=(name,), target=(name,), plural=False, noun=None, adjective=None)
        return self._noun_phrase(rng, _NOMINATIVE, 0)

    def _noun_phrase(self, rng: random.Random, case: int, selects: int) -> _Phrase:
        noun = rng.choices(self._nouns, self._noun_weights)[0]
        plural = rng.random() < 0.35
        determiner = rng.random()
        column = 3 if plural else noun.gender
        if plural and determiner < 0.2:
            source_word, target_word = rng.choice(((self._two, "two"), (self._three, "three"), (self._four, "four")))
        elif determiner < 0.65:
            source_word, target_word = self._articles[_ARTICLE_FORMS[case][column]], "the"
        elif plural:
            source_word, target_word = "", ""
        else:
            source_word, target_word = self._indefinite + ("", "e", "")[noun.gender] * (case != _DATIVE), "a"
        source = [source_word] if source_word else []
        target = [target_word] if target_word else []
        adjective = rng.randrange(NUM_ADJECTIVES) if rng.random() < 0.3 else None
        if adjective is not None:
            source.append(self._adjectives[adjective][0] + _ADJECTIVE_ENDINGS[case][column])
            target.append(self._adjectives[adjective][1])
        synonyms = noun.meanings[selects]
        chosen = synonyms[-1] if rng.random() < 0.3 else synonyms[0]
        source.append((noun.source + noun.plural_ending if plural else noun.source).capitalize())
        target.append(chosen[plural])
        return _Phrase(source=tuple(source), target=tuple(target), plural=plural, noun=noun.number, adjective=adjective)


def _noun(rng: random.Random, number: int, source: str, target: Iterator[str]) -> _Noun:
    """One noun in five has a second meaning, one in eight a synonym, one in six an irregular plural."""

    def word() -> tuple[str, str]:
        singular = next(target)
        return singular, next(target) if rng.random() < 1 / 6 else singular + "s"

    first = (word(), word()) if rng.random() < 1 / 8 else (word(),)
    second = (word(),) if rng.random() < 1 / 5 else first
    return _Noun(
        number=number,
        source=source,
        gender=rng.randrange(3),
        plural_ending=rng.choice(_PLURAL_ENDINGS),
        meanings=(first, second),
    )


def _target_clause(question: bool, verb: _Verb, tense: int, negated: bool, subject: _Phrase) -> list[str]:
    """Subject and verb group."""
    if tense == _PERFECT:
        auxiliary, main = "have" if subject.plural else "has", verb.participle
    elif question or negated:
        auxiliary, main = "did" if tense == _PAST else "do" if subject.plural else "does", verb.base
    else:
        auxiliary, main = "", verb.past if tense == _PAST else verb.base if subject.plural else verb.third
    helper, negation = [auxiliary] if auxiliary else [], ["not"] if negated else []
    if question:
        return [*helper, *subject.target, *negation, main]
    return [*subject.target, *helper, *negation, main]


def _with_articles(words: list[str]) -> list[str]:
    """`a` becomes `an` before a vowel."""
    following = [*words[1:], ""]
    return [
        "an" if word == "a" and after[:1] in set("aeiou") else word
        for word, after in zip(words, following, strict=True)
    ]


def _written(words: list[str], end: str) -> str:
    text = " ".join(words).replace(" ,", ",")
    return text[0].upper() + text[1:] + end


def _words(
    rng: random.Random, onsets: tuple[str, ...], vowels: tuple[str, ...], codas: tuple[str, ...]
) -> Iterator[str]:
    """Endless distinct words of one to three syllables."""
    seen: set[str] = set()
    while True:
        syllables = rng.choices((1, 2, 3), (0.35, 0.55, 0.1))[0]
        word = "".join(rng.choice(onsets) + rng.choice(vowels) for _ in range(syllables)) + rng.choice(codas)
        if len(word) > 2 and word not in seen:
            seen.add(word)
            yield word


def _zipf(count: int) -> list[float]:
    """Frequencies that fall more slowly than in real text, so that rare words are seen a few times in a short run."""
    return [(rank + 3) ** -0.7 for rank in range(count)]
