"""What can be said of a prepared dataset: whether its files are intact, of which settings, and what they hold."""

from pathlib import Path

from algoperf.data.places import store_dir
from algoperf.data.store import MANIFEST, Store, StoreError, content_digest, is_complete, store_manifests
from algoperf.definition import WorkloadDefinition


class OtherSettingsError(StoreError):
    """Prepared data were made with other settings than the definition has now."""


def check_settings(definition: WorkloadDefinition, store: Path) -> None:
    """Returns where a store was prepared with the definition's settings, or where it does not say with which.

    Raises:
      OtherSettingsError: with others.
      StoreError: it cannot be read.
    """
    recorded, expected = Store(store).settings, definition.store_digest()
    if recorded not in (None, expected):
        raise OtherSettingsError(
            f"{store} was prepared with the settings {recorded}, expected {expected}, those of {definition.name} now; "
            "prepare it again"
        )


def has_settings(definition: WorkloadDefinition, store: Path) -> bool:
    """Whether `check_settings` has no objection."""
    try:
        check_settings(definition, store)
    except OtherSettingsError:
        return False
    return True


def verify_dataset(definition: WorkloadDefinition, data_dir: Path) -> int:
    """Compares every checksum of a prepared dataset; returns the number of stores it consists of.

    Raises:
      StoreError: it is missing, or a file is damaged (named).
    """
    root = store_dir(definition, data_dir)
    stores = [manifest.parent for manifest in store_manifests(root)]
    if not stores:
        raise StoreError(f"no prepared data at {root} ({MANIFEST} is missing)")
    for path in stores:
        Store(path).verify()
    return len(stores)


def data_digest(definition: WorkloadDefinition, data_dir: Path) -> str:
    """16 hexadecimal digits that stand for the contents of a prepared dataset, by the checksums of its manifests.

    Raises:
      StoreError: it is missing, or a manifest is damaged.
    """
    return content_digest(store_dir(definition, data_dir))


def is_intact(path: Path) -> bool:
    """Whether a store and its parts are complete, with the checksums of their manifests."""
    try:
        for manifest in store_manifests(path):
            Store(manifest.parent).verify()
    except StoreError:
        return False
    return is_complete(path)


def is_readable(path: Path) -> bool:
    """Whether a store can be opened; what its files hold is not read."""
    try:
        Store(path)
    except StoreError:
        return False
    return True
