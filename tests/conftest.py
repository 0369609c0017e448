"""What tests and the processes that they start inherit: JAX compiles fast and once for all, signals are not ignored."""

import gc
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Tests run each program a few times, so that compiling takes most of their time.
_COMPILE_FAST = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_parallel_codegen_split_count=1",  # programs are small, and other workers compile as well
)
_COMPILE_FAST_BEFORE_0_11 = "--xla_cpu_use_fusion_emitters=false"
_CACHE_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_CACHE_OPTIONS = {
    "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**31),  # bytes; with a limit JAX locks the folder, without it does not
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
}


_DATA_OF_A_PERSON = Path.home() / "data"


def _refuse_data_of_a_person(event: str, arguments: tuple[Any, ...]) -> None:
    """Prepared data are a person's: a test that leaves `data_dir` at its default would add to them."""
    if event == "os.mkdir" and Path(os.fsdecode(arguments[0])).is_relative_to(_DATA_OF_A_PERSON):
        raise AssertionError(f"a test writes {os.fsdecode(arguments[0])}; give it a data_dir of its own")


def _fast_compilation() -> str:
    """Flags that the installed XLA knows; one that it does not ends a process at once, unseen where pytest captures."""
    if not importlib.util.find_spec("jaxlib"):
        return ""
    major, minor = map(int, importlib.metadata.version("jaxlib").split(".")[:2])
    return " ".join([*_COMPILE_FAST, *([_COMPILE_FAST_BEFORE_0_11] if (major, minor) < (0, 11) else [])])


def pytest_configure(config: pytest.Config) -> None:
    """Sets what workers and other child processes inherit; variables that are set already stay as they are."""
    if not Path(tempfile.gettempdir()).is_relative_to(_DATA_OF_A_PERSON):
        sys.addaudithook(_refuse_data_of_a_person)
    os.environ.setdefault("XLA_FLAGS", _fast_compilation())
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one worker for each core
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So a shell starts its background jobs, and so what tests start and interrupt would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # How long an example takes says nothing on a machine that does other work as well.
    hypothesis.settings.register_profile("no deadline", deadline=None)
    hypothesis.settings.load_profile("no deadline")
    # A process was killed while it wrote: JAX compiles again.
    config.addinivalue_line("filterwarnings", "ignore:Error reading persistent compilation cache entry")
    if _CACHE_FOLDER in os.environ or not importlib.util.find_spec("filelock"):
        return
    folder = tempfile.mkdtemp(prefix="algoperf_tests_")
    os.environ.update({_CACHE_FOLDER: folder, **_CACHE_OPTIONS})
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_finish() -> None:
    """What the frameworks made when they were imported stays; to look through it at each collection takes seconds."""
    gc.freeze()
