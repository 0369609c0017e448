"""The world that the mini's documents are about: people, what is true of them, and words, all invented from a seed."""

import random
from dataclasses import dataclass

_ONSETS = ("b", "br", "d", "dr", "f", "g", "gr", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v", "w", "z")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "oo")
_CODAS = ("", "l", "m", "n", "r", "rd", "sk", "th", "x")
TRADES = ("baker", "smith", "weaver", "miller", "potter", "tanner", "fisher", "carter", "dyer", "glazier")
ANIMALS = ("goat", "duck", "hen", "horse", "pig", "donkey", "cow", "rabbit")
COLOURS = ("black", "white", "brown", "grey", "spotted", "red")
ADJECTIVES = ("old", "small", "heavy", "bright", "broken", "cheap", "round", "soft", "sharp", "rare", "warm", "strange")
SITES = ("market", "river", "forest", "mill", "bridge", "harbour", "garden", "church")
VERBS = ("bought", "sold", "lost", "found", "painted", "carried")


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """Size of a generated world and of what is written about it.

    Attributes:
      seed: decides everything.
      num_people, num_towns, num_things: people, towns that they live in, and nouns, of which most are rare.
      held_out_pairs: part of the pairs of people that only held-out documents are about.
      train_documents, held_out_documents: numbers of documents.
    """

    seed: int
    num_people: int = 48
    num_towns: int = 12
    num_things: int = 300
    held_out_pairs: float = 0.125
    train_documents: int
    held_out_documents: int


@dataclass(frozen=True, kw_only=True)
class Person:
    """What is true of a person; documents only state it. `friend` is the number of another person."""

    name: str
    pronoun: str
    home: str
    trade: str
    animal: str
    colour: str
    num_animals: int
    born: int
    friend: int


class World:
    """People, towns and things, and which pairs of people are held out."""

    def __init__(self, config: WorldConfig) -> None:
        rng = random.Random(f"world {config.seed}")
        words = _invented(rng, config.num_people + config.num_towns + config.num_things)
        names, towns = words[: config.num_people], words[config.num_people :][: config.num_towns]
        self.towns = tuple(town.capitalize() for town in towns)
        self.things = tuple(words[config.num_people + config.num_towns :])
        self.people = tuple(
            self._person(rng, name.capitalize(), friends=[n for n in range(len(names)) if n != number])
            for number, name in enumerate(names)
        )
        pairs = [(a, b) for a in range(len(names)) for b in range(a)]
        rng.shuffle(pairs)
        num_held_out = max(1, round(config.held_out_pairs * len(pairs)))
        self.held_out_pairs, self.train_pairs = _both_orders(pairs[:num_held_out]), _both_orders(pairs[num_held_out:])

    def _person(self, rng: random.Random, name: str, friends: list[int]) -> Person:
        return Person(
            name=name,
            pronoun=rng.choice(("she", "he")),
            home=rng.choice(self.towns),
            trade=rng.choice(TRADES),
            animal=rng.choice(ANIMALS),
            colour=rng.choice(COLOURS),
            num_animals=rng.randint(2, 9),
            born=rng.randint(1700, 1799),
            friend=rng.choice(friends),
        )


def _both_orders(pairs: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple(pair for a, b in pairs for pair in ((a, b), (b, a)))


def _invented(rng: random.Random, count: int) -> list[str]:
    """Different words of two syllables; none ends in "s", so that a plural is no other word."""
    words: dict[str, None] = {}
    while len(words) < count:
        word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(2))
        if word not in words:
            words[word] = None
    return list(words)
