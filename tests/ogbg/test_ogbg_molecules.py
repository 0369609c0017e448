"""Generated molecules obey valence, labels are sparse and depend on structure, splits differ."""

import random

import numpy as np

from algoperf.definition import Split
from workloads.ogbg.fragments import ELEMENTS, FRAGMENTS, LINKERS, RINGS, VALENCES
from workloads.ogbg.metrics import mean_average_precision
from workloads.ogbg.molecules import assay, generate, random_molecule

_SIZES = {Split.TRAIN: 60, Split.VALIDATION: 20, Split.TEST: 20}


def _molecules(count, seed=0):
    rng = random.Random(seed)
    scaffolds = [
        (rng.randrange(len(RINGS)), rng.randrange(len(LINKERS)), rng.randrange(len(RINGS))) for _ in range(count)
    ]
    return [random_molecule(scaffold, rng) for scaffold in scaffolds]


def test_every_atom_has_a_valence_that_its_element_takes():
    for molecule in _molecules(200):
        used = np.zeros(len(molecule.elements), int)
        for a, b, order in molecule.bonds:
            used[[a, b]] += order
        for element, charge, bonds, hydrogens in zip(
            molecule.elements, molecule.charges, used, molecule.free, strict=True
        ):
            assert hydrogens >= 0
            assert bonds + hydrogens in VALENCES[element, charge], (element, charge, bonds, hydrogens)


def test_molecules_are_connected():
    for molecule in _molecules(50):
        group = np.arange(len(molecule.elements))
        for a, b, _ in molecule.bonds:
            group[group == group[a]] = group[b]
        assert len(set(group)) == 1


def test_features_are_those_of_a_known_molecule():
    index = {fragment.name: number for number, fragment in enumerate(FRAGMENTS)}
    ring = index["benzene"]
    example = random_molecule((ring, 2, ring), random.Random(1)).example()  # diphenyl ether with substituents
    oxygen = example["node_feat"][6]
    assert oxygen[0] == ELEMENTS["O"] - 1
    assert oxygen[2] == 2  # degree
    assert oxygen[4] == 0  # hydrogens
    assert (example["node_feat"][:6, 7:9] == 1).all()  # aromatic, in a ring
    assert (example["edge_feat"][:6, 0] == 3).all()  # aromatic bonds
    assert example["num_nodes"].sum() == len(example["node_feat"])


def test_a_seed_fixes_the_data_and_another_changes_it():
    first, again, other = (generate(seed, _SIZES, 8) for seed in (1, 1, 2))
    for split in _SIZES:
        assert len(first[split]) == _SIZES[split]
        for a, b in zip(first[split], again[split], strict=True):
            assert all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)
    assert any(
        len(a["node_feat"]) != len(b["node_feat"]) for a, b in zip(first[Split.TRAIN], other[Split.TRAIN], strict=True)
    )


def test_labels_are_sparse_and_follow_the_structure():
    molecules = _molecules(1500)
    result = assay(molecules, 16, np.random.default_rng(0))
    labelled = ~np.isnan(result.labels)
    assert 0.3 < labelled.mean() < 0.9
    positives = np.nan_to_num(result.labels) > 0
    attainable = mean_average_precision(result.scores, positives, labelled)
    by_chance = mean_average_precision(np.random.default_rng(1).random(result.scores.shape), positives, labelled)
    assert attainable > 0.6
    assert attainable < 1.0
    assert by_chance < 0.3
