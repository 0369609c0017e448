"""Generated molecules: fragments joined by single bonds within the rules of valence, and labels that depend on them.

Every molecule is a scaffold (two rings and a linker) with further fragments on it. A task's label is a noisy rule over
the fragments that a molecule holds and which ones are bonded to each other. As in the real dataset, the splits have
different scaffolds and many labels are missing. Features have the codes of the Open Graph Benchmark.
"""

import functools
import hashlib
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from algoperf.definition import Split
from workloads.ogbg.fragments import ELEMENTS, FRAGMENTS, LINKERS, RINGS, SUBSTITUENTS, Fragment

Example = dict[str, np.ndarray]
Scaffold = tuple[int, int, int]

# Codes of the Open Graph Benchmark (ogb.utils.features).
_BOND_CODES = np.array([-1, 0, 1, 2])
_AROMATIC_BOND_CODE = 3
_FORMAL_CHARGE_ZERO = 5
_SP, _SP2, _SP3 = 0, 1, 2

_MAX_SUBSTITUENTS = 5
# Frequencies of substituents fall off with their rank, as those of functional groups do.
_SUBSTITUENT_WEIGHTS = tuple(1 / (rank + 3) for rank in range(1, len(SUBSTITUENTS) + 1))
_FRAGMENT_INDEX = {fragment.name: number for number, fragment in enumerate(FRAGMENTS)}

# A condition of a rule must hold for at least this share of the molecules, and for at most that.
_CONDITION_SHARE = (0.02, 0.4)
_POSITIVE_SHARE = (0.03, 0.25)
_LABELLED_SHARE = (0.3, 0.9)
_NOISE = 0.35  # in units of the standard deviation of a rule's score


@dataclass
class Molecule:
    """A molecule under construction; free valences are filled with hydrogens, which are counted and not stored."""

    elements: list[str] = field(default_factory=list)
    charges: list[int] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    aromatic: list[bool] = field(default_factory=list)
    in_ring: list[bool] = field(default_factory=list)
    bonds: list[tuple[int, int, int]] = field(default_factory=list)
    bond_is_aromatic: list[bool] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    fragments: list[int] = field(default_factory=list)
    joints: list[tuple[int, int]] = field(default_factory=list)

    def add(self, fragment: Fragment, rng: random.Random, onto: int | None = None) -> None:
        """Adds a fragment, bonded to a random free atom (of fragment number `onto`); nothing where none is free."""
        first, number = len(self.elements), len(self.fragments)
        sites = [a for a, free in enumerate(self.free) if free and (onto is None or self.owners[a] == onto)]
        if first and not sites:
            return
        size = len(fragment.elements)
        self.elements += fragment.elements
        self.charges += fragment.charges
        self.free += fragment.free
        self.aromatic += [fragment.aromatic] * size
        self.in_ring += [fragment.ring] * size
        self.bonds += [(first + a, first + b, order) for a, b, order in fragment.bonds]
        self.bond_is_aromatic += [fragment.aromatic] * len(fragment.bonds)
        self.owners += [number] * size
        self.fragments.append(_FRAGMENT_INDEX[fragment.name])
        if first:
            site, own = rng.choice(sites), first + rng.choice(fragment.attachable)
            self.bonds.append((site, own, 1))
            self.bond_is_aromatic.append(False)
            self.free[site] -= 1
            self.free[own] -= 1
            self.joints.append((self.fragments[self.owners[site]], self.fragments[number]))

    def example(self) -> Example:
        """Returns the arrays of the raw dataset, without labels."""
        num_atoms, num_bonds = len(self.elements), len(self.bonds)
        table = np.array(self.bonds, np.int64).reshape(num_bonds, 3)
        ends, orders = table[:, :2], table[:, 2]
        is_aromatic = np.array(self.bond_is_aromatic, bool)
        degrees = np.bincount(ends.reshape(-1), minlength=num_atoms)
        unsaturation = np.bincount(ends.reshape(-1), np.repeat(orders - 1, 2), num_atoms)
        hybridization = np.where(unsaturation >= 2, _SP, np.where((unsaturation == 1) | self.aromatic, _SP2, _SP3))
        conjugated = is_aromatic | (hybridization[ends] == _SP2).all(axis=1)
        nodes = np.zeros((num_atoms, 9), np.float32)  # no stereochemistry (1) and no radicals (5)
        nodes[:, 0] = [ELEMENTS[element] - 1 for element in self.elements]
        nodes[:, 2] = degrees
        nodes[:, 3] = np.add(self.charges, _FORMAL_CHARGE_ZERO)
        nodes[:, 4] = self.free
        nodes[:, 6] = hybridization
        nodes[:, 7] = self.aromatic
        nodes[:, 8] = self.in_ring
        edges = np.zeros((num_bonds, 3), np.float32)
        edges[:, 0] = np.where(is_aromatic, _AROMATIC_BOND_CODE, _BOND_CODES[orders])
        edges[:, 2] = conjugated
        return {
            "num_nodes": np.array([num_atoms]),
            "node_feat": nodes,
            "num_edges": np.array([num_bonds]),
            "edge_feat": edges,
            "edge_index": ends,
        }


def random_molecule(scaffold: Scaffold, rng: random.Random) -> Molecule:
    """Grows a molecule from a scaffold: positions of a ring, a linker and a ring in their tables."""
    molecule = Molecule()
    first_ring, linker, second_ring = scaffold
    molecule.add(RINGS[first_ring], rng)
    molecule.add(LINKERS[linker], rng, onto=0)
    molecule.add(RINGS[second_ring], rng, onto=1)
    for kind in rng.choices(range(len(SUBSTITUENTS)), _SUBSTITUENT_WEIGHTS, k=rng.randint(1, _MAX_SUBSTITUENTS)):
        molecule.add(SUBSTITUENTS[kind], rng)
    return molecule


def generate(seed: int, sizes: Mapping[Split, int], num_tasks: int) -> dict[str, list[Example]]:
    """Returns the examples of every split, a function of the arguments alone."""
    rng = random.Random(seed)
    scaffolds = list(itertools.product(range(len(RINGS)), range(len(LINKERS)), range(len(RINGS))))
    rng.shuffle(scaffolds)
    molecules: list[Molecule] = []
    for split, own_scaffolds in _divide(scaffolds, sizes).items():
        molecules += [random_molecule(rng.choice(own_scaffolds), rng) for _ in range(sizes[split])]
    labels = assay(molecules, num_tasks, np.random.default_rng(seed)).labels
    examples = [
        {**molecule.example(), "labels": row}
        for molecule, row in zip(molecules, labels.astype(np.float32), strict=True)
    ]
    ends = list(itertools.accumulate(sizes.values()))
    return {split: examples[end - sizes[split] : end] for split, end in zip(sizes, ends, strict=True)}


@functools.cache
def sample_digest(seed: int) -> str:
    """Hash of a few molecules, by which a store that another generator made is noticed."""
    digest = hashlib.sha256()
    for example in generate(seed, {Split.TRAIN: 100}, num_tasks=4)[Split.TRAIN]:
        for name in sorted(example):
            digest.update(example[name].tobytes())
    return digest.hexdigest()[:16]


def _divide(scaffolds: Sequence[Scaffold], sizes: Mapping[Split, int]) -> dict[Split, list[Scaffold]]:
    """Gives every split its own scaffolds: a tenth to each of validation and test, the others to training."""
    tenth = len(scaffolds) // 10
    shares = {Split.VALIDATION: scaffolds[:tenth], Split.TEST: scaffolds[tenth : 2 * tenth]}
    return {split: list(shares.get(split, scaffolds[2 * tenth :])) for split in sizes}


@dataclass(frozen=True, kw_only=True)
class Assay:
    """Labels [molecules, tasks] of 0, 1 and NaN, and the scores whose noisy versions they are thresholds of."""

    labels: np.ndarray
    scores: np.ndarray


def assay(molecules: Sequence[Molecule], num_tasks: int, rng: np.random.Generator) -> Assay:
    """Draws the rules of the tasks and applies them.

    A rule weighs two to four conditions (a fragment is there, two fragments are bonded; one more may count against)
    and adds noise; the highest scores are the positives.
    """
    conditions = _conditions(molecules)
    shares = conditions.mean(axis=0)
    usable = conditions[:, (shares >= _CONDITION_SHARE[0]) & (shares <= _CONDITION_SHARE[1])]
    num_molecules = len(molecules)
    scores = np.empty((num_molecules, num_tasks))
    labels = np.empty((num_molecules, num_tasks))
    for task in range(num_tasks):
        chosen = usable[:, rng.choice(usable.shape[1], int(rng.integers(2, 5)), replace=False)].astype(np.float64)
        weights = np.asarray(rng.uniform(0.5, 1.5, chosen.shape[1]))
        if chosen.shape[1] > 2:
            weights[-1] *= -1
        both = chosen[:, 0] * chosen[:, 1]
        scores[:, task] = chosen @ weights + both
        noisy = scores[:, task] + _NOISE * scores[:, task].std() * rng.standard_normal(num_molecules)
        share = rng.uniform(*_POSITIVE_SHARE)
        labels[:, task] = noisy > np.quantile(noisy, 1 - share)
    labelled = rng.random(labels.shape) < rng.uniform(*_LABELLED_SHARE, num_tasks)
    return Assay(labels=np.where(labelled, labels, np.nan), scores=scores)


def _conditions(molecules: Sequence[Molecule]) -> np.ndarray:
    """Returns bool [molecules, conditions]: each fragment is there; each unordered pair of fragments is bonded."""
    num_kinds = len(FRAGMENTS)
    present = np.zeros((len(molecules), num_kinds), bool)
    bonded = np.zeros((len(molecules), num_kinds, num_kinds), bool)
    for number, molecule in enumerate(molecules):
        present[number, molecule.fragments] = True
        for pair in molecule.joints:
            bonded[number, min(pair), max(pair)] = True
    pairs = np.triu_indices(num_kinds)
    return np.concatenate([present, bonded[:, pairs[0], pairs[1]]], axis=1)
