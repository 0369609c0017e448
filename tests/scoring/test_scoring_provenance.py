"""On what the compared runs ran: digests of workload definitions are compared within one scheme."""

import json

import pytest

from scoring.logs import read_logs
from scoring.provenance import provenance_rows
from scoring.rules import load_rules
from scoring.simulate import simulated_field, write_logs


@pytest.mark.parametrize(
    ("digests", "differs"),
    [
        (("6ea6fe2ec80c591c", "6ea6fe2ec80c591c"), False),
        (("6ea6fe2ec80c591c", "71b00f2ec80c5aaa"), True),
        (("6ea6fe2ec80c591c", "2:33a6fe2ec80c59ff"), False),
        (("2:33a6fe2ec80c59ff", "2:44a6fe2ec80c59ff"), True),
    ],
)
def test_definitions_of_two_submissions(tmp_path, digests, differs):
    rules = load_rules("mini_qualification").with_counts(studies=1, trials=1)
    tuning = rules.tuning["self"]
    field = simulated_field(rules, tuning, 2, seed=0)
    write_logs(tmp_path, field, rules, tuning)
    for submission, digest in zip(field, digests, strict=True):
        [*files] = tmp_path.glob(f"{submission.name}/study_*/wmt_mini_*/trial_*/meta_data_0.json")
        assert files
        for file in files:
            file.write_text(json.dumps({**json.loads(file.read_text()), "definition_digest": digest}))
    rows = {row.name: row for row in provenance_rows(read_logs(tmp_path, rules.workloads))}
    assert rows["workload definition"].differs == differs
    assert set(rows["workload definition"].values[field[1].name]) >= {f"wmt_mini: {digests[1]}"}
