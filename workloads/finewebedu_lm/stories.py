"""Documents about a `World`, and how surprising each is to whoever knows the world and the grammar.

A document is about two people: where they met, what is true of them, what follows from it, and what happened. What is
chosen at random can be read off the text, so that the probability of a text is that of its choices. What is not chosen
follows: facts from the world, sums and comparisons from facts, verbs from the number of their subject across a relative
clause, pronouns from the sentence before.
"""

import itertools
import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from workloads.finewebedu_lm.documents import is_held_out
from workloads.finewebedu_lm.world import ADJECTIVES, SITES, TRADES, VERBS, Person, World, WorldConfig

T = TypeVar("T")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SHORTEST = 3  # sentences after the first
_STOP = 1 / 6


class Options(Generic[T]):
    """Alternatives with probabilities in proportion to `weights`, which are equal unless given."""

    def __init__(self, values: Sequence[T], weights: Sequence[float] | None = None) -> None:
        weights = weights or [1.0] * len(values)
        total = sum(weights)
        self.values = tuple(values)
        self.nats = tuple(-math.log(weight / total) for weight in weights)
        self.cumulative = tuple(itertools.accumulate(weight / total for weight in weights[:-1]))


class Choices:
    """Chooses at random and adds up how surprising that was.

    Attributes:
      nats: -ln of the probability of all choices so far.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.nats = 0.0

    def pick(self, options: Options[T]) -> T:
        number = self.number_of(options)
        self.nats += options.nats[number]
        return options.values[number]

    def number_of(self, options: Options[Any]) -> int:
        """The number of the alternative to take; tests take each in turn."""
        return bisect_right(options.cumulative, self._rng.random())


class Grammar:
    """The sentences that can be said in a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pairs = {
            held_out: Options(pairs) for held_out, pairs in ((0, world.train_pairs), (1, world.held_out_pairs))
        }
        self._things = Options(world.things, [1 / (rank + 2) for rank in range(len(world.things))])
        self._adjectives = Options(ADJECTIVES, [1 / (rank + 1) for rank in range(len(ADJECTIVES))])
        self._sites, self._trades, self._towns = Options(SITES), Options(TRADES), Options(world.towns)
        self._verbs = Options(VERBS, [1 / (rank + 1) for rank in range(len(VERBS))])
        self._counts = Options(range(1, len(_NUMBERS)))
        self._coin = Options((False, True))
        self._stop = Options((False, True), (1 - _STOP, _STOP))
        self._of_a_person: Options[Callable[[Choices, str, Person, Person], str]] = Options(
            (self._animals, self._birth, self._comparison, self._friend, self._count), (2, 1, 2, 2, 3)
        )
        self._of_nobody: Options[Callable[[Choices, Person, Person], str]] = Options(
            (self._together, self._clause), (1, 3)
        )
        self._about_a_person = Options((True, False), (5, 3))

    def document(self, choices: Choices, held_out: bool) -> str:
        """A document about a pair of people, of those that are held out or of the others."""
        people = [self.world.people[number] for number in choices.pick(self.pairs[held_out])]
        sentences, last = [self._meeting(choices, *people)], None
        while len(sentences) <= _SHORTEST or not choices.pick(self._stop):
            if choices.pick(self._about_a_person):
                first, second = people[::-1] if choices.pick(self._coin) else people
                subject = first.pronoun.capitalize() if first is last else first.name
                sentences.append(choices.pick(self._of_a_person)(choices, subject, first, second))
                last = first
            else:
                sentences.append(choices.pick(self._of_nobody)(choices, *people))
                last = None
        return " ".join(sentences)

    def _meeting(self, choices: Choices, first: Person, second: Person) -> str:
        site = choices.pick(self._sites)
        return f"{_introduced(first)} met {_introduced(second)} at the {site}."

    def _animals(self, choices: Choices, subject: str, person: Person, other: Person) -> str:
        return f"{subject} keeps {_NUMBERS[person.num_animals]} {person.colour} {person.animal}s."

    def _birth(self, choices: Choices, subject: str, person: Person, other: Person) -> str:
        return f"{subject} was born in {person.born}."

    def _comparison(self, choices: Choices, subject: str, person: Person, other: Person) -> str:
        difference = person.num_animals - other.num_animals
        words = (
            "more animals than" if difference > 0 else "fewer animals than" if difference < 0 else "as many animals as"
        )
        return f"{subject} has {words} {other.name}."

    def _friend(self, choices: Choices, subject: str, person: Person, other: Person) -> str:
        friend = self.world.people[person.friend]
        return f"{subject} likes {friend.name}, who lives in {friend.home}."

    def _count(self, choices: Choices, subject: str, person: Person, other: Person) -> str:
        numbers = [choices.pick(self._counts) for _ in range(2)]
        things = [choices.pick(self._things) for _ in range(2)]
        parts = [
            f"{_NUMBERS[number]} {_noun(thing, number != 1)}" for number, thing in zip(numbers, things, strict=True)
        ]
        return f"{subject} {choices.pick(self._verbs)} {parts[0]} and {parts[1]}, {sum(numbers)} in all."

    def _together(self, choices: Choices, first: Person, second: Person) -> str:
        return f"Together they keep {first.num_animals + second.num_animals} animals."

    def _clause(self, choices: Choices, first: Person, second: Person) -> str:
        """A subject and its verb with a relative clause between, and one more in that."""
        things, workers = choices.pick(self._coin), choices.pick(self._coin)
        thing = _noun(choices.pick(self._things), things)
        worker, town = _noun(choices.pick(self._trades), workers), choices.pick(self._towns)
        clause = f"the {worker} who {'live' if workers else 'lives'} in {town} {choices.pick(self._verbs)}"
        return f"The {thing} that {clause} {'are' if things else 'is'} {choices.pick(self._adjectives)}."


def documents(config: WorldConfig, *, held_out: bool, share: float) -> Iterator[tuple[str, float]]:
    """Yields documents with their surprise in nats.

    Args:
      held_out: whether they are to be those that `is_held_out` says are, about pairs of people of their own; the
        documents that are on the other side are passed over.
    """
    grammar, rng = Grammar(World(config)), random.Random(f"documents {config.seed} {held_out}")
    remaining = config.held_out_documents if held_out else config.train_documents
    while remaining:
        choices = Choices(rng)
        document = grammar.document(choices, held_out)
        if is_held_out(document, share) == held_out:
            remaining -= 1
            yield document, choices.nats


def _introduced(person: Person) -> str:
    return f"{person.name}, the {person.trade} of {person.home},"


def _noun(word: str, is_plural: bool) -> str:
    return f"{word}s" if is_plural else word
