"""A small invented language for the mini: a lexicon drawn from a seed, and a grammar with agreement."""

import numpy as np

VOWELS = "AEIOU"
CONSONANTS = "BDFGKLMNPRSTVZ"
_NUM_NOUNS, _NUM_VERBS, _NUM_ADJECTIVES, _NUM_PREPOSITIONS = 14, 8, 6, 3
_POSSESSIVE_SHARE = 0.1
_PLURAL_SHARE = 0.35
_MAX_ATTEMPTS_PER_SENTENCE = 1_000


class Language:
    """Sentences of the form NOUN-PHRASE VERB [[PREPOSITION] NOUN-PHRASE].

    A noun phrase is an article, up to one adjective and a noun. Articles agree with the class and number of the noun,
    verbs with the number of their subject. A letter is a phoneme; an apostrophe is silent.

    Args:
      seed: seed of the lexicon; two languages of one seed are the same.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng((seed, 0))
        self._taken: set[str] = set()
        self._articles = [[self._word("CV"), self._word("CV")] for _ in range(2)]  # [class][plural]
        self._nouns = [self._word("CVC" if number % 2 else "CVCV") for number in range(_NUM_NOUNS)]
        self._verbs = [self._word("CVC") for _ in range(_NUM_VERBS)]
        self._adjectives = [self._word("VCV") for _ in range(_NUM_ADJECTIVES)]
        self._prepositions = [self._word("VC") for _ in range(_NUM_PREPOSITIONS)]

    def _word(self, pattern: str) -> str:
        while True:
            sounds = {"C": CONSONANTS, "V": VOWELS}
            word = "".join(self._rng.choice(list(sounds[kind])) for kind in pattern)
            if word not in self._taken:
                self._taken.add(word)
                return word

    def sentences(self, count: int, min_words: int, max_words: int, seed: int, excluded: set[str]) -> list[str]:
        """Returns `count` different sentences of `min_words` to `max_words` words, none of them in `excluded`.

        Raises:
          ValueError: the grammar has too few such sentences.
        """
        rng = np.random.default_rng((seed, 1))
        unique: dict[str, None] = {}
        for _ in range(count * _MAX_ATTEMPTS_PER_SENTENCE):
            words = self._sentence(rng)
            sentence = " ".join(words)
            if min_words <= len(words) <= max_words and sentence not in excluded:
                unique[sentence] = None
                if len(unique) == count:
                    return list(unique)
        raise ValueError(f"found only {len(unique)} of {count} sentences of {min_words} to {max_words} words")

    def _sentence(self, rng: np.random.Generator) -> list[str]:
        plural = bool(rng.random() < _PLURAL_SHARE)
        words = self._noun_phrase(rng, plural)
        words.append(str(rng.choice(self._verbs)) + ("" if plural else "T"))
        kind = rng.integers(3)
        if kind == 0:
            return words
        if kind == 1:
            words.append(str(rng.choice(self._prepositions)))
        return words + self._noun_phrase(rng, bool(rng.random() < _PLURAL_SHARE))

    def _noun_phrase(self, rng: np.random.Generator, plural: bool) -> list[str]:
        number = int(rng.integers(_NUM_NOUNS))
        noun = self._nouns[number] + ("N" if plural else "")
        if rng.random() < _POSSESSIVE_SHARE:
            noun += "'S"
        words = [self._articles[number % 2][plural]]
        if rng.random() < 0.3:
            words.append(str(rng.choice(self._adjectives)))
        return [*words, noun]
