"""Anybody's folder: what can be judged is judged, and what can't is named with the reason."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib import models
from lib.paths import ROOT

NAMES = ["cost $5_100%_$x^2$.png", "花 🎉.png", "a.jpg", "b.webp", "strip.png"]
NAMES += [f"{number}.png" for number in range(15)]


def fill(root):
    """Write twenty pictures and ten files that are none, each in its own way."""
    (root / "album.png").mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        noise = np.random.default_rng(seed).integers(0, 255, (64, 96, 3), np.uint8)
        Image.fromarray(noise).resize((96, 900 if name == "strip.png" else 64)).save(root / name)
    Image.fromarray(np.full((64, 64), np.nan, np.float32)).save(root / "nan.tiff")
    whole = (root / "0.png").read_bytes()
    bad = {"bad crc.png": whole[:200] + b"\xff\x00" + whole[202:], "film.mp4": bytes(500)}
    bad |= {"cut.jpg": (root / "a.jpg").read_bytes()[:700], "zero.png": b"", "notes.jpg": b"milk"}
    bad |= {"lfs.png": b"version https://git-lfs.github.com/spec/v1\nsize 12345\n"}
    for name, content in (bad | {"page.jpg": b"<!DOCTYPE html><title>Not found</title>"}).items():
        (root / name).write_bytes(content)
    (root / "link.png").symlink_to(root / "gone.png")


@pytest.mark.slow
def test_a_strangers_folder_is_judged_and_its_bad_files_are_named(tmp_path, empty_cache):
    folder, out = tmp_path / "holiday {2024}", tmp_path / "out"
    fill(folder)

    def judge(*options):
        command = [sys.executable, "-m", "lib", "try", str(folder), "--output", str(out), *options]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    done = judge()
    assert done.returncode == 0, done.stderr
    table, skipped = (pd.read_csv(out / f"{name}.csv") for name in ("pictures", "skipped"))
    assert {*table.name} == {*NAMES} and len(table) == 20 and len(skipped) == 10
    assert "20 pictures judged, 10 files skipped" in done.stdout
    assert all(name in done.stdout for name in skipped.file) and skipped.reason.str.len().min() > 9
    scores = table.set_index("name")["dual-task"]
    assert abs(scores["a.jpg"] - models.load("dual-task").predict(folder / "a.jpg")[0]) < 1e-4
    assert scores.dropna().is_monotonic_decreasing and "8 to 1" in table.note.iloc[-1]
    assert Image.open(out / "contact_sheet.png").width >= 830
    before = {path: path.stat().st_mtime_ns for path in empty_cache.rglob("*.npy")}
    assert before and judge().returncode == 0  # nothing is computed twice
    assert before == {path: path.stat().st_mtime_ns for path in empty_cache.rglob("*.npy")}
    strict = judge("--strict")
    assert strict.returncode == 1 and all(name in strict.stderr for name in skipped.file)
