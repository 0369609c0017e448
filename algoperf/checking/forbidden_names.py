"""Names that a submission has no honest use for, by the check that looks for them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from algoperf.checking.findings import RuleFinding
from algoperf.checking.source import SourceFile, line_of
from algoperf.rules import Level


@dataclass(frozen=True, kw_only=True)
class ForbiddenNames:
    """Full dotted names; each stands for itself and all below it.

    Attributes:
      check: name of the check, without its stage.
      names: dotted names, imports resolved.
      methods: names of attributes on whatever object.
      advice: what to do instead.
      level: where it is lower than that of the rule.
    """

    check: str
    advice: str
    names: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    level: Level | None = None


_OUTSIDE = "leave it out: what a submission needs reaches it through its arguments"
_READS_NOTHING = "take batches from input_queue, and put settings into a JSON file next to the submission"
TABLE: tuple[ForbiddenNames, ...] = (
    ForbiddenNames(
        check="threads",
        names=(
            "threading.Thread",
            "threading.Timer",
            "_thread",
            "concurrent.futures",
            "multiprocessing.pool",
            "multiprocessing.dummy",
            "asyncio",
            "joblib",
            "dask",
            "ray",
            "sched",
            "torch.utils.data.DataLoader",
        ),
        advice="do the work in update_params or data_selection, on the clock",
    ),
    ForbiddenNames(
        check="threads",
        names=("jax.pure_callback", "jax.experimental.io_callback", "jax.debug.callback", "threading.local"),
        advice="see that nothing of it runs while the clock is paused",
        level=Level.WARNING,
    ),
    ForbiddenNames(
        check="subprocesses",
        names=(
            "subprocess",
            "multiprocessing",
            "torch.multiprocessing",
            "pty",
            "os.system",
            "os.popen",
            "os.fork",
            "os.forkpty",
            "os.execv",
            "os.execve",
            "os.execvp",
            "os.execl",
            "os.spawnl",
            "os.spawnv",
            "os.spawnve",
            "os.posix_spawn",
            "os.posix_spawnp",
        ),
        advice="do the work in update_params, on the clock",
    ),
    ForbiddenNames(
        check="network",
        names=(
            "socket",
            "socketserver",
            "http",
            "urllib",
            "urllib3",
            "requests",
            "httpx",
            "aiohttp",
            "websockets",
            "ftplib",
            "smtplib",
            "imaplib",
            "telnetlib",
            "xmlrpc",
            "ssl",
            "paramiko",
            "grpc",
            "zmq",
            "boto3",
            "google.cloud",
            "huggingface_hub",
            "transformers",
            "timm",
            "torch.hub",
            "torch.distributed.rpc",
            "wandb",
            "gdown",
        ),
        advice="bring everything in the sources",
    ),
    ForbiddenNames(
        check="stored_arrays",
        names=(
            "numpy.load",
            "numpy.loadtxt",
            "numpy.genfromtxt",
            "numpy.fromfile",
            "numpy.frombuffer",
            "numpy.memmap",
            "jax.numpy.load",
            "torch.load",
            "torch.from_file",
            "torch.frombuffer",
            "torch.jit.load",
            "pickle.load",
            "pickle.loads",
            "marshal",
            "joblib.load",
            "h5py",
            "safetensors",
            "orbax",
            "flax.serialization.from_bytes",
            "flax.serialization.msgpack_restore",
            "flax.training.checkpoints",
            "base64",
            "binascii",
            "zlib",
            "lzma",
            "bz2",
            "gzip",
        ),
        advice="start from the weights that init_optimizer_state is given",
    ),
    ForbiddenNames(
        check="data_access",
        names=(
            "algoperf.data",
            "algoperf.prepare",
            "workloads",
            "tensorflow_datasets",
            "tensorflow.data",
            "datasets",
            "torchvision.datasets",
            "torchaudio.datasets",
            "array_record",
            "grain",
        ),
        methods=("open_split", "_build_input_queue", "build_input_queue", "_build_dataset"),
        advice="take batches from input_queue",
    ),
    ForbiddenNames(
        check="held_out_access",
        names=tuple(
            f"{module}.Split{split}"
            for module in ("algoperf.spec", "algoperf.definition")
            for split in (".VALIDATION", ".TEST", ".EVAL_TRAIN")
        ),
        methods=("_eval_model_on_split", "eval_model"),
        advice="what a submission may know of the evaluations is in eval_results",
    ),
    ForbiddenNames(
        check="files",
        names=(
            "shutil",
            "tempfile",
            "sqlite3",
            "shelve",
            "dbm",
            "mmap",
            "multiprocessing.shared_memory",
            "os.open",
            "os.write",
            "os.remove",
            "os.unlink",
            "os.rename",
            "os.mkdir",
            "os.makedirs",
            "os.listdir",
            "os.walk",
            "os.scandir",
            "os.memfd_create",
            "glob",
            "numpy.save",
            "numpy.savez",
            "numpy.savetxt",
            "jax.numpy.save",
            "torch.save",
            "pickle.dump",
            "torch.UntypedStorage.from_file",
        ),
        methods=("write_text", "write_bytes", "tofile", "touch", "symlink_to", "hardlink_to"),
        advice=_READS_NOTHING,
    ),
    ForbiddenNames(
        check="files",
        methods=("read_text", "read_bytes", "iterdir", "rglob"),
        advice="see that it reads settings next to the submission, and nothing else",
        level=Level.WARNING,
    ),
    ForbiddenNames(
        check="internals",
        names=(
            "algoperf.harness",
            "algoperf.runner",
            "algoperf.records",
            "algoperf.submissions",
            "algoperf.backends",
            "algoperf.metrics",
            "algoperf.background",
            "algoperf.ownership",
            "algoperf.testing",
            "algoperf.comparison",
            "algoperf.checking",
            "algoperf.verification",
            "scoring",
            "submission_runner",
        ),
        advice="import algoperf.spec, and the helpers of the submission guide",
    ),
    ForbiddenNames(
        check="interpreter",
        names=(
            "gc.get_objects",
            "gc.get_referrers",
            "gc.get_referents",
            "gc.callbacks",
            "sys._getframe",
            "sys._current_frames",
            "sys.modules",
            "sys.settrace",
            "sys.setprofile",
            "sys.monitoring",
            "sys.addaudithook",
            "sys.meta_path",
            "sys.path_hooks",
            "sys.setswitchinterval",
            "sys.excepthook",
            "threading.settrace",
            "threading.setprofile",
            "threading.enumerate",
            "inspect.currentframe",
            "inspect.stack",
            "inspect.getouterframes",
            "signal",
            "atexit",
            "weakref.finalize",
            "ctypes",
            "cffi",
            "importlib",
            "builtins",
            "types.CodeType",
            "types.FunctionType",
            "code",
            "codeop",
            "runpy",
            "pdb",
            "psutil",
            "os._exit",
            "os.kill",
            "os.sched_setaffinity",
            "os.nice",
            "torch.utils.cpp_extension",
            "torch.cuda.set_sync_debug_mode",
            "time.monotonic_ns.__self__",
        ),
        methods=(
            "__globals__",
            "__closure__",
            "__code__",
            "__builtins__",
            "__subclasses__",
            "cell_contents",
            "f_back",
            "f_locals",
            "f_globals",
            "gi_frame",
            "tb_frame",
        ),
        advice=_OUTSIDE,
    ),
    ForbiddenNames(
        check="randomness",
        names=(
            "os.urandom",
            "os.getrandom",
            "secrets",
            "random.SystemRandom",
            "torch.seed",
            "torch.random.seed",
            "uuid",
        ),
        advice="draw from rng, or from the generators that the benchmark seeds",
    ),
    ForbiddenNames(
        check="environment",
        names=(
            "os.putenv",
            "os.unsetenv",
            "torch.set_float32_matmul_precision",
            "torch.set_default_dtype",
            "torch.set_num_threads",
            "torch.use_deterministic_algorithms",
            "jax.config.update",
            "jax.default_matmul_precision",
        ),
        advice="settings of the machine and the framework are those of the edition",
    ),
)


def forbidden_names(source: SourceFile) -> Iterator[RuleFinding]:
    """A finding for the first use of each name of the table."""
    seen: set[tuple[str, str]] = set()
    for node, entry, name in sorted(_uses(source), key=lambda use: line_of(use[0])):
        if (entry.check, name) not in seen:
            seen.add((entry.check, name))
            yield RuleFinding.of(
                f"static.{entry.check}",
                f"it uses {name}",
                entry.advice,
                file=source.label,
                line=line_of(node),
                level=entry.level,
            )


def _uses(source: SourceFile) -> Iterator[tuple[ast.AST, ForbiddenNames, str]]:
    for node, name in source.references():
        for entry in TABLE:
            match = next((f for f in entry.names if name == f or name.startswith(f"{f}.")), None)
            if match is not None:
                yield node, entry, match
    for node, attribute in source.attributes():
        for entry in TABLE:
            if attribute in entry.methods:
                yield node, entry, f".{attribute}"
