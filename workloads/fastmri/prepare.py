"""HDF5 volumes to a prepared store; the mini's volumes come from a generator and go the same way.

The store's parts (`algoperf.data.shards`) each hold the slices of some volumes: `columns` complex64 [columns of all
slices, image_size] (see `workloads.fastmri.kspace`), `first_column` int64 [slices + 1], `targets` float32
[slices, image_size, image_size] and `volume_max` float32 [slices].
"""

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from algoperf.data import Store, StoreWriter
from algoperf.data.places import first_folder, new_store_dir, raw_dir
from algoperf.data.shards import adopt_parts, write_part
from algoperf.definition import Split, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.reporting import Report
from workloads.fastmri import phantoms
from workloads.fastmri.archives import archive_of, unpack
from workloads.fastmri.definition import FastMRIData
from workloads.fastmri.kspace import half_transformed

TRAIN_FOLDER, VALIDATION_FOLDER = "knee_singlecoil_train", "knee_singlecoil_val"
UNPACKED = "unpacked"  # folder below that of the raw data
VOLUMES_PER_PART = 32


class RawVolumeError(UserError):
    """A folder or volume of the raw dataset is missing or damaged."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """All slices of one file.

    Attributes:
      columns: complex64 [slices, columns, image_size].
      targets: float32 [slices, image_size, image_size].
      maximum: largest intensity of the volume, 0 where the file does not say.
    """

    columns: np.ndarray
    targets: np.ndarray
    maximum: float


def prepare(
    definition: WorkloadDefinition, data_dir: Path, *, source_dir: Path | None, num_workers: int, report: Report
) -> None:
    """See `algoperf.data.source.PrepareModule`. Raises RawVolumeError that names the offending file or folder."""
    store_dir = new_store_dir(definition, data_dir)
    if definition.data.generator is not None:
        source_dir = raw_dir(definition, data_dir)
        phantoms.write_raw(definition, source_dir, (TRAIN_FOLDER, VALIDATION_FOLDER), report)
    source_dir = find_raw(definition, source_dir or data_dir) or source_dir
    if source_dir is None:
        raise RawVolumeError(f"no {TRAIN_FOLDER} under {data_dir}. {how_to_get(definition)}")
    files = volume_files(_unpacked(definition, source_dir, data_dir, report), definition.data)
    parts: list[Path] = []
    num_parts: dict[str, int] = {}
    meta = {"source": str(source_dir), "num_parts": num_parts}
    with StoreWriter(store_dir, meta) as writer, ThreadPoolExecutor(max(1, num_workers)) as pool:
        for split, split_files in files.items():
            before, num_slices = len(parts), 0
            for first in range(0, len(split_files), VOLUMES_PER_PART):
                chosen = split_files[first : first + VOLUMES_PER_PART]
                write = functools.partial(_write_volumes, chosen, definition.data, pool)
                number = first // VOLUMES_PER_PART
                parts.append(write_part(store_dir, split, number, {"volumes": [path.name for path in chosen]}, write))
                report(f"{split}: {min(first + VOLUMES_PER_PART, len(split_files))} of {len(split_files)} volumes")
                num_slices += _num_slices(parts[-1])
            num_parts[str(split)] = len(parts) - before
            if num_slices != definition.splits[split]:
                raise RawVolumeError(
                    f"{source_dir}: split {split} should have {definition.splits[split]} slices, found {num_slices}"
                )
        adopt_parts(writer, store_dir, parts)


def _unpacked(definition: WorkloadDefinition, source_dir: Path, data_dir: Path, report: Report) -> Path:
    """`source_dir`, or where its archives are unpacked to if it has those instead of folders."""
    archives = {name: archive_of(source_dir, name) for name in (TRAIN_FOLDER, VALIDATION_FOLDER)}
    if not all(archives.values()) or any(_volume_folder(source_dir, name).is_dir() for name in archives):
        return source_dir
    unpacked = raw_dir(definition, data_dir) / UNPACKED
    for name, archive in archives.items():
        if archive is not None:
            unpack(archive, unpacked / name, report)
    return unpacked


def find_raw(definition: WorkloadDefinition, folder: Path) -> Path | None:
    """See `algoperf.data.source.PrepareModule`."""

    def holds(root: Path) -> bool:
        return _volume_folder(root, TRAIN_FOLDER).is_dir() or archive_of(root, TRAIN_FOLDER) is not None

    return first_folder(folder, ("fastmri",), holds)


def how_to_get(definition: WorkloadDefinition) -> str:
    if definition.data.generator is not None:
        return f"{definition.name} is generated: python -m algoperf.prepare {definition.name} --data_dir=DIR"
    return (
        "The knee single-coil data (knee_singlecoil_train.tar.xz and knee_singlecoil_val.tar.xz, about 90 GB) come "
        "from https://fastmri.med.nyu.edu after registration. With the links that come by e-mail: python -m "
        f"algoperf.prepare {definition.name} --download --accept_licenses --fastmri_knee_singlecoil_train_url=URL "
        "--fastmri_knee_singlecoil_val_url=URL --data_dir=DIR. Or put the archives, or the folders "
        f"{TRAIN_FOLDER}/*.h5 and {VALIDATION_FOLDER}/*.h5, into one directory and add --source_dir=THAT_DIRECTORY. "
        "Archives are unpacked below DIR (110 GB); the prepared copy takes 60 GB."
    )


def required_bytes(definition: WorkloadDefinition) -> int:
    """Disk space that preparation takes."""
    return 100_000_000 if definition.data.generator is not None else 60_000_000_000


def volume_files(source_dir: Path, data: FastMRIData) -> dict[Split, list[Path]]:
    """Returns the sorted HDF5 files of each split; raises RawVolumeError that names a missing or empty folder."""
    folders = {}
    for name in (TRAIN_FOLDER, VALIDATION_FOLDER):
        folder = _volume_folder(source_dir, name)
        if not folder.is_dir():
            raise RawVolumeError(f"no folder {name} under {source_dir}; extract {name}.tar.xz there")
        folders[name] = sorted(folder.glob("*.h5"))
        if not folders[name]:
            raise RawVolumeError(f"{folder} has no .h5 file; extract {name}.tar.xz there")
    twice = {path.name for path in folders[TRAIN_FOLDER]} & {path.name for path in folders[VALIDATION_FOLDER]}
    if twice and data.generator is None:  # generated volumes are numbered in each folder
        raise RawVolumeError(
            f"{min(twice)} is in {TRAIN_FOLDER} and in {VALIDATION_FOLDER} under {source_dir}; no volume may be in both"
        )
    held_out = folders[VALIDATION_FOLDER]
    if len(held_out) <= data.validation_volumes:
        raise RawVolumeError(
            f"{held_out[0].parent} should have over {data.validation_volumes} volumes, found {len(held_out)}"
        )
    return {
        Split.TRAIN: folders[TRAIN_FOLDER],
        Split.VALIDATION: held_out[: data.validation_volumes],
        Split.TEST: held_out[data.validation_volumes :],
    }


def _volume_folder(source_dir: Path, name: str) -> Path:
    """AlgoPerf's folder, or that of the same name to which the archive unpacks: without the leading `knee_`."""
    folder = source_dir / name
    return folder if folder.is_dir() else source_dir / name.removeprefix("knee_")


def read_volume(path: Path, data: FastMRIData) -> Volume:
    """Reads and half transforms one file; raises RawVolumeError that names the file and what is wrong with it."""
    try:
        with h5py.File(path, "r") as file:
            missing = [key for key in ("kspace", "reconstruction_esc") if not isinstance(file.get(key), h5py.Dataset)]
            if missing:
                raise RawVolumeError(f"{path} has no dataset {', '.join(missing)}; it has {', '.join(file) or 'none'}")
            kspace, targets = np.asarray(file["kspace"]), np.asarray(file["reconstruction_esc"])
            maximum = float(file.attrs.get("max", 0.0))
    except RawVolumeError:
        raise
    except Exception as error:  # HDF5 and h5py report damage by exceptions of many types
        reason = str(error).strip().partition("\n")[0] or repr(error)
        raise RawVolumeError(f"{path} is no readable HDF5 file ({reason}); extract it again") from error
    _check_volume(path, kspace, targets, maximum, data.image_size)
    return Volume(
        columns=half_transformed(kspace, data.image_size), targets=targets.astype(np.float32), maximum=maximum
    )


def _check_volume(path: Path, kspace: np.ndarray, targets: np.ndarray, maximum: float, size: int) -> None:
    if kspace.ndim != 3 or min(kspace.shape[1:]) < size or not np.iscomplexobj(kspace):
        raise RawVolumeError(
            f"{path}: kspace should be complex [slices, >= {size}, >= {size}], got {kspace.dtype} {kspace.shape}"
        )
    if targets.shape != (len(kspace), size, size) or targets.dtype.kind != "f":
        raise RawVolumeError(
            f"{path}: reconstruction_esc should have floats {(len(kspace), size, size)}, "
            f"got {targets.dtype} {targets.shape}"
        )
    for name, values in (("kspace", kspace), ("reconstruction_esc", targets), ("the attribute max", maximum)):
        if not np.isfinite(values).all():
            raise RawVolumeError(f"{path}: {name} is not finite everywhere; extract it again")


def _write_volumes(paths: list[Path], data: FastMRIData, pool: ThreadPoolExecutor, writer: StoreWriter) -> None:
    columns = targets = None
    starts, maxima = [0], []
    for volume in pool.map(functools.partial(read_volume, data=data), paths):
        if columns is None or targets is None:
            columns = writer.appender("columns", np.complex64, volume.columns.shape[2:])
            targets = writer.appender("targets", np.float32, volume.targets.shape[1:])
        num_slices, num_columns, size = volume.columns.shape
        columns.append(volume.columns.reshape(-1, size))
        targets.append(volume.targets)
        starts += [starts[-1] + num_columns * number for number in range(1, num_slices + 1)]
        maxima += [volume.maximum] * num_slices
    writer.add("first_column", np.array(starts, np.int64))
    writer.add("volume_max", np.array(maxima, np.float32))


def _num_slices(part: Path) -> int:
    return len(Store(part)["volume_max"])
