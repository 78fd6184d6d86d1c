"""SACID's layout, written by the builder and read by the loader, with whatever may happen to it."""

import os
import signal
import subprocess
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.data import astronaut, coffee
from skimage.metrics import peak_signal_noise_ratio

from lib import x264
from lib.codec import BITRATES, PRESETS, TEST_CASES, aq_offsets, macroblock_map, solve_offsets
from lib.data import load, simulated_sacid
from lib.data.sacid import SACID, read_scores
from lib.data.simulated_sacid import build, read, seen_psnr
from lib.images import read_image
from lib.paths import ROOT
from lib.records import Dataset, Record
from lib.stats import plcc
from tests.test_notebooks import prose


def middle(image):
    """A map for the builder: saliency falls off from the middle."""
    y, x = (np.linspace(-1, 1, side) for side in image.shape[:2])
    return np.exp(-2 * (y[:, None] ** 2 + x[None, :] ** 2))


class Pictures(Dataset):
    """Two pictures with odd sides; people look at the middle."""

    name, kind, fingerprint, names = "pictures", "test", "f", ["gray.png", "odd"]

    def __getitem__(self, index):
        gray = np.repeat(astronaut()[:160, 150:310, :1], 3, axis=2)
        image = [gray, coffee()[100:229, 200:373]][index]
        density = middle(image) / middle(image).sum()
        return Record(self.names[index], image, density=density)


def test_a_tree_of_the_cache_that_was_damaged_is_made_again(empty_cache, monkeypatch, capsys):
    monkeypatch.setattr(simulated_sacid.data, "load", lambda *_, **__: Pictures())
    root = simulated_sacid.open(None, assessors=60, votes_per_pair=12).root
    before, picture = contents(root), f"compressed/odd/{TEST_CASES[0]}.jpg"
    with Image.open(root / picture) as lost:
        lost.save(root / "bare.jpg")  # its comment with the row of the manifest is gone
    bare = (root / "bare.jpg").read_bytes()
    (root / "bare.jpg").unlink()
    for name, content in (("votes.csv", b"voter\n"), ("saliency/odd.png", b""), (picture, bare)):
        (root / name).write_bytes(content)
        simulated_sacid.open(None, assessors=60, votes_per_pair=12)
        assert contents(root) == before and "was damaged" in capsys.readouterr().out


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("built")
    return root, build(Pictures(), root, middle)


def contents(root):
    """Every file, behind links too, but what a killed run may leave hidden."""
    found = (root / at / f for at, _, files in os.walk(root, followlinks=True) for f in files)
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(found) if p.name[0] != "."}


def test_the_layout_is_sacids_and_the_manifest_says_what_was_reached(built):
    root, manifest = built
    expected = {f"{kind}/{n}.png" for kind in ("reference", "saliency") for n in ("gray", "odd")}
    expected |= {f"compressed/{n}/{case}.jpg" for n in ("gray", "odd") for case in TEST_CASES}
    assert set(contents(root)) == expected | {"manifest.csv"}
    assert list(manifest.test_case) == 2 * TEST_CASES
    met = manifest[manifest.reachable]
    assert (abs(met.bpp / met.target_bpp - 1) <= 0.02 + 1e-6).all() and len(met) >= 20
    assert (manifest.reason.notna() == ~manifest.reachable).all()
    odd = manifest[manifest.sequence == "odd"]
    assert np.allclose(odd.bpp, 8 * odd.bytes / (129 * 173), atol=1e-6)
    aware = manifest[manifest.preset != "none"]
    wanted = aware.preset.map({n: p.bitrate / 100 for n, p in PRESETS.items() if p})
    assert abs(aware.share - wanted).max() < 0.015  # a hundred macroblocks: coarse steps
    assert manifest.share[manifest.preset == "none"].isna().all()
    assert np.array_equal(read_image(root / "reference/odd.png"), Pictures()[1].image)
    assert read_image(root / "saliency/odd.png").max() == 255


def test_the_jpeg_adds_no_visible_loss(built):
    root, manifest = built
    image = Pictures()[1].image
    ranks = macroblock_map(read_image(root / "saliency/odd.png")[..., 0])
    aq = aq_offsets(x264.planes(x264.to_frame(image)))
    for row in manifest[manifest.sequence == "odd"].itertuples():
        grid = solve_offsets(ranks, aq, PRESETS[row.preset]).grid
        decoded = x264.encode(image, row.target_bpp, grid).image
        jpeg = read_image(root / "compressed/odd" / f"{row.test_case}.jpg")
        assert peak_signal_noise_ratio(decoded, jpeg) > 44
        gap = peak_signal_noise_ratio(image, jpeg) - peak_signal_noise_ratio(image, decoded)
        assert abs(gap) < 0.1


def test_nothing_is_made_again_and_one_missing_picture_is(built, monkeypatch):
    root, manifest = built
    before, calls, encode = contents(root), [], x264.encode
    monkeypatch.setattr(x264, "encode", lambda *a: calls.append(a) or encode(*a))
    pd.testing.assert_frame_equal(build(Pictures(), root, middle), manifest)
    assert not calls
    (root / "manifest.csv").unlink()
    (root / "compressed/odd" / f"{TEST_CASES[5]}.jpg").unlink()
    build(Pictures(), root, middle)
    assert len(calls) == 1 and contents(root) == before


def test_a_killed_process_ends_the_same_and_leaves_no_half_file(built, tmp_path):
    script = (
        "from pathlib import Path; from lib.data.simulated_sacid import build; "
        "from tests.test_sacid import Pictures, middle; "
        f"build(Pictures(), Path({str(tmp_path)!r}), middle)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(tmp_path.glob("compressed/*/*.jpg"))) > 5:
            break
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for name in contents(tmp_path):
        read_image(tmp_path / name)  # whole
    build(Pictures(), tmp_path, middle)
    assert contents(tmp_path) == contents(built[0])


def test_simulated_assessors_see_errors_where_people_look():
    image = np.full((10, 10, 3), 100, np.uint8)
    worse, density = image.copy(), np.zeros((10, 10))
    worse[:5] += 10
    density[:5] = 1 / 50
    # Errors of 100: half of the picture, and all of what people look at.
    assert seen_psnr(image, worse, density) == pytest.approx(10 * np.log10(255**2 / 75))
    assert seen_psnr(image, worse, density[::-1]) == pytest.approx(10 * np.log10(255**2 / 25))
    assert np.isfinite(seen_psnr(image, image, density))


def test_a_simulated_sacid_is_a_tree_that_sacid_reads(empty_cache):
    some = {"images": 2, "votes_per_pair": 20, "assessors": 100}
    sacid = load("simulated-sacid", **some)
    assert type(sacid) is SACID and len(sacid) == 24
    assert sacid.kind == "simulated assessors on sample-saliency" == SACID(sacid.root).kind
    assert (sacid.table.groupby("sequence").score.min() == 0).all()
    assert sacid[3].mos == sacid.table.score[3]
    found = sacid.table.pivot(index="sequence", columns="test_case", values="score")
    truth = read(sacid.root, "utilities").set_index("sequence").loc[found.index, found.columns]
    assert all(plcc(a, b) > 0.95 for a, b in zip(found.to_numpy(), truth.to_numpy(), strict=True))
    assert read(sacid.root, "votes").assessor.nunique() == 100
    again, other = load("simulated-sacid", **some), load("simulated-sacid", inattentive=0.0, **some)
    assert again.fingerprint == sacid.fingerprint != other.fingerprint
    case = f"compressed/{sacid.names[0]}.jpg"  # studies share their pictures
    assert (sacid.root / case).samefile(other.root / case) and case in contents(other.root)
    with pytest.raises(ValueError, match="no fixation densities"):
        load("simulated-sacid", references="sample-quality", images=1)


@pytest.fixture
def sacid_tree(tmp_path):
    """Two sequences in SACID's published layout: rows in another order, a small saliency map."""
    root, rows = tmp_path / "tree", []
    for number, sequence in enumerate(["zoo-x_1", "ant-y_2"]):
        for place, case in enumerate(TEST_CASES):
            path = root / "compressed" / sequence / f"{case}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (60, 40), 3 * (20 * place + number,)).save(path)
            rows.append((sequence, case, place / 4))
        for kind, size in (("reference", (60, 40)), ("saliency", (30, 20))):
            (root / kind).mkdir(exist_ok=True)
            Image.new("L", size, 51).save(root / kind / f"{sequence}.png")
    table = pd.DataFrame(rows, columns=["sequence", "test_case", "subjective_score"])
    table.iloc[::-1].to_csv(root / "moses.csv", index=False)
    return root


def test_the_published_layout_is_read(sacid_tree):
    dataset = SACID(sacid_tree)
    assert len(dataset) == 24 and dataset.sequences == ["ant-y_2", "zoo-x_1"]
    assert dataset.names[1] == "ant-y_2/h264v@targetbbp100=8_preset=p132"
    record = dataset[13]
    assert record.name == f"zoo-x_1/{TEST_CASES[1]}" and record.mos == 0.25
    assert record.image.shape == (40, 60, 3) and abs(int(record.image[0, 0, 0]) - 20) < 3
    assert dataset[-1].mos == 11 / 4 and "human" in dataset.kind
    assert dataset.contents[:12] == ["ant-y_2"] * 12
    assert dataset.reference("ant-y_2").shape == (40, 60, 3)
    saliency = dataset.saliency_map("ant-y_2")
    assert saliency.shape == (40, 60) and saliency.dtype == np.float32
    assert saliency == pytest.approx(0.2)
    moses = sacid_tree / "moses.csv"
    moses.write_text(moses.read_text().replace("0.25", "0.35"))
    assert SACID(sacid_tree).fingerprint != dataset.fingerprint


@pytest.mark.parametrize(
    "path",
    ["reference/zoo-x_1.png", "saliency/zoo-x_1.png", f"compressed/zoo-x_1/{TEST_CASES[4]}.jpg"],
)
def test_a_missing_file_is_named_with_the_mend(sacid_tree, path):
    (sacid_tree / path).unlink()
    with pytest.raises(FileNotFoundError, match=f"{path} is not there; run `make data"):
        SACID(sacid_tree)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("subjective_score", "score2", "must have the columns sequence"),
        ("ant-y_2,h264v@targetbbp100=8_preset=none,0.0\n", "", "ant-y_2 .* twelve test cases once"),
        ("preset=p310,0.75", "preset=p310,good", "line .* subjective_score 'good' is no number"),
        ("preset=p132,0.25", "preset=p220,0.25", "twelve test cases once"),
    ],
)
def test_a_wrong_table_is_refused(sacid_tree, old, new, message):
    moses = sacid_tree / "moses.csv"
    assert old in moses.read_text()
    moses.write_text(moses.read_text().replace(old, new))
    with pytest.raises(ValueError, match=rf"moses\.csv.*{message}"):
        SACID(sacid_tree)


def test_pictures_named_like_numbers_or_nothing_keep_their_names(tmp_path):
    pictures = Pictures()
    pictures.names = ["NA.png", "001.png"]
    assert build(pictures, tmp_path, middle).sequence.unique().tolist() == ["NA", "001"]
    rows = [(name, case, 0) for name in ("NA", "001") for case in TEST_CASES]
    table = pd.DataFrame(rows, columns=["sequence", "test_case", "subjective_score"])
    table.to_csv(tmp_path / "moses.csv", index=False)
    assert SACID(tmp_path).sequences == ["001", "NA"]
    pictures.names = ["a/NA.png", "b/NA.jpg"]
    with pytest.raises(ValueError, match=r"a/NA.png and b/NA.jpg would be one sequence"):
        build(pictures, tmp_path, middle)


RAMP = np.asarray(Image.linear_gradient("L").resize((60, 40)))
WHITE, NOTHING = np.full_like(RAMP, 255), np.zeros_like(RAMP)
MAPS = {"gray": RAMP, "RGB": np.dstack(3 * [RAMP]), "16 bits": RAMP * np.uint16(257)}
MAPS |= {"opaque": np.dstack([*3 * [RAMP], WHITE]), "alpha": np.dstack([*3 * [WHITE], RAMP])}
MAPS |= {"red": np.dstack([WHITE, NOTHING, NOTHING, RAMP])}
MAPS |= {name: plt.get_cmap(name)(RAMP, bytes=True) for name in ("jet", "viridis")}


@pytest.mark.parametrize("kind", MAPS)
def test_a_saliency_map_is_gray_levels_however_stored_and_a_heat_map_is_refused(sacid_tree, kind):
    Image.fromarray(MAPS[kind]).save(sacid_tree / "saliency" / "ant-y_2.png")
    if kind in ("alpha", "red", "jet", "viridis"):
        with pytest.raises(ValueError, match=r"ant-y_2\.png has colours or alpha; save the sal"):
            SACID(sacid_tree).saliency_map("ant-y_2")
    else:
        found = SACID(sacid_tree).saliency_map("ant-y_2")
        np.testing.assert_array_equal(found, RAMP / np.float32(255))


def test_the_published_scores_are_720_with_the_known_means():
    scores = read_scores()
    assert len(scores) == 720 and scores.sequence.nunique() == 60
    assert (scores.groupby("sequence").subjective_score.min() == 0).all()
    means = scores.pivot_table("subjective_score", "bpp", "preset").round(2)
    assert list(means) == list(PRESETS) and tuple(means.index) == BITRATES
    known = [[0.49, 1.16, 1.18, 0.74], [2.44, 2.99, 3.07, 2.61], [3.51, 4.12, 4.11, 3.71]]
    assert means.to_numpy().tolist() == known


def test_sentences_of_notebook_04_are_those_of_the_committed_tables():
    folder, text = ROOT / "figures" / "open", []
    encodes = pd.read_csv(folder / "sacid_encodes.csv")
    assert encodes.reachable.all() and abs(encodes.bpp / encodes.target_bpp - 1).max() <= 0.02001
    text += [f"All {len(encodes)} encodes of {encodes.sequence.nunique()} OSIE photographs"]
    text += [f"in {encodes.encodes.mean():.2f} runs of x264 each"]
    dB = pd.read_csv(folder / "sacid_gains.csv").query("bpp == 0.12")
    strong, mild = (dB[dB.preset == p].set_index("region").gain for p in ("p220", "p132"))
    text += [f"`p220` gains {strong.inside:.2f} dB inside"]
    text += [f"pays {-strong.outside:.2f} dB outside"]
    text += [f"and {-strong.whole:.2f} dB over the whole", f"`p132` gains {mild.inside:.2f} dB"]
    text += [f"pays {-mild.outside:.2f} dB and {-mild.whole:.2f} dB"]
    said = pd.read_csv(folder / "sacid_published_tests.csv").query("bitrate == 'all bitrates'")
    p132, p220, p310 = said.sort_values("preset").itertuples()
    assert p132.wins == p220.wins and p220.p_holm < 0.05 < p310.p_holm
    text += [f"in {p220.wins} of {p220.n} photographs each", f"`p310` in {p310.wins}"]
    text += [f"by {p132.mean_difference:+.2f} and {p220.mean_difference:+.2f} points"]
    interval = f"[{p310.low:+.2f}, {p310.high:+.2f}]".replace("-", "−")
    text += [f"by {p310.mean_difference:+.2f} {interval}, which is not significant"]
    shown = prose("04").split("\n## On people's data")[1].split("\n## ")[0]
    assert not [words for words in text if words not in shown]
