"""The mini's documents: what is said is true, the grammar agrees, and the stated entropy is that of the texts."""

import dataclasses
import itertools
import math
import random
import re

import pytest

from workloads.finewebedu_lm.definition import MINI
from workloads.finewebedu_lm.documents import is_held_out
from workloads.finewebedu_lm.raw import perplexity_of_generator
from workloads.finewebedu_lm.stories import _NUMBERS, Choices, Grammar, documents
from workloads.finewebedu_lm.vocabulary import train_vocabulary
from workloads.finewebedu_lm.world import World, WorldConfig

CONFIG = WorldConfig(seed=3, train_documents=400, held_out_documents=60)
_NUMBER = {word: number for number, word in enumerate(_NUMBERS)}


class Prefix(Choices):
    """Takes given alternatives, then the first of each; remembers how many there were."""

    def __init__(self, taken):
        super().__init__(random.Random(0))
        self.taken, self.sizes = list(taken), []

    def number_of(self, options):
        place = len(self.sizes)
        self.sizes.append(len(options.values))
        if place == len(self.taken):
            self.taken.append(0)
        return self.taken[place]


def outcomes(sentence):
    """Every text of `sentence(choices)` with its surprise, by counting through the alternatives."""
    taken = []
    while True:
        choices = Prefix(taken)
        text = sentence(choices)
        yield text, choices.nats
        taken = choices.taken
        while taken and taken[-1] == choices.sizes[len(taken) - 1] - 1:
            taken.pop()
        if not taken:
            return
        taken[-1] += 1


@pytest.fixture(scope="module")
def small_grammar():
    config = WorldConfig(seed=1, num_people=3, num_towns=2, num_things=3, train_documents=1, held_out_documents=1)
    return Grammar(World(config))


@pytest.mark.parametrize(
    "kind", ["_meeting", "_clause", "_together", "_animals", "_birth", "_comparison", "_friend", "_count"]
)
def test_each_text_of_a_sentence_comes_from_one_set_of_choices(small_grammar, kind):
    first, second = small_grammar.world.people[:2]
    method = getattr(small_grammar, kind)
    arguments = (first, second) if kind in ("_meeting", "_clause", "_together") else ("He", first, second)
    found = list(outcomes(lambda choices: method(choices, *arguments)))
    texts = [text for text, _ in found]
    assert len({*texts}) == len(texts)
    assert sum(math.exp(-nats) for _, nats in found) == pytest.approx(1)


def test_texts_of_different_kinds_of_sentences_differ(small_grammar):
    first, second = small_grammar.world.people[:2]
    of_a_person = [getattr(small_grammar, kind) for kind in ("_animals", "_birth", "_comparison", "_friend", "_count")]
    sets = [{text for text, _ in outcomes(lambda c, m=method: m(c, "He", first, second))} for method in of_a_person]
    sets += [
        {text for text, _ in outcomes(lambda c, m=method: m(c, first, second))}
        for method in (small_grammar._together, small_grammar._clause)
    ]
    for one, other in itertools.combinations(sets, 2):
        assert not one & other


def test_invented_words_are_all_different_and_no_plural_of_another():
    world = World(CONFIG)
    words = [*world.things, *(f"{thing}s" for thing in world.things)]
    words += [town.lower() for town in world.towns] + [person.name.lower() for person in world.people]
    assert len({*words}) == len(words)


def test_sums_verbs_and_facts_are_right():
    people = {person.name: person for person in World(CONFIG).people}
    seen = set()
    for document, _ in documents(CONFIG, held_out=False, share=0.1):
        for a, b, total in re.findall(r"(\w+) \w+ and (\w+) \w+, (\d+) in all", document):
            assert _NUMBER[a] + _NUMBER[b] == int(total)
            seen.add("sum")
        for thing, verb in re.findall(r"The (\w+) that the [\w ]+ (is|are) \w+\.", document):
            assert (verb == "are") == thing.endswith("s"), document
            seen.add(verb)
        for worker, verb in re.findall(r"that the (\w+) who (lives?) in", document):
            assert (verb == "live") == worker.endswith("s")
            seen.add(verb)
        first, second = (people[name] for name in re.match(r"(\w+), the .* met (\w+),", document).groups())
        for name, relation in re.findall(r"(\w+) has (more|fewer|as many) animals", document):
            if name in people:
                other = second if people[name] is first else first
                sign = people[name].num_animals - other.num_animals
                assert relation == ("more" if sign > 0 else "fewer" if sign < 0 else "as many")
                seen.add(relation)
        for total in re.findall(r"Together they keep (\d+) animals", document):
            assert int(total) == first.num_animals + second.num_animals
            seen.add("together")
    assert seen >= {"sum", "is", "are", "live", "lives", "more", "fewer", "together"}


def test_held_out_documents_are_about_pairs_that_training_never_pairs():
    def pairs(held_out):
        texts = [text for text, _ in documents(CONFIG, held_out=held_out, share=0.1)]
        assert all(is_held_out(text, 0.1) == held_out for text in texts)
        return {frozenset(re.match(r"(\w+), the .* met (\w+),", text).groups()) for text in texts}

    training, held_out = pairs(False), pairs(True)
    assert not training & held_out
    assert set().union(*held_out) <= set().union(*training)  # all of them are known from other pairs


def test_the_same_seed_gives_the_same_documents_and_another_seed_other_ones():
    first, again, other = (
        list(documents(dataclasses.replace(CONFIG, seed=seed, train_documents=5), held_out=False, share=0.1))
        for seed in (3, 3, 4)
    )
    assert first == again != other


def test_no_target_lies_below_what_the_generator_itself_reaches():
    """The mini's target is above the perplexity of its generator, which its definition states."""
    few = dataclasses.replace(MINI.data.generator, train_documents=2_000)
    texts = [text for text, _ in documents(few, held_out=False, share=MINI.data.held_out_share)]
    vocabulary = train_vocabulary(texts, MINI.model.vocab_size)
    floor = perplexity_of_generator(MINI, vocabulary)
    stated = float(re.search(r"perplexity (\d+\.\d+)", MINI.sources["splits"])[1])
    assert floor == pytest.approx(stated, abs=0.001)
    assert MINI.validation_target > floor
