"""Compat mode reproduces AlgoPerf's scorer; the golden results are checked by a second, naive implementation."""

import csv
import io
import itertools
import math
import statistics
from pathlib import Path

import numpy as np
import pytest

from scoring.board import make_board
from scoring.logs import read_logs
from scoring.rules import load_rules
from scoring.times import Mode

PUBLISHED_SCORES = {
    "schedule_free_adamw": 0.8542,
    "baseline": 0.8194,
    "nadamw_sequential": 0.3308,
    "sinv6_75": 0.1420,
    "sinv6": 0.0903,
    "adamg": 0.0,
}
_INF, _NAN = math.inf, math.nan
# Columns: criteo1tb, criteo1tb_embed_init, fastmri, fastmri_tanh, imagenet_resnet, imagenet_resnet_large_bn_init,
# imagenet_vit, librispeech_conformer, librispeech_conformer_layernorm, librispeech_deepspeech, ogbg,
# ogbg_model_size, wmt, wmt_glu_tanh (the sorted order).
PUBLISHED_TIMES_S = {
    "schedule_free_adamw": (
        *(5763.72, 1924.59, 1321.42, 5114.15, _INF, _INF, 52380.77),
        *(58997.15, 37412.72, 49010.28, 5993.65, 10292.11, 45376.38, 10147.93),
    ),
    "baseline": (
        *(5794.33, 503.14, 1976.39, 4549.01, _INF, _INF, 73981.26),
        *(57674.48, 56241.43, 36051.12, 8422.82, 12748.00, 40361.46, 28607.49),
    ),
    "nadamw_sequential": (
        *(22791.21, 4409.96, 2381.11, 3903.24, _INF, _INF, 122357.43),
        *(_INF, 70640.08, 80703.43, 10108.96, 17792.73, 113505.95, 75697.30),
    ),
    "sinv6_75": (
        *(_NAN, _NAN, 3991.48, 7116.07, _INF, _INF, _INF),
        *(_INF, 155643.50, 122483.98, 27643.29, _INF, 87459.29, 21111.43),
    ),
    "sinv6": (
        *(_NAN, _NAN, 4309.55, 7679.52, _INF, _INF, _INF),
        *(_INF, 111004.83, 136881.95, 25004.40, _INF, 111822.76, 21952.09),
    ),
    "adamg": (_INF,) * 14,
}


def test_published_self_tuning_board_to_four_decimals(published_logs: Path) -> None:
    rules = load_rules("v0.5")
    board = make_board(read_logs(published_logs, rules.workloads), rules, rules.tuning["self"], Mode.ALGOPERF)
    scores = {name: round(float(score), 4) for name, score in zip(board.submissions, board.scores, strict=True)}
    assert scores == PUBLISHED_SCORES


def test_published_times_to_target_to_two_decimals(published_logs: Path) -> None:
    rules = load_rules("v0.5")
    board = make_board(read_logs(published_logs, rules.workloads), rules, rules.tuning["self"], Mode.ALGOPERF)
    expected = np.array([PUBLISHED_TIMES_S[name] for name in board.submissions])
    np.testing.assert_allclose(board.times.workload_s, expected, atol=0.0051, rtol=0)


def test_the_fastest_of_trials_that_tie_in_evaluations_is_the_studys(small_rules, tmp_path: Path) -> None:
    """Of trials that first meet the target at the same evaluation, AlgoPerf's published boards hold the fastest."""
    rule = small_rules.workloads["digits"]
    rows = {1: ((10.0, 0.5), (40.0, 0.5), (62.5, 0.9)), 2: ((9.0, 0.5), (35.0, 0.5), (51.25, 0.9)), 3: ((8.0, 0.5),)}
    for number, measured in rows.items():
        trial = tmp_path / f"tied/study_0/digits_jax/trial_{number}"
        trial.mkdir(parents=True)
        lines = [f"{t},{t},{i},{value}" for i, (t, value) in enumerate(measured)]
        header = f"accumulated_submission_time,score,global_step,{rule.validation_column}"
        (trial / "eval_measurements.csv").write_text("\n".join([header, *lines]) + "\n")
    board = make_board(
        read_logs(tmp_path, small_rules.workloads), small_rules, small_rules.tuning["external"], Mode.ALGOPERF
    )
    i, j = board.times.index("tied", "digits")
    assert board.times.evaluations[i, j, 0].tolist() == [2.0, 2.0, math.inf]
    assert board.times.study_s[i, j].tolist() == [51.25]


@pytest.mark.parametrize("mode", list(Mode))
def test_golden_board(mode: Mode, golden_board: dict, small_rules, tmp_path: Path) -> None:
    for place, text in golden_board["files"].items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    board = make_board(read_logs(tmp_path, small_rules.workloads), small_rules, small_rules.tuning["external"], mode)
    expected = golden_board["results"][mode.value]
    assert set(board.submissions) == set(expected)
    for i, name in enumerate(board.submissions):
        assert board.scores[i] == pytest.approx(expected[name]["score"], abs=1e-6)
        times = [math.inf if t is None else t for t in expected[name]["times_s"].values()]
        np.testing.assert_allclose(
            np.nan_to_num(board.times.workload_s[i], nan=math.inf, posinf=math.inf), times, rtol=1e-9
        )


def test_golden_compat_results_agree_with_a_naive_reading_of_the_rules(golden_board: dict, small_rules) -> None:
    times = _naive_algoperf_times(golden_board["files"], small_rules)
    scores = _naive_algoperf_scores(times, small_rules)
    for name, expected in golden_board["results"]["algoperf"].items():
        assert scores[name] == pytest.approx(expected["score"], abs=1e-6)


def _naive_algoperf_times(files: dict[str, str], rules) -> dict[str, dict[str, float]]:
    studies: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for place, text in sorted(files.items()):
        submission, study, folder, _, _ = place.split("/")
        workload = folder.rsplit("_", 1)[0]
        rule = rules.workloads[workload]
        first = (10**9, math.inf)
        for i, row in enumerate(csv.DictReader(io.StringIO(text))):
            value = float(row[rule.validation_column])
            met = (
                value >= rule.validation_target
                if "accuracy" in rule.validation_column
                else value <= rule.validation_target
            )
            if met:
                first = (i, float(row["score"]))
                break
        studies.setdefault((submission, workload, study), []).append(first)
    per_workload: dict[tuple[str, str], list[float]] = {}
    for (submission, workload, _), trials in studies.items():
        fewest = min(count for count, _ in trials)
        per_workload.setdefault((submission, workload), []).append(min(t for c, t in trials if c == fewest))
    times: dict[str, dict[str, float]] = {}
    for (submission, workload), values in per_workload.items():
        times.setdefault(submission, {})[workload] = statistics.median(values)
    return times


def _naive_algoperf_scores(times: dict[str, dict[str, float]], rules) -> dict[str, float]:
    table = {s: {w: row.get(w, math.inf) for w in rules.scored_workloads} for s, row in times.items()}
    for row in table.values():
        for extra, base in rules.held_out.items():
            if row[base] == math.inf:
                row[extra] = math.inf
    for workload in rules.scored_workloads:
        best = min(row[workload] for row in table.values())
        for row in table.values():
            row[workload] = math.inf if row[workload] > 4 * best else row[workload]
    for row in table.values():
        for extra, base in rules.held_out.items():
            if row[extra] == math.inf:
                row[base] = math.inf
    best = {w: min(row[w] for row in table.values()) for w in rules.base_workloads}
    grid = [1 + 3 * i / 99 for i in range(100)]
    scores = {}
    for name, row in table.items():
        heights = [sum(row[w] <= tau * best[w] < math.inf for w in rules.base_workloads) for tau in grid]
        area = sum((a + b) / 2 * 3 / 99 for a, b in itertools.pairwise(heights))
        scores[name] = area / 3 / len(rules.base_workloads)
    return scores
