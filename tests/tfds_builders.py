"""TFDS's own builders, run on archives that a test wrote: what preparation from the same archives is compared with."""

import contextlib
import importlib.resources
import importlib.resources.abc
import sys
import tarfile
import zipfile
from pathlib import Path
from unittest import mock

_MANAGER = "tensorflow_datasets.core.download.download_manager.DownloadManager"


def build(builder_class, archives: Path, data_dir: Path, **options) -> Path:
    """Builds a dataset without TensorFlow from archives (by the last part of their URLs); returns its folder."""
    with _standard_library_resources():
        builder = builder_class(data_dir=str(data_dir), file_format="array_record", **options)
        with contextlib.ExitStack() as stack:
            for name in ("download", "download_and_extract"):
                stack.enter_context(mock.patch(f"{_MANAGER}.{name}", _from(archives, data_dir / "extracted", name)))
            builder.download_and_prepare()
    return Path(builder.data_dir)


@contextlib.contextmanager
def _standard_library_resources():
    """TFDS generates with the backport `importlib_resources`, which is the standard library's module here."""
    modules = {
        "importlib_resources": importlib.resources,
        "importlib_resources.abc": importlib.resources.abc,
    }
    with mock.patch.dict(sys.modules, modules):
        yield


def _from(archives: Path, extracted: Path, name: str):
    import tree
    from etils import epath

    def fetch(manager, urls):
        return tree.map_structure(lambda url: one(str(getattr(url, "url", url))), urls)

    def one(url: str):
        path = archives / url.rsplit("/", 1)[-1]
        if name == "download":
            return epath.Path(path)
        folder = extracted / path.name
        if not folder.exists():
            with zipfile.ZipFile(path) if path.suffix == ".zip" else tarfile.open(path) as archive:
                archive.extractall(folder)
        return epath.Path(folder)

    return fetch
