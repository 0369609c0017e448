"""Merging follows linked submissions and says what it leaves out."""

import os
import shutil
from pathlib import Path

from scoring import merge

CSV = "swift/study_0/speech_jax/trial_1/eval_measurements.csv"


def test_a_linked_submission_is_merged(written_board: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "swift").symlink_to(written_board / "swift")
    assert merge.main([str(links), f"--output_dir={tmp_path / 'joined'}"]) == 0
    assert (tmp_path / "joined" / CSV).read_bytes() == (written_board / CSV).read_bytes()
    assert not (tmp_path / "joined/swift").is_symlink()


def test_what_is_no_regular_file_is_left_out_and_named(written_board: Path, tmp_path: Path, capsys) -> None:
    trial = (written_board / CSV).parent
    (tmp_path / "secret").write_text("key")
    (trial / "hparams.json").symlink_to(tmp_path / "secret")
    os.mkfifo(trial / "trial.json")
    (trial / "loop").symlink_to(written_board)
    assert merge.main([str(written_board), f"--output_dir={tmp_path / 'joined'}"]) == 0
    told = capsys.readouterr().err
    copied = (tmp_path / "joined" / CSV).parent
    for name, reason in (
        ("hparams.json", "a link to a file"),
        ("trial.json", "not a regular"),
        ("loop", "a link"),
    ):
        assert not (copied / name).exists()
        assert f"swift/study_0/speech_jax/trial_1/{name}: {reason}" in told


def test_a_broken_record_and_a_full_disk_are_one_line(written_board: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    (written_board / CSV).with_name("trial.json").write_text("{")
    assert merge.main([str(written_board), f"--output_dir={tmp_path / 'joined'}", "--public"]) == 2
    assert "expected a JSON object" in capsys.readouterr().err

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    assert merge.main([str(written_board), f"--output_dir={tmp_path / 'joined'}"]) == 3
    assert capsys.readouterr().err.count("\n") == 1
