"""The archives of fastMRI, unpacked by the program: their volumes are read in the order of their names."""

import lzma
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from algoperf.data.store import StoreError
from algoperf.reporting import Report

_REPORT_PERIOD = 50


def archive_of(folder: Path, name: str) -> Path | None:
    """`<name>.tar.xz`, or the same in another compression, in `folder`; None: it is not there."""
    paths = (folder / f"{name}.tar{suffix}" for suffix in (".xz", "", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def unpack(archive: Path, folder: Path, report: Report) -> None:
    """Writes the HDF5 files of an archive into `folder`, whatever folder they are in there.

    A file that an interrupted call has written is not written again; unfinished ones have another name.

    Raises:
      StoreError: the archive is damaged, or has no HDF5 file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with tarfile.open(archive, "r|*") as file:
            for member in file:
                if not member.isfile() or not member.name.endswith(".h5"):
                    continue
                _write(file, member, folder / PurePosixPath(member.name).name)
                count += 1
                if count % _REPORT_PERIOD == 0:
                    report(f"{archive.name}: {count} volumes unpacked")
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error) as error:
        reason = str(error).partition("\n")[0]
        raise StoreError(f"{archive} cannot be read to its end ({reason}); download it again") from error
    if not count:
        raise StoreError(f"{archive} has no .h5 file; it is another archive")
    report(f"{archive.name}: {count} volumes unpacked into {folder}")


def _write(file: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = file.extractfile(member)
    if source is None or (path.is_file() and path.stat().st_size == member.size):
        return
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as target:
        shutil.copyfileobj(source, target)
    if partial.stat().st_size != member.size:
        raise EOFError(f"it ends within {member.name}")
    partial.rename(path)
