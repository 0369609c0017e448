"""What readers of raw ImageNet yield and raise."""

from dataclasses import dataclass

from algoperf.data.store import StoreError

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")


class RawDataError(StoreError):
    """The raw dataset is missing, incomplete or damaged."""


@dataclass(frozen=True, kw_only=True)
class RawImage:
    """One image as it is stored: `name` for messages, `label`, and the `encoded` bytes of the file."""

    name: str
    label: int
    encoded: bytes
