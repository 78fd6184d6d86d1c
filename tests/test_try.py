"""Anybody's folder: what can be judged is judged, and what can't is named with the reason."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib import models
from lib.paths import ROOT

GOOD, NAMES = 20, ["cost $5_100%_$x^2$.png", "花 🎉.png", "a.jpg", "b.webp", "strip.png"]


@pytest.fixture
def folder(tmp_path):
    """Twenty pictures and ten files that are none, each in its own way."""
    root, rng = tmp_path / "holiday {2024}", np.random.default_rng(0)
    (root / "album.png").mkdir(parents=True)
    for name in [*NAMES, *(f"{number}.png" for number in range(GOOD - len(NAMES)))]:
        size = (64, 1000, 3) if name == "strip.png" else (64, 96, 3)
        Image.fromarray(rng.integers(0, 255, size, np.uint8)).save(root / name)
    whole = (root / "0.png").read_bytes()
    (root / "bad crc.png").write_bytes(whole[:200] + b"\xff\x00" + whole[202:])
    (root / "cut.jpg").write_bytes((root / "a.jpg").read_bytes()[:700])
    (root / "lfs.png").write_text("version https://git-lfs.github.com/spec/v1\nsize 12345\n")
    (root / "page.jpg").write_text("<!DOCTYPE html><title>Not found</title>")
    (root / "notes.jpg").write_text("milk, bread")
    (root / "film.mp4").write_bytes(bytes(500))
    (root / "zero.png").touch()
    (root / "link.png").symlink_to(root / "gone.png")
    Image.fromarray(np.full((64, 64), np.nan, np.float32)).save(root / "nan.tiff")
    return root


def test_a_strangers_folder_is_judged_and_its_bad_files_are_named(folder, tmp_path, empty_cache):
    def judge(*options):
        command = [sys.executable, "-m", "lib", "try", str(folder), "--output", str(out), *options]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    out = tmp_path / "out"
    done = judge()
    assert done.returncode == 0, done.stderr
    table, skipped = (pd.read_csv(out / f"{name}.csv") for name in ("pictures", "skipped"))
    assert len(table) == GOOD and {*NAMES} < {*table.name} and len(skipped) == 10
    assert f"{GOOD} pictures judged, 10 files skipped" in done.stdout
    assert all(name in done.stdout for name in skipped.file) and skipped.reason.str.len().min() > 9
    scores = table.set_index("name")["dual-task"]
    right = models.load("dual-task").predict(folder / "a.jpg")[0]
    assert scores["a.jpg"] == pytest.approx(right, abs=1e-4)
    assert scores.dropna().is_monotonic_decreasing
    assert np.isnan(scores["strip.png"]) and "8 to 1" in table.note.iloc[-1]
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width >= 830
    before = {path: path.stat().st_mtime_ns for path in empty_cache.rglob("*.npy")}
    assert len(before) == GOOD and judge().returncode == 0  # nothing is computed twice
    assert before == {path: path.stat().st_mtime_ns for path in empty_cache.rglob("*.npy")}
    strict = judge("--strict")
    assert strict.returncode == 1 and all(name in strict.stderr for name in skipped.file)
