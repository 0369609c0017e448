"""Raw file (`toy.csv`: features and target per line) to store."""

import functools
from pathlib import Path

import numpy as np

from algoperf.data import StoreError, StoreWriter
from algoperf.data.places import new_store_dir, raw_dir
from algoperf.definition import Tier, WorkloadDefinition
from algoperf.ownership import generate_once
from algoperf.reporting import Report

RAW_FILE = "toy.csv"
OFFSET = 1.0


def prepare(
    definition: WorkloadDefinition,
    data_dir: Path,
    *,
    source_dir: Path | None,
    num_workers: int,
    report: Report,
) -> None:
    """Writes the store; the mini first writes its own raw file."""
    if definition.tier is Tier.MINI:
        source_dir = raw_dir(definition, data_dir)
        identity = f"{definition.splits} {definition.data}"
        generate_once(source_dir, identity, functools.partial(_write_raw, definition, source_dir / RAW_FILE))
    if source_dir is None or not (source_dir / RAW_FILE).is_file():
        raise StoreError(f"{RAW_FILE} is not in --source_dir={source_dir}; {how_to_get(definition)}")
    rows = np.loadtxt(source_dir / RAW_FILE, delimiter=",", ndmin=2).astype(np.float32)
    report(f"{len(rows)} rows")
    with StoreWriter(new_store_dir(definition, data_dir), {"source": RAW_FILE}) as writer:
        writer.add("inputs", rows[:, :-1])
        writer.add("targets", rows[:, -1])


def _write_raw(definition: WorkloadDefinition, path: Path) -> None:
    np.savetxt(path, generate(definition), delimiter=",")


def generate(definition: WorkloadDefinition) -> np.ndarray:
    """Returns float64 [rows, features + 1] of train, validation and test rows, the target in the last column."""
    sizes, data = definition.splits, definition.data
    generator = np.random.default_rng(data.seed)
    num_rows = sizes.train + sizes.validation + (sizes.test or 0)
    inputs = generator.normal(size=(num_rows, definition.model.num_features))
    weights = generator.normal(size=definition.model.num_features)
    targets = inputs @ weights + OFFSET + data.noise * generator.normal(size=num_rows)
    return np.column_stack([inputs, targets])


def how_to_get(definition: WorkloadDefinition) -> str:
    return f"write {RAW_FILE} yourself, then: python -m algoperf.prepare {definition.name} --source_dir=FOLDER"


def required_bytes(definition: WorkloadDefinition) -> int:
    return 10_000
