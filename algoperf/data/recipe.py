"""Recipes: all settings that the contents of a store depend on, kept in its metadata and compared when it is opened.

They say by name what differs, and count what `WorkloadDefinition.store_digest` does not: settings of the model, such as
the size of a vocabulary, and digests of generators.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algoperf.data.places import store_dir
from algoperf.data.store import Store, StoreError
from algoperf.definition import WorkloadDefinition

RECIPE = "recipe"  # its key in the metadata of a store

Recipe = dict[str, object]


def plain_recipe(settings: Mapping[str, Any]) -> Recipe:
    """Returns the settings as they are read from JSON."""
    plain: Recipe = json.loads(json.dumps(settings))
    return plain


def open_store(definition: WorkloadDefinition, data_dir: Path, recipe: Recipe) -> Store:
    """Opens the store of `definition`, which must have been prepared by `recipe`.

    Raises:
      StoreError: the store is missing, damaged, or was prepared by another recipe.
    """
    path = store_dir(definition, data_dir)
    store = Store(path)
    recorded = store.meta.get(RECIPE, {})
    for name, expected in recipe.items():
        if recorded.get(name) != expected:
            raise StoreError(
                f"{path} was prepared with {name} = {recorded.get(name)}, {definition.name} needs {expected}; "
                f"delete {path} and run: python -m algoperf.prepare {definition.name} --data_dir={data_dir}"
            )
    return store
