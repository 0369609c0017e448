"""Evaluates the train subset, validation and test: every example once, metrics merged over ranks."""

import contextlib
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from algoperf import spec
from algoperf.backends.base import Backend
from algoperf.data.pipeline import EvalPipeline
from algoperf.definition import EVAL_SPLITS, Split, WorkloadDefinition
from algoperf.harness.pinned_code import PinnedCode
from algoperf.harness.rank_times import RankTimes, share
from algoperf.records.columns import metric_column, num_examples_column, split_name


class EvaluationObserver(Protocol):
    """Is told how far an evaluation is: name of the split, and its examples so far and in all."""

    def __call__(self, what: str, num_done: int, num_examples: int) -> None: ...


class Evaluator:
    """Opens each split once and evaluates all of them on demand.

    Args:
      definition: workload whose splits are evaluated.
      data_module, metrics_module: the workload's `data.py` and `metrics.py`.
      data_dirs: data directory of each split (the test split of ImageNet may lie elsewhere).
      backend: runs the model.
      workload: of the evaluation alone; no submission gets it.
      code: what is in force during an evaluation; None is what is there then.
      rank_times: is told how long each rank takes; None tells nobody.
      observe: called at the start of each split and after every batch; None calls nobody.
    """

    def __init__(
        self,
        *,
        definition: WorkloadDefinition,
        data_module: ModuleType,
        metrics_module: ModuleType,
        data_dirs: dict[Split, Path],
        backend: Backend,
        workload: spec.Workload,
        code: PinnedCode | None = None,
        rank_times: RankTimes | None = None,
        observe: EvaluationObserver | None = None,
    ) -> None:
        self._definition = definition
        self._data_dirs = data_dirs
        self._metrics_module = metrics_module
        self._backend = backend
        self._workload = workload
        self._code = code
        self._rank_times = rank_times or RankTimes()
        self._observe = observe or _unobserved
        self._sources = {
            split: data_module.open_split(definition, split, data_dirs[split])
            for split in EVAL_SPLITS
            if definition.splits[split] is not None
        }

    def evaluate(self, params: Any, model_state: Any) -> dict[str, float]:
        """Returns `<split>/<metric>` for every split and metric, equal on all ranks.

        Every split but the training subset has `<split>/num_examples` as well, as in AlgoPerf.
        """
        with contextlib.nullcontext() if self._code is None else self._code.restored():
            return self._evaluate_all(params, model_state)

    def _evaluate_all(self, params: Any, model_state: Any) -> dict[str, float]:
        results: dict[str, float] = {}
        for split, source in self._sources.items():
            values = self._evaluate_split(params, model_state, split, source, split_name(split))
            results.update({metric_column(split, name): float(value) for name, value in values.items()})
            if split is not Split.EVAL_TRAIN:
                results[num_examples_column(split)] = len(source)
        return results

    def _evaluate_split(self, params: Any, model_state: Any, split: Split, source: Any, name: str) -> dict[str, float]:
        backend = self._backend
        batch_size = _round_up(self._definition.eval_batch_size, backend.num_devices)
        batches = EvalPipeline(
            source,
            batch_size=batch_size,
            rank=backend.rank,
            world_size=backend.world_size,
            num_shards=backend.num_local_devices,
        )
        metrics = self._metrics_module.make_metrics(self._definition, split, self._data_dirs[split])
        self._observe(name, 0, len(source))
        begun_s = time.monotonic()
        evaluated = backend.evaluate(self._workload, params, model_state, iter(batches))
        for number, (batch, outputs) in enumerate(evaluated, start=1):
            metrics.update(outputs, batch)
            self._observe(name, min(number * batch_size, len(source)), len(source))
        gathered = backend.gather_objects((metrics, share(time.monotonic() - begun_s)))
        self._rank_times.add([rank_share for _, rank_share in gathered])
        first, *others = (rank_metrics for rank_metrics, _ in gathered)
        for other in others:
            first.merge(other)
        means: dict[str, float] = first.compute()
        return means


def _unobserved(what: str, num_done: int, num_examples: int) -> None:
    pass


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
