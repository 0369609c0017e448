"""Takes the first steps of a trial again, from its seed, with the submission's own code, in a process of its own.

`python -m algoperf.verification.replay REQUEST ANSWER`: REQUEST holds flags of the runner, the seed and the point;
ANSWER gets the rows that the replay logged.
"""

import json
import sys
import tempfile
from pathlib import Path

from algoperf.errors import UserError
from algoperf.records import json as records_json
from algoperf.records.layout import MEASUREMENTS, SEED_FILE, trial_folder, workload_folder
from algoperf.registry import REGISTRY, Registry
from algoperf.runner import driver
from algoperf.runner.run_config import RunConfig
from algoperf.verification.tables import read_rows

_NAME = "replay"


def main(argv: list[str], registry: Registry = REGISTRY) -> int:
    request = json.loads(argv[1])
    flags = request["flags"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        trial_dir = root / _NAME / workload_folder(flags["workload"], flags["framework"]) / trial_folder(1)
        trial_dir.mkdir(parents=True)
        records_json.write(trial_dir / SEED_FILE, {"seed": request["seed"]})
        if request["hyperparameters"] is not None:
            space = root / "space.json"
            space.write_text(json.dumps([request["hyperparameters"]]))
            flags["tuning_search_space"] = str(space)
        own = {
            "experiment_dir": str(root),
            "experiment_name": _NAME,
            "resume_last_run": True,
            "save_checkpoints": False,
            "use_tensorboard": False,
            "calibration": "off",
        }
        config = RunConfig.from_flags({**flags, **own})
        try:
            [result] = driver.run(config, registry=registry)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        rows = read_rows(trial_dir / MEASUREMENTS)
        last_line = (result.record.error or "").strip().splitlines()[-1:]
        Path(argv[2]).write_text(json.dumps({"rows": rows, "outcome": result.outcome, "error": last_line}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
