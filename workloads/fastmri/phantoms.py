"""Generator of the mini's raw volumes: knee-like phantoms seen by one coil, written as fastMRI writes them.

A volume is a stack of slices through nested soft ellipsoids (limb, bones, small lesions) with tissue texture and thin
bright sheets, times a smooth coil sensitivity and a smooth phase. Its k-space is the Fourier transform plus complex
noise; `reconstruction_esc` is the magnitude of the noisy fully sampled image, cropped.
"""

import functools
from pathlib import Path

import h5py
import numpy as np

from algoperf.definition import WorkloadDefinition
from algoperf.ownership import generate_once
from algoperf.reporting import Report
from workloads.fastmri.definition import FastMRIData

ROWS_PER_PIXEL = 4 / 3  # the scanner oversamples along rows
_SMALL_PARTS = 8
_INTENSITY_RANGE = (2e-5, 2e-4)  # of the brightest tissue; fastMRI's raw data are of this order


def write_raw(definition: WorkloadDefinition, folder: Path, names: tuple[str, str], report: Report) -> None:
    """Writes training volumes to `folder / names[0]`, and validation and test volumes to `folder / names[1]`.

    Does nothing where they are complete.

    Raises:
      ForeignFilesError: `folder` holds other files.
    """
    identity = f"{definition.data} {definition.splits}"
    generate_once(folder, identity, functools.partial(_write_all, definition, folder, names, report))


def _write_all(definition: WorkloadDefinition, folder: Path, names: tuple[str, str], report: Report) -> None:
    data = definition.data
    sizes, per_volume = definition.splits, data.generator.slices_per_volume
    slices_of = dict(zip(names, (sizes.train, sizes.validation + sizes.get("test")), strict=True))
    for stream, (name, slices) in enumerate(slices_of.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(slices // per_volume):
            rng = np.random.default_rng([data.generator.seed, stream, number])
            _write_volume(folder / name / f"file{1000000 + number}.h5", *simulate(rng, data))
    report(f"generated {sum(slices_of.values()) // per_volume} volumes")


def _write_volume(path: Path, kspace: np.ndarray, reconstruction: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        file["reconstruction_esc"] = reconstruction
        file.attrs["max"] = float(reconstruction.max())


def simulate(rng: np.random.Generator, data: FastMRIData) -> tuple[np.ndarray, np.ndarray]:
    """Returns kspace complex64 [slices, rows, columns] and its reconstruction float32 [slices, size, size]."""
    settings, size = data.generator, data.image_size
    if settings is None:
        raise ValueError("this workload has no settings of a generator")
    rows, columns = int(size * ROWS_PER_PIXEL), int(rng.choice(settings.widths))
    depth = np.linspace(-0.75, 0.75, settings.slices_per_volume, dtype=np.float32)[:, None, None]
    y = ((np.arange(rows, dtype=np.float32) - rows / 2) / (size / 2))[None, :, None]
    x = ((np.arange(columns, dtype=np.float32) - columns / 2) / (size / 2))[None, None, :]
    image = _anatomy(rng, depth, y, x) * _coil(rng, depth, y, x)
    image = image * np.exp(1j * _smooth(rng, depth, y, x, amplitude=1.5, frequency=1.2))
    brightest = rng.uniform(*_INTENSITY_RANGE)
    shape = image.shape
    noise = rng.standard_normal(shape, np.float32) + 1j * rng.standard_normal(shape, np.float32)
    measured = (image + settings.noise * noise) * brightest
    shifted = np.fft.ifftshift(measured, axes=(1, 2))
    kspace = np.fft.fftshift(np.fft.fft2(shifted, axes=(1, 2), norm="ortho"), axes=(1, 2)).astype(np.complex64)
    top, left = (rows - size) // 2, (columns - size) // 2
    return kspace, np.abs(measured[:, top : top + size, left : left + size]).astype(np.float32)


def _anatomy(rng: np.random.Generator, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    limb = _ellipsoid(rng, z, y, x, centre=0.06, radius=(0.75, 0.9), depth=2.5)
    tissue = 0.55 + _smooth(rng, z, y, x, amplitude=0.12, frequency=9.0) + _fibres(rng, z, y, x)
    image = limb * tissue
    for offset in (-0.45, 0.42):
        bone = _ellipsoid(rng, z, y, x, centre=0.1, radius=(0.28, 0.42), depth=1.4, shift=offset)
        marrow = rng.uniform(0.2, 0.9) + _smooth(rng, z, y, x, amplitude=0.08, frequency=14.0)
        # Cortical bone gives no signal: a dark rim around the marrow.
        image = image * (1 - _rim(bone)) * (1 - bone) + marrow * bone * (1 - _rim(bone))
    for _ in range(_SMALL_PARTS):
        part = _ellipsoid(rng, z, y, x, centre=0.55, radius=(0.03, 0.14), depth=0.8)
        image = image * (1 - part) + rng.uniform(0.0, 1.0) * part * limb
    clipped: np.ndarray = np.clip(image, 0, 1)
    return clipped


def _ellipsoid(
    rng: np.random.Generator,
    z: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    *,
    centre: float,
    radius: tuple[float, float],
    depth: float,
    shift: float = 0.0,
) -> np.ndarray:
    """Soft indicator of an ellipsoid whose axes lie obliquely."""
    cy, cx, cz = rng.uniform(-centre, centre, 3)
    ry, rx = rng.uniform(*radius, 2)
    angle, tilt = rng.uniform(0, np.pi), rng.uniform(-0.15, 0.15)
    dy, dx = y - cy - shift - tilt * z, x - cx + tilt * z
    u = (dx * np.cos(angle) + dy * np.sin(angle)) / rx
    v = (dy * np.cos(angle) - dx * np.sin(angle)) / ry
    distance = np.sqrt(u * u + v * v + ((z - cz * 0.5) / depth) ** 2)
    inside: np.ndarray = np.clip(0.5 + (1 - distance) * min(rx, ry) * 24, 0, 1).astype(np.float32)
    return inside


def _rim(inside: np.ndarray) -> np.ndarray:
    rim: np.ndarray = 4 * inside * (1 - inside)
    return rim


def _fibres(rng: np.random.Generator, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Thin bright sheets at a random angle."""
    angle, frequency = rng.uniform(0, np.pi), rng.uniform(3, 6)
    phase = frequency * np.pi * (x * np.cos(angle) + y * np.sin(angle) + 0.2 * z)
    phase = phase + _smooth(rng, z, y, x, amplitude=1.5, frequency=2.0)
    stripes: np.ndarray = (0.4 * np.clip(np.sin(phase) - 0.75, 0, None) * 4).astype(np.float32)
    return stripes


def _coil(rng: np.random.Generator, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Sensitivity that falls off from a point near the limb's surface."""
    angle = rng.uniform(0, 2 * np.pi)
    distance = np.hypot(y - 0.7 * np.sin(angle), x - 0.7 * np.cos(angle)) + 0 * z
    falloff: np.ndarray = (1 / (1 + 0.35 * distance**2)).astype(np.float32)
    return falloff


def _smooth(
    rng: np.random.Generator, z: np.ndarray, y: np.ndarray, x: np.ndarray, *, amplitude: float, frequency: float
) -> np.ndarray:
    """Sum of four random plane waves of at most `frequency` (in periods over the half image)."""
    field = np.zeros(np.broadcast_shapes(z.shape, y.shape, x.shape), np.float32)
    for _ in range(4):
        fz, fy, fx = rng.uniform(-1, 1, 3) * (0.5, frequency, frequency)
        field += np.sin(np.pi * (fz * z + fy * y + fx * x) + rng.uniform(0, 2 * np.pi))
    return field * (amplitude / 2)
