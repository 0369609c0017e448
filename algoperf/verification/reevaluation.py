"""Evaluates checkpoints of a trial on the workload's own data. No code of the submission is imported.

`python -m algoperf.verification.reevaluation REQUEST ANSWER`, where REQUEST has `workload`, `framework`, `data_dir`,
`imagenet_v2_data_dir`, `matmul_precision` and `checkpoints`, folders; ANSWER gets `metrics`, by folder, or a reason.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algoperf import prepare
from algoperf.backends import base
from algoperf.definition import EVAL_SPLITS, Split
from algoperf.edition import MatmulPrecision
from algoperf.errors import UserError
from algoperf.harness.checkpoint import check_manifest
from algoperf.harness.evaluator import Evaluator
from algoperf.harness.seeds import Seeds
from algoperf.registry import REGISTRY, Registry
from algoperf.reporting import report_to_stderr


def evaluate_checkpoints(request: Mapping[str, Any], registry: Registry = REGISTRY) -> dict[str, Any]:
    """Metrics of each checkpoint, `<split>/<metric>` as in the log; a text where it cannot be read.

    Raises:
      UserError: the workload is not known, or its data are missing.
    """
    definition = registry.get(request["workload"])
    backend = base.load(request["framework"], matmul_precision=MatmulPrecision(request["matmul_precision"]))
    data_dir, v2_dir = Path(request["data_dir"]), request.get("imagenet_v2_data_dir")
    prepare.ensure_prepared(definition, data_dir, report=report_to_stderr, registry=registry)
    model = registry.module(definition.name, base.model_module(backend.framework)).build(definition)
    workload = backend.build_workload(definition, model)
    data_dirs = dict.fromkeys(EVAL_SPLITS, data_dir)
    if v2_dir is not None:
        data_dirs[Split.TEST] = Path(v2_dir)
    evaluator = Evaluator(
        definition=definition,
        data_module=registry.module(definition.name, "data"),
        metrics_module=registry.module(definition.name, "metrics"),
        data_dirs=data_dirs,
        backend=backend,
        workload=workload,
    )
    results: dict[str, Any] = {}
    for folder in request["checkpoints"]:
        params, model_state = workload.init_model_fn(Seeds(backend, 0).model_init)
        template = {"model_params": params, "model_state": model_state}
        try:
            check_manifest(Path(folder))
            loaded = backend.load_model(Path(folder) / "state", template)
        except (OSError, ValueError, KeyError, UserError) as error:
            results[folder] = f"it cannot be read ({error})"
            continue
        results[folder] = evaluator.evaluate(loaded["model_params"], loaded["model_state"])
    backend.close()
    return {"metrics": results, "devices": backend.device_report()}


def main(argv: list[str], registry: Registry = REGISTRY) -> int:
    try:
        answer = evaluate_checkpoints(json.loads(argv[1]), registry)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    Path(argv[2]).write_text(json.dumps(answer, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
