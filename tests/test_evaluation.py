"""Table I is honest: nothing is judged on what it was fitted to, and a kill changes no number."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from lib import stats
from lib.evaluation import RAW, TRANSFORMED, evaluate
from lib.maps import fixation_density
from lib.paths import ROOT
from lib.records import Dataset, Part, Record, Subset
from lib.sources import Source, extract
from tests.test_notebooks import functions


class Blobs(Dataset):
    """Pictures whose observers look at one bright blob, near the middle more often than not."""

    name, kind, fingerprint = "blobs", "made up", "0"

    def __init__(self, count=12):
        self.names = [f"blob {i}" for i in range(count)]
        self.read = []

    def __getitem__(self, index):
        self.read.append(index)
        rng = np.random.default_rng(index)
        x, y = rng.normal([40, 24], [14, 9]).clip([6, 6], [73, 41])
        fixations = rng.normal([x, y], 3, (60, 2)).clip([0, 0], [79, 47])
        density = fixation_density(fixations, (48, 80), 3)
        gray = np.rint(255 * density / density.max()).astype(np.uint8)
        return Record(self.names[index], np.dstack([gray] * 3), fixations, density)


def bright(records):
    return np.stack([r.image[..., 0].astype(np.float32) for r in records])


def noise(records):
    return np.stack([np.random.default_rng(len(r.name)).random((48, 80)) for r in records])


BRIGHT = Source("Models", "bright", bright, "b")
NOISE = Source("Models", "noise", noise, "n")


@pytest.fixture
def blobs():
    return Blobs()


def test_a_map_of_the_density_beats_the_prior_and_noise_gets_it_back_by_the_transforms(empty_cache):
    scores = evaluate([BRIGHT, NOISE], Blobs(30), folds=3)[0]
    summary = stats.summarize(scores, against="CenterPrior")
    verdict = functions("01", "").verdicts(summary).set_index(["stage", "method"]).verdict
    assert verdict[RAW, "bright"] == "beats it" and verdict[TRANSFORMED, "bright"] == "beats it"
    assert verdict[RAW, "noise"] in ("loses", "mixed")
    cc = scores[scores.metric == "CC"].groupby(["method", "stage"]).value.mean()
    assert cc["noise", TRANSFORMED] == pytest.approx(cc["CenterPrior", TRANSFORMED], abs=0.1)
    assert cc["noise", RAW] < 0.1


def test_transform_of_a_fold_is_fitted_without_its_images(blobs, empty_cache):
    fold = np.random.default_rng(0).permutation(np.arange(len(blobs)) % 3)
    plain = evaluate([BRIGHT], blobs, folds=3)[1]["bright"]

    class Changed(Blobs):
        fingerprint = "1"

        def __getitem__(self, index):
            record = super().__getitem__(index)
            ruined = np.roll(record.density, 40, axis=1)  # of the people of fold 0 only
            return record if fold[index] else replace(record, density=ruined)

    ruined = evaluate([BRIGHT], Changed(), folds=3)[1]["bright"]
    assert np.array_equal(plain[0].values, ruined[0].values)
    assert not np.array_equal(plain[1].values, ruined[1].values)


def test_images_of_different_shapes_go_in_different_batches(empty_cache):
    class Mixed(Blobs):
        def __getitem__(self, index):
            record = super().__getitem__(index)
            return record if index % 3 else replace(record, image=record.image.transpose(1, 0, 2))

    found = extract(BRIGHT, Mixed(7))
    assert [found[i].shape for i in range(3)] == [(80, 48), (48, 80), (48, 80)]


def test_subset_is_part_of_the_whole_and_shares_its_maps(blobs, empty_cache):
    part = Subset(blobs, 5, seed=1)
    assert len(part) == 5 and set(part.names) < set(blobs.names)
    whole = dict(zip(blobs.names, extract(BRIGHT, blobs), strict=True))
    blobs.read.clear()
    for name, saliency_map in zip(part.names, extract(BRIGHT, part), strict=True):
        assert np.array_equal(saliency_map, whole[name])
    assert not blobs.read
    assert len(Subset(blobs, 99)) == len(Subset(blobs, None)) == len(blobs)
    with pytest.raises(ValueError, match="at least 1 image is needed, not -3"):
        Subset(blobs, -3)
    chosen = Part(blobs, [4, 2])
    assert chosen.names == [blobs.names[4], blobs.names[2]]
    assert chosen[1].name == blobs.names[2] and chosen[-1].name == blobs.names[2]


SLOW_RUN = """
import time
from tests.test_evaluation import Blobs, Source, bright, extract

def slow(records):
    time.sleep(0.2)
    return bright(records)

extract(Source("Models", "bright", slow, "b"), Blobs(), batch_size=1)
"""


def test_kill_dash_9_loses_at_most_the_image_in_hand_and_changes_no_number(
    blobs, empty_cache, monkeypatch
):
    with subprocess.Popen([sys.executable, "-c", SLOW_RUN], cwd=ROOT) as running:
        for _ in range(1200):
            if len(list(empty_cache.rglob("[!.]*.npy"))) >= 3:
                break
            time.sleep(0.05)
        running.kill()  # SIGKILL: no handler runs, nothing is tidied up
    saved = {path: path.stat().st_mtime_ns for path in empty_cache.rglob("[!.]*.npy")}
    assert 3 <= len(saved) < len(blobs)
    resumed = extract(BRIGHT, blobs, batch_size=2)
    assert blobs.read == list(range(len(saved), len(blobs))), "the others were on disk"
    assert {path: path.stat().st_mtime_ns for path in saved} == saved
    monkeypatch.setenv("CACHE_DIR", str(empty_cache / "fresh"))
    undisturbed = extract(BRIGHT, blobs)
    assert all(np.array_equal(a, b) for a, b in zip(resumed, undisturbed, strict=True))
