"""The pieces that generated molecules are made of: rings, linkers and substituents with explicit bond orders."""

from dataclasses import dataclass
from functools import cached_property

# Atomic numbers.
ELEMENTS = {"C": 6, "N": 7, "O": 8, "F": 9, "P": 15, "S": 16, "Cl": 17, "Br": 35, "I": 53}
# Sums of bond orders that an atom of (element, formal charge) takes, hydrogens included; of several, the smallest that
# holds its bonds.
VALENCES = {
    ("C", 0): (4,),
    ("N", 0): (3,),
    ("N", 1): (4,),
    ("O", 0): (2,),
    ("O", -1): (1,),
    ("F", 0): (1,),
    ("P", 0): (3, 5),
    ("S", 0): (2, 4, 6),
    ("Cl", 0): (1,),
    ("Br", 0): (1,),
    ("I", 0): (1,),
}

Bond = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """A connected piece of a molecule.

    Attributes:
      elements: element of each atom.
      bonds: (atom, atom, order), aromatic rings in one of their Kekule structures.
      charges: formal charges.
    """

    name: str
    elements: tuple[str, ...]
    bonds: tuple[Bond, ...]
    charges: tuple[int, ...]
    ring: bool = False
    aromatic: bool = False

    @cached_property
    def free(self) -> tuple[int, ...]:
        """Valence left at each atom."""
        used = [0] * len(self.elements)
        for a, b, order in self.bonds:
            used[a] += order
            used[b] += order
        valences = []
        for element, charge, sum_of_orders in zip(self.elements, self.charges, used, strict=True):
            valences.append(min(v for v in VALENCES[element, charge] if v >= sum_of_orders) - sum_of_orders)
        return tuple(valences)

    @cached_property
    def attachable(self) -> tuple[int, ...]:
        return tuple(atom for atom, free in enumerate(self.free) if free)


def _fragment(
    name: str, elements: str, bonds: tuple[Bond, ...] = (), charges: dict[int, int] | None = None, **flags: bool
) -> Fragment:
    atoms = tuple(elements.split())
    all_charges = tuple((charges or {}).get(atom, 0) for atom in range(len(atoms)))
    return Fragment(name=name, elements=atoms, bonds=bonds, charges=all_charges, **flags)


def _ring(name: str, elements: str, double: tuple[int, ...] = (), *, aromatic: bool = False) -> Fragment:
    """A single ring; `double` lists the atoms that have a double bond to the next one."""
    size = len(elements.split())
    bonds = tuple((atom, (atom + 1) % size, 2 if atom in double else 1) for atom in range(size))
    return _fragment(name, elements, bonds, ring=True, aromatic=aromatic)


def _chain(name: str, elements: str, orders: tuple[int, ...]) -> Fragment:
    return _fragment(name, elements, tuple((atom, atom + 1, order) for atom, order in enumerate(orders)))


_NAPHTHALENE_BONDS = (
    *((0, 1, 2), (1, 2, 1), (2, 3, 2), (3, 4, 1), (4, 5, 2), (5, 0, 1)),
    *((4, 6, 1), (6, 7, 2), (7, 8, 1), (8, 9, 2), (9, 5, 1)),
)
_INDOLE_BONDS = (
    *((0, 1, 2), (1, 2, 1), (2, 3, 2), (3, 4, 1), (4, 5, 2), (5, 0, 1)),
    *((4, 6, 1), (6, 7, 1), (7, 8, 2), (8, 5, 1)),
)

RINGS = (
    _ring("benzene", "C C C C C C", (0, 2, 4), aromatic=True),
    _ring("pyridine", "N C C C C C", (0, 2, 4), aromatic=True),
    _ring("pyrimidine", "N C N C C C", (0, 2, 4), aromatic=True),
    _ring("thiophene", "S C C C C", (1, 3), aromatic=True),
    _ring("furan", "O C C C C", (1, 3), aromatic=True),
    _ring("imidazole", "N C N C C", (1, 3), aromatic=True),
    _fragment("naphthalene", "C C C C C C C C C C", _NAPHTHALENE_BONDS, ring=True, aromatic=True),
    _fragment("indole", "C C C C C C N C C", _INDOLE_BONDS, ring=True, aromatic=True),
    _ring("cyclohexane", "C C C C C C"),
    _ring("cyclopentane", "C C C C C"),
    _ring("piperidine", "N C C C C C"),
    _ring("morpholine", "O C C N C C"),
    _ring("piperazine", "N C C N C C"),
    _ring("cyclopropane", "C C C"),
)

LINKERS = (
    _chain("methylene", "C", ()),
    _fragment("amide", "C O N", ((0, 1, 2), (0, 2, 1))),
    _chain("ether", "O", ()),
    _chain("amine", "N", ()),
    _chain("ethylene", "C C", (1,)),
    _fragment("sulfonamide", "S O O N", ((0, 1, 2), (0, 2, 2), (0, 3, 1))),
    _fragment("ester", "C O O", ((0, 1, 2), (0, 2, 1))),
    _chain("vinylene", "C C", (2,)),
    _fragment("urea", "N C O N", ((0, 1, 1), (1, 2, 2), (1, 3, 1))),
    _chain("thioether", "S", ()),
)

SUBSTITUENTS = (
    _chain("methyl", "C", ()),
    _chain("hydroxyl", "O", ()),
    _chain("chlorine", "Cl", ()),
    _chain("fluorine", "F", ()),
    _chain("methoxy", "O C", (1,)),
    _chain("amino", "N", ()),
    _fragment("carboxyl", "C O O", ((0, 1, 2), (0, 2, 1))),
    _chain("nitrile", "C N", (3,)),
    _fragment("nitro", "N O O", ((0, 1, 2), (0, 2, 1)), {0: 1, 2: -1}),
    _fragment("trifluoromethyl", "C F F F", ((0, 1, 1), (0, 2, 1), (0, 3, 1))),
    _chain("bromine", "Br", ()),
    _fragment("acetyl", "C O C", ((0, 1, 2), (0, 2, 1))),
    _chain("ethyl", "C C", (1,)),
    _chain("thiol", "S", ()),
    _fragment("phosphonate", "P O O O", ((0, 1, 2), (0, 2, 1), (0, 3, 1))),
    _chain("iodine", "I", ()),
)

FRAGMENTS = RINGS + LINKERS + SUBSTITUENTS
