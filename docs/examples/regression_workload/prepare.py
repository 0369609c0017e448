"""Generated rows to store."""

from pathlib import Path

import numpy as np

from algoperf.data import StoreWriter
from algoperf.data.places import new_store_dir
from algoperf.definition import WorkloadDefinition
from algoperf.reporting import Report


def prepare(
    definition: WorkloadDefinition, data_dir: Path, *, source_dir: Path | None, num_workers: int, report: Report
) -> None:
    sizes, generator = definition.splits, np.random.default_rng(definition.data.seed)
    num_rows = sizes.train + sizes.validation + (sizes.test or 0)
    inputs = generator.normal(size=(num_rows, definition.model.num_features))
    direction = generator.normal(size=definition.model.num_features)
    targets = np.sin(inputs @ direction) + definition.data.noise * generator.normal(size=num_rows)
    with StoreWriter(new_store_dir(definition, data_dir), {"source": "generated"}) as writer:
        writer.add("inputs", inputs.astype(np.float32))
        writer.add("targets", targets.astype(np.float32))


def how_to_get(definition: WorkloadDefinition) -> str:
    return "nothing to get: the data are generated"
