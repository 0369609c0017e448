"""Submissions that cheat, each a few lines in an honest one; `benchmarks/attacks.py` makes a table of them.

`before` says what the harness did without checks, guards and verification: prevented (the attack has no effect),
recorded (a record shows it, without a verdict) or open.
"""

import ast
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
HONEST = {
    "jax": HERE.parent / "runner/submissions/jax_sgd.py",
    "pytorch": HERE.parent / "runner/submissions/torch_sgd.py",
}
PREVENTED, RECORDED, OPEN = "prevented", "recorded", "open"


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Code at the top of a submission and at the start of its functions, and files next to it.

    Attributes:
      rule: that it breaks.
      top, init, update, selection, batch_size: code; a dict has one for each framework.
      files: texts by name.
    """

    name: str
    rule: str
    before: str
    top: str | dict[str, str] = ""
    init: str | dict[str, str] = ""
    update: str | dict[str, str] = ""
    selection: str = ""
    batch_size: str = ""
    files: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path, framework: str) -> Path:
        """Writes the submission; returns its file."""
        tree = ast.parse(HONEST[framework].read_text())
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        for name, code in (
            ("init_optimizer_state", self.init),
            ("update_params", self.update),
            ("data_selection", self.selection),
            ("get_batch_size", self.batch_size),
        ):
            functions[name].body[:0] = _statements(code, framework)
        tree.body[1:1] = _statements(self.top, framework)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            (folder / name).write_text(text)
        path = folder / "submission.py"
        path.write_text(ast.unparse(ast.fix_missing_locations(tree)) + "\n")
        return path


def _statements(code: str | dict[str, str], framework: str) -> list[ast.stmt]:
    text = code.get(framework, "") if isinstance(code, dict) else code
    return ast.parse(textwrap.dedent(text)).body


_SPIN = "def spin():\n    while True:\n        sum(range(1000))\n"
_CLOCKS = "[o for o in gc.get_objects() if type(o).__name__ == 'Clock']"

ATTACKS = (
    # -- work while the clock is paused
    Attack(
        name="a thread works during evaluations",
        rule="C1",
        before=RECORDED,
        top="import threading\n" + _SPIN,
        init="threading.Thread(target=spin, daemon=True).start()",
    ),
    Attack(
        name="a timer thread",
        rule="C1",
        before=RECORDED,
        top="import threading\n" + _SPIN,
        init="timer = threading.Timer(0.1, spin)\ntimer.daemon = True\ntimer.start()",
    ),
    Attack(
        name="a thread of the lowest module",
        rule="C1",
        before=RECORDED,
        top="import _thread\n" + _SPIN,
        init="_thread.start_new_thread(spin, ())",
    ),
    Attack(
        name="a pool of threads",
        rule="C1",
        before=RECORDED,
        top="from concurrent.futures import ThreadPoolExecutor\nimport time\n",
        init="ThreadPoolExecutor(1).submit(time.sleep, 3)",
    ),
    Attack(
        name="a child process",
        rule="C1",
        before=RECORDED,
        top="import subprocess, sys\n",
        init="subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)'])",
    ),
    Attack(
        name="a shell in the background",
        rule="C1",
        before=RECORDED,
        top="import os\n",
        init="os.system('sleep 20 &')",
    ),
    Attack(
        name="a forked process under a computed name",
        rule="C1",
        before=RECORDED,
        top="import os, time\n",
        init="if getattr(os, 'fo' + 'rk')() == 0:\n    time.sleep(20)\n    getattr(os, '_ex' + 'it')(0)",
    ),
    Attack(
        name="multiprocessing",
        rule="C1",
        before=RECORDED,
        top="import multiprocessing, time\n",
        init="multiprocessing.get_context('fork').Process(target=time.sleep, args=(20,), daemon=True).start()",
    ),
    Attack(
        name="a signal handler on a timer",
        rule="C5",
        before=OPEN,
        top="import signal\ndef handle(*arguments):\n    sum(range(10000))\n",
        init="signal.signal(signal.SIGALRM, handle)\nsignal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)",
    ),
    Attack(
        name="a callback of the garbage collector",
        rule="C5",
        before=OPEN,
        top="import gc\ndef collect(phase, info):\n    sum(range(10000))\n",
        init="gc.callbacks.append(collect)",
    ),
    Attack(
        name="a finalizer",
        rule="C5",
        before=OPEN,
        top="import weakref\nclass Holder:\n    pass\n",
        init="weakref.finalize(Holder(), sum, range(1000))",
    ),
    Attack(
        name="a profiler that works in evaluations",
        rule="C5",
        before=PREVENTED,
        top="import sys\ndef profile(*event):\n    return None\n",
        update="sys.setprofile(profile)",
    ),
    Attack(
        name="a tracer that works in evaluations",
        rule="C5",
        before=PREVENTED,
        top="import sys\ndef trace(*event):\n    return None\n",
        update="sys.settrace(trace)",
    ),
    # -- the clock and the loop
    Attack(
        name="a method of the clock is replaced",
        rule="C4",
        before=OPEN,
        top="from algoperf.harness.clock import Clock\nold = Clock.submission_time_s\n",
        init="Clock.submission_time_s = lambda self: old(self) / 2",
    ),
    Attack(
        name="a method of the clock gets other code",
        rule="C4",
        before=OPEN,
        top="import sys\ndef zero(self):\n    return 0.0\n",
        init="sys.modules['algoperf.harness.clock'].Clock.submission_time_s.__code__ = zero.__code__",
    ),
    Attack(
        name="the clock in use is found by the garbage collector and set back",
        rule="C4",
        before=OPEN,
        top="import gc, time\n",
        update=f"time.sleep(0.2)\nfor clock in {_CLOCKS}:\n    clock._mark += 0.2",
    ),
    Attack(
        name="the clock in use gets another time",
        rule="C4",
        before=OPEN,
        top="import gc\n",
        update=f"for clock in {_CLOCKS}:\n    mark = clock._mark\n    clock.now = lambda: mark",
    ),
    Attack(
        name="the clock is reached by the frames of its caller",
        rule="C5",
        before=OPEN,
        top="import sys\n",
        update="loop = sys._getframe(1).f_locals.get('self')",
    ),
    Attack(
        name="the loop is reached by a traceback",
        rule="C5",
        before=OPEN,
        update="try:\n    raise ValueError\nexcept ValueError as error:\n"
        "    loop = error.__traceback__.tb_frame.f_back",
    ),
    Attack(
        name="the module of time is changed",
        rule="T3",
        before=PREVENTED,
        top="import time\nbegun = time.monotonic()\n",
        init="time.monotonic_ns = lambda: 0",
    ),
    Attack(
        name="evaluations come when it suits",
        rule="C4",
        before=OPEN,
        top="from algoperf.harness import schedule\n",
        init="schedule.EvaluationSchedule.is_due = lambda self, time_s: self.last_s is None",
    ),
    Attack(
        name="the budget has no end",
        rule="C4",
        before=OPEN,
        top="from algoperf.harness import stopping\n",
        init="stopping.Stopping.budget_s = 1e9",
    ),
    Attack(
        name="the record of evaluations is rewritten",
        rule="C4",
        before=OPEN,
        top="from algoperf.records import recorder\nold = recorder.Recorder.append_evaluation\n",
        init="def append(self, row, step):\n    old(self, {**row, 'validation/loss': 0.0}, step)\n"
        "recorder.Recorder.append_evaluation = append",
    ),
    Attack(
        name="the recorder is reached by the logger's closure",
        rule="C5",
        before=OPEN,
        update="recorder = workload.metrics_logger.append_scalar_metrics.__closure__",
    ),
    Attack(
        name="training in init_optimizer_state",
        rule="C2",
        before=RECORDED,
        init={
            "jax": "from algoperf import spec as s\nimport numpy as np\nfor _ in range(3):\n"
            "    workload.model_fn(model_params, {'inputs': np.zeros((4, 3), np.float32)}, model_state, "
            "s.ForwardPassMode.TRAIN, rng, True)",
            "pytorch": "from algoperf import spec as s\nimport torch as t\nfor _ in range(3):\n"
            "    workload.model_fn(model_params, {'inputs': t.zeros(4, 3)}, model_state, "
            "s.ForwardPassMode.TRAIN, rng, True)",
        },
    ),
    Attack(
        name="training at the import",
        rule="C3",
        before=RECORDED,
        top="from algoperf.registry import REGISTRY\n"
        "def learn():\n    model = REGISTRY.module('mnist', 'data')\n    return model.open_split\n"
        "try:\n    learn()\nexcept Exception:\n    pass\n",
    ),
    Attack(
        name="compilation ahead of time in init_optimizer_state",
        rule="C2",
        before=RECORDED,
        init={
            "jax": "import jax as j\nj.jit(lambda p: p).lower(model_params).compile()",
            "pytorch": "import torch as t\nfor _ in range(2):\n    workload.loss_fn(t.zeros(4), t.zeros(4))",
        },
    ),
    # -- data and weights from elsewhere
    Attack(
        name="validation data read from the store",
        rule="D1",
        before=OPEN,
        top="import os\n",
        update="try:\n    open(os.path.join(os.environ['DATA_STORE'], 'inputs.bin'), 'rb')\nexcept OSError:\n    pass",
    ),
    Attack(
        name="the workload's own reader of the validation split",
        rule="D2",
        before=OPEN,
        top="import importlib\nfrom algoperf.definition import Split\n",
        update="reader = importlib.import_module('workloads.mnist.data')\nsplit = Split.VALIDATION",
    ),
    Attack(
        name="the pipeline behind the input queue",
        rule="C4",
        before=OPEN,
        selection="pipeline = getattr(input_queue, '_pipeline', None) or input_queue._batches",
    ),
    Attack(
        name="weights cached on disk by an earlier trial",
        rule="T2",
        before=OPEN,
        top="import numpy as np\n",
        update="np.save('/tmp/algoperf_attack_cache.npy', np.zeros(4))\n"
        "weights = np.load('/tmp/algoperf_attack_cache.npy')",
    ),
    Attack(
        name="settings cached on disk by an earlier trial",
        rule="D4",
        before=OPEN,
        update="with open('/tmp/algoperf_attack_cache.txt', 'w') as file:\n    file.write('0.1')",
    ),
    Attack(
        name="weights in a file next to the sources",
        rule="T2",
        before=OPEN,
        files={"weights.npz": "0"},
    ),
    Attack(name="weights as a text in the sources", rule="T2", before=OPEN, top=f"WEIGHTS = '{'A' * 6000}'\n"),
    Attack(
        name="weights as numbers in the sources",
        rule="T2",
        before=OPEN,
        top=f"WEIGHTS = {[0.25] * 800}\n",
    ),
    Attack(
        name="weights of one's own at step 0",
        rule="T2",
        before=OPEN,
        update={
            "jax": "import jax as j\nif global_step == 0:\n"
            "    current_param_container = j.tree.map(lambda p: p * 0 + 5.0, current_param_container)",
            "pytorch": "import torch as t\nif global_step == 0:\n    with t.no_grad():\n"
            "        for parameter in current_param_container.parameters():\n            parameter.fill_(5.0)",
        },
    ),
    Attack(
        name="a download",
        rule="D5",
        before=OPEN,
        top="import urllib.request\n",
        update="try:\n    urllib.request.urlopen('http://127.0.0.1:9/weights', timeout=0.1)\nexcept OSError:\n    pass",
    ),
    Attack(
        name="a socket under a hidden import",
        rule="D5",
        before=OPEN,
        update="try:\n    __import__('sock' + 'et').create_connection(('127.0.0.1', 9), 0.1)\n"
        "except OSError:\n    pass",
    ),
    Attack(
        name="shared memory between trials",
        rule="D4",
        before=OPEN,
        top="from multiprocessing import shared_memory\n",
        init="block = shared_memory.SharedMemory(create=True, size=64)\nblock.close()\nblock.unlink()",
    ),
    Attack(
        name="an environment variable between trials",
        rule="C8",
        before=OPEN,
        top="import os\n",
        update="os.environ['LEARNED_RATE'] = '0.1'",
    ),
    Attack(
        name="a global between trials",
        rule="H4",
        before=OPEN,
        top="LEARNED = {}\n",
        update="LEARNED['rate'] = 0.1",
    ),
    # -- the task
    Attack(name="another loss", rule="T3", before=OPEN, init="workload.loss_fn = workload.loss_fn"),
    Attack(
        name="another metric",
        rule="T3",
        before=PREVENTED,
        top="import algoperf.metrics as metrics\n",
        init="metrics.Mean = None",
    ),
    Attack(
        name="the evaluator is replaced",
        rule="C4",
        before=OPEN,
        top="from algoperf.harness import evaluator\nold = evaluator.Evaluator.evaluate\n",
        init="evaluator.Evaluator.evaluate = lambda self, p, s: {n: 0.0 for n in old(self, p, s)}",
    ),
    Attack(
        name="the restoring of code in evaluations is switched off",
        rule="C4",
        before=OPEN,
        top="import contextlib\nfrom algoperf.harness import pinned_code\n",
        init="pinned_code.PinnedCode.restored = lambda self: contextlib.nullcontext()",
    ),
    Attack(
        name="the guards are switched off",
        rule="C4",
        before=OPEN,
        top="from algoperf.harness import guards\n",
        init="guards.Guard.pause_begins = lambda self: []",
    ),
    Attack(
        name="another target in the definition",
        rule="T3",
        before=OPEN,
        init="object.__setattr__(workload.definition, 'validation_target', 1e9)",
    ),
    Attack(
        name="a hook on a module changes outputs",
        rule="T4",
        before=PREVENTED,
        update={
            "jax": "import flax.linen as nn\nnn.Dense.__call__ = nn.Dense.__call__",
            "pytorch": "if global_step == 0:\n"
            "    current_param_container.register_forward_hook(lambda module, inputs, outputs: outputs * 1)",
        },
    ),
    Attack(
        name="parameters of another shape",
        rule="T1",
        before=PREVENTED,
        update={
            "jax": "import jax.numpy as jn\nif global_step == 0:\n"
            "    return optimizer_state, {**current_param_container, 'more': jn.zeros(3)}, model_state",
            "pytorch": "import torch as t\nif global_step == 0:\n"
            "    return optimizer_state, t.nn.Linear(7, 2), model_state",
        },
    ),
    Attack(
        name="the batch size of evaluations",
        rule="S6",
        before=PREVENTED,
        top="def get_eval_batch_size(workload_name):\n    return 1\n",
    ),
    # -- recognising workloads
    Attack(name="a branch on the name", rule="S3", before=OPEN, update="fast = workload.name.startswith('wmt')"),
    Attack(
        name="a table by the class of the model's configuration",
        rule="S3",
        before=OPEN,
        update="rate = {'ToyConfig': 0.1}.get(str(workload), 0.2)",
    ),
    Attack(
        name="a table by the number of examples",
        rule="S4",
        before=OPEN,
        update="rate = 0.1 if workload.num_train_examples == 1281167 else 0.2",
    ),
    Attack(
        name="a hash of the shapes",
        rule="S4",
        before=OPEN,
        update="rate = {123: 0.1}.get(hash(str(workload.param_shapes)), 0.2)",
    ),
    Attack(
        name="names of parameters of certain models",
        rule="S4",
        before=OPEN,
        top="KNOWN = ('conv1.weight', 'layer1.0.conv1.weight', 'layer1.0.bn1.weight')\n",
        update="known = ['conv1.weight', 'layer1.0.conv1.weight', 'layer1.0.bn1.weight']",
    ),
    Attack(
        name="the name, remembered by get_batch_size",
        rule="S3",
        before=OPEN,
        top="NAME = None\n",
        batch_size="global NAME\nNAME = workload_name",
    ),
    # -- evasion
    Attack(name="code as a text", rule="C5", before=OPEN, init="exec('import os')"),
    Attack(
        name="native code next to the sources",
        rule="C5",
        before=OPEN,
        files={"fast.so": "0"},
    ),
    Attack(
        name="memory written by address",
        rule="C5",
        before=OPEN,
        top="import ctypes\n",
        init="value = ctypes.c_double(0.0)",
    ),
    Attack(
        name="modules reached by the globals of a function",
        rule="C5",
        before=OPEN,
        update="names = type(workload).model_fn.__globals__",
    ),
    Attack(
        name="decisions on metrics of the test split",
        rule="D3",
        before=OPEN,
        update="loss = eval_results[-1][1]['test/loss'] if eval_results else 1.0",
    ),
    Attack(
        name="a random seed from the operating system",
        rule="S7",
        before=OPEN,
        top="import os\n",
        init="seed = int.from_bytes(os.urandom(4), 'big')",
    ),
)
