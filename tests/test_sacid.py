"""SACID's layout, written by the builder and read by the loader, with whatever may happen to it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.data import astronaut, chelsea, coffee

from lib import codec
from lib.codec import Codec, psnr
from lib.data import load, sacid
from lib.images import read_image
from lib.records import Dataset, Record
from lib.data.sacid import (
    SACID,
    TEST_CASES,
    build,
    main,
    quality_by_region,
    rate_summary,
    read_scores,
    region_gains,
)
from lib.data.simulated_sacid import seen_psnr
from lib.metrics import plcc
from lib.sacid_figures import crop_places

ROOT = Path(__file__).resolve().parent.parent


def middle(image):
    """A map for the builder: saliency falls off from the middle."""
    y, x = (np.linspace(-1, 1, side) for side in image.shape[:2])
    return np.exp(-2 * (y[:, None] ** 2 + x[None, :] ** 2))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with a picture of each awkward kind."""
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(coffee()[100:229, 200:373]).save(folder / "odd.png")
    Image.fromarray(astronaut()[:160, 150:310]).convert("L").save(folder / "gray.png")
    Image.fromarray(chelsea()[:144, :176]).convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn: the file is landscape, the picture portrait
    Image.fromarray(coffee()[:128, :192]).save(folder / "turned.jpg", exif=turned, quality=95)
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def built(pictures, tmp_path_factory):
    root = tmp_path_factory.mktemp("built")
    return root, build(pictures, root, middle)


def contents(root):
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and not p.relative_to(root).parts[0].startswith(".")
    }


# --- the builder ------------------------------------------------------------------------------


def test_the_layout_is_sacids(built):
    root, manifest = built
    names = ["cmyk", "gray", "odd", "turned"]
    expected = {f"{kind}/{n}.png" for kind in ("reference", "saliency") for n in names}
    expected |= {f"compressed/{n}/{case}.jpg" for n in names for case in TEST_CASES}
    assert set(contents(root)) == expected | {"manifest.csv"}
    assert "h264v@targetbbp100=8_preset=p132" in TEST_CASES and len(TEST_CASES) == 12
    assert list(manifest.sequence.unique()) == names
    assert list(manifest.test_case[:12]) == list(TEST_CASES)


def test_pictures_of_any_kind_are_read_as_they_are_seen(built, pictures):
    root, _ = built
    assert read_image(root / "reference/turned.png").shape == (192, 128, 3)
    gray = read_image(root / "reference/gray.png")
    assert np.array_equal(gray[..., 0], gray[..., 2])
    for name in ("cmyk.jpg", "odd.png"):
        reference = read_image(root / "reference" / Path(name).with_suffix(".png"))
        assert np.array_equal(reference, read_image(pictures / name))
    with Image.open(root / "saliency/odd.png") as saliency:
        assert saliency.mode == "L" and saliency.size == (173, 129)
        assert np.asarray(saliency).max() == 255


def test_the_manifest_holds_what_was_reached(built):
    root, manifest = built
    stored = pd.read_csv(root / "manifest.csv", keep_default_na=False, na_values=[""])
    assert list(stored) == list(manifest)
    met = manifest[manifest.reachable]
    assert (abs(met.bpp / met.target_bpp - 1) <= 0.02 + 1e-6).all() and len(met) > 40
    assert (manifest.reason[~manifest.reachable] != "").all()
    odd = manifest[manifest.sequence == "odd"]
    assert np.allclose(odd.bpp, 8 * odd.bytes / (129 * 173), atol=1e-6)
    aware = manifest[manifest.preset != "none"]
    wanted = aware.preset.map({n: p.bitrate / 100 for n, p in codec.PRESETS.items() if p})
    assert abs(aware.share - wanted).max() < 0.015  # a hundred macroblocks: coarse steps
    assert manifest.share[manifest.preset == "none"].isna().all()


def test_the_jpeg_adds_no_visible_loss(built):
    root, manifest = built
    image = read_image(root / "reference/odd.png")
    saliency = read_image(root / "saliency/odd.png")[..., 0]
    for row in manifest[manifest.sequence == "odd"].itertuples():
        decoded = Codec(image, saliency).encode(row.preset, row.target_bpp).image
        jpeg = read_image(root / "compressed/odd" / f"{row.test_case}.jpg")
        assert psnr(decoded, jpeg) > 44
        assert abs(psnr(image, jpeg) - psnr(image, decoded)) < 0.1


def test_a_rerun_makes_nothing_again_and_another_map_makes_everything(
    built, pictures, tmp_path, monkeypatch
):
    root, manifest = built
    before = contents(root)
    calls = []
    encode = Codec.encode
    monkeypatch.setattr(Codec, "encode", lambda *a: calls.append(a) or encode(*a))
    pd.testing.assert_frame_equal(build(pictures, root, middle), manifest)
    assert not calls and contents(root) == before
    some = {"bitrates": [0.12], "presets": ["p220"]}
    build(pictures, tmp_path, middle, **some)
    assert len(calls) == 4
    build(pictures, tmp_path, lambda image: middle(image)[::-1] ** 2, **some)
    assert len(calls) == 8


@pytest.mark.parametrize(
    "path",
    [
        "compressed/odd/h264v@targetbbp100=12_preset=p220.jpg",
        "reference/odd.png",
        "saliency/odd.png",
        ".parts/odd.json",
    ],
)
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_sequence_is_made_again(built, pictures, path, damage, monkeypatch):
    root, _ = built
    before, calls, encode = contents(root), [], Codec.encode
    file = root / path
    file.unlink() if damage == "missing" else file.write_bytes(file.read_bytes()[:100])
    monkeypatch.setattr(Codec, "encode", lambda *a: calls.append(a) or encode(*a))
    build(pictures, root, middle)
    assert contents(root) == before and len(calls) == 12


@pytest.mark.parametrize("written", [0, 1, 5, 14, 30])
def test_a_builder_that_dies_anywhere_ends_the_same(
    built, pictures, written, tmp_path, monkeypatch
):
    whole, left = sacid.write_atomically, iter(range(written))

    def dies(path, write):
        if next(left, None) is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / f".abcd_123{path.suffix}").write_bytes(b"half")  # as SIGKILL leaves it
            raise KeyboardInterrupt
        whole(path, write)

    with monkeypatch.context() as patch:
        patch.setattr(sacid, "write_atomically", dies)
        with pytest.raises(KeyboardInterrupt):
            build(pictures, tmp_path, middle)
    assert not (tmp_path / "manifest.csv").exists()
    for path in tmp_path.rglob("[a-z]*.*g"):
        read_image(path)  # whole
    build(pictures, tmp_path, middle)
    assert contents(tmp_path) == contents(built[0])
    assert not list(tmp_path.rglob(".abcd*"))


def test_a_killed_process_ends_the_same(built, pictures, tmp_path):
    script = (
        "from pathlib import Path; from lib.data.sacid import build; "
        "from tests.test_sacid import middle; "
        f"build(Path({str(pictures)!r}), Path({str(tmp_path)!r}), middle)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(tmp_path.glob("compressed/*/*.jpg"))) > 15:
            break
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    build(pictures, tmp_path, middle)
    assert contents(tmp_path) == contents(built[0])


@pytest.mark.slow
def test_two_processes_write_the_same_files(built, pictures, tmp_path):
    build(pictures, tmp_path, middle, jobs=2)
    assert contents(tmp_path) == contents(built[0])


class Records(Dataset):
    name, kind, fingerprint = "records", "test", "f"

    def __init__(self, *names):
        self.names = list(names)

    def __getitem__(self, index):
        return Record(self.names[index], coffee()[:64, :64])


def test_records_are_as_good_as_a_folder_and_the_predictor_is_the_default(tmp_path):
    manifest = build(Records("1001.jpg"), tmp_path, bitrates=[0.5], presets=["p220"])
    assert list(manifest.sequence) == ["1001"]
    saliency = read_image(tmp_path / "saliency/1001.png")
    assert saliency.max() == 255 and np.ptp(saliency) > 50
    assert (tmp_path / "compressed/1001/h264v@targetbbp100=50_preset=p220.jpg").is_file()


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["a/b"], {}, "can't name a sequence"),
        ([".a"], {}, "can't name a sequence"),
        (["a.png", "a.jpg"], {}, "can't name a sequence"),
        (["a"], {"presets": ["p1"]}, "unknown presets"),
        (["a"], {"bitrates": [0.125]}, "whole hundredths"),
        (["a"], {"bitrates": [0.0]}, "whole hundredths"),
        (["a"], {"saliency": lambda image: np.ones((3, 3))}, r"a: the saliency map is \(3, 3\)"),
        (["a"], {"saliency": lambda image: np.full((64, 64), np.nan)}, "a: .* NaN"),
    ],
)
def test_what_the_builder_cannot_do_is_refused(names, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        build(Records(*names), tmp_path, **{"saliency": middle, **options})


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    with pytest.raises(FileNotFoundError, match="no picture in"):
        build(tmp_path, tmp_path / "out", middle)
    (tmp_path / "compressed" / "other").mkdir(parents=True)
    with pytest.raises(ValueError, match="not among the references, 'other' first"):
        build(Records("a"), tmp_path, middle)
    (tmp_path / "moses.csv").write_text("")
    with pytest.raises(ValueError, match="holds the published SACID"):
        build(Records("other"), tmp_path, middle)


# --- the loader -------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path):
    """Two sequences in the published layout: rows in another order, a small saliency map."""
    rows = []
    for number, sequence in enumerate(["zoo-x_1", "ant-y_2"]):
        for place, case in enumerate(TEST_CASES):
            path = tmp_path / "compressed" / sequence / f"{case}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((40, 60, 3), 20 * place + number, np.uint8)).save(path)
            rows.append((sequence, case, place / 4))
        for kind, size in (("reference", (60, 40)), ("saliency", (30, 20))):
            (tmp_path / kind).mkdir(exist_ok=True)
            picture = Image.new("L" if kind == "saliency" else "RGB", size, 51)
            picture.save(tmp_path / kind / f"{sequence}.png")
    table = pd.DataFrame(rows, columns=["sequence", "test_case", "subjective_score"])
    table.iloc[::-1].to_csv(tmp_path / "moses.csv", index=False)
    return tmp_path


def test_the_published_layout_is_read(published):
    dataset = SACID(published)
    assert len(dataset) == 24 and dataset.sequences == ["ant-y_2", "zoo-x_1"]
    assert dataset.names[1] == "ant-y_2/h264v@targetbbp100=8_preset=p132"
    record = dataset[13]
    assert record.name == f"zoo-x_1/{TEST_CASES[1]}" and record.mos == 0.25
    assert record.image.shape == (40, 60, 3) and abs(int(record.image[0, 0, 0]) - 20) < 3
    assert dataset[-1].mos == 11 / 4 and "human" in dataset.kind
    assert dataset.reference("ant-y_2").shape == (40, 60, 3)
    saliency = dataset.saliency_map("ant-y_2")
    assert saliency.shape == (40, 60) and saliency.dtype == np.float32
    assert saliency == pytest.approx(0.2)
    with pytest.raises(KeyError, match="no sequence 'bee'"):
        dataset.reference("bee")
    with pytest.raises(IndexError):
        dataset[24]


def test_the_fingerprint_follows_scores_and_files(published):
    first = SACID(published).fingerprint
    assert SACID(published).fingerprint == first
    moses = published / "moses.csv"
    moses.write_text(moses.read_text().replace("0.25", "0.35"))
    second = SACID(published).fingerprint
    Image.new("RGB", (60, 41), 51).save(published / "reference/ant-y_2.png")
    assert len({first, second, SACID(published).fingerprint}) == 3


@pytest.mark.parametrize(
    "path",
    ["reference/zoo-x_1.png", "saliency/zoo-x_1.png", f"compressed/zoo-x_1/{TEST_CASES[4]}.jpg"],
)
def test_a_missing_file_is_named_with_the_mend(published, path):
    (published / path).unlink()
    with pytest.raises(FileNotFoundError, match="make data PROFILE=open") as caught:
        SACID(published)
    assert path in str(caught.value) and "1 of 28 files are missing" in str(caught.value)


def test_a_cut_picture_is_named_when_it_is_read(published):
    path = published / "compressed" / "ant-y_2" / f"{TEST_CASES[0]}.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"preset=none\.jpg is not a readable image"):
        SACID(published)[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("subjective_score", "score2", "columns must be"),
        (
            "ant-y_2,h264v@targetbbp100=8_preset=none,0.0\n",
            "",
            "ant-y_2 .* look at .*8_preset=none",
        ),
        ("preset=p310,0.75", "preset=p310,", "no finite score for .* h264v@.*=8_preset=p310"),
        ("preset=p310,0.75", "preset=p310,inf", "no finite score for"),
        ("preset=p310,0.75", "preset=p310,good", "no finite score for"),
        ("targetbbp100=8_preset=none", "targetbbp100=9_preset=none", "look at .*100=9_preset=none"),
        ("preset=p132,0.25", "preset=p220,0.25", "look at .*=8_preset=p220"),
    ],
)
def test_a_wrong_table_is_refused(published, old, new, message):
    moses = published / "moses.csv"
    text = moses.read_text()
    assert old in text
    moses.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message) as caught:
        SACID(published)
    assert str(moses) in str(caught.value)


def test_the_published_scores_are_720_in_the_published_layout():
    scores = read_scores()
    assert len(scores) == 720 and scores.sequence.nunique() == 60
    assert set(scores.bpp) == {0.08, 0.12, 0.16} and set(scores.preset) == set(codec.PRESETS)


def test_without_any_folder_the_way_to_get_it_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="make data PROFILE=open"):
        SACID(tmp_path / "sacid")
    (tmp_path / "compressed").mkdir()
    with pytest.raises(ValueError, match="holds no test case"):
        SACID(tmp_path)


def test_without_scores_there_are_pictures_alone(published):
    (published / "moses.csv").unlink()
    dataset = SACID(published)
    assert len(dataset) == 24 and dataset[0].mos is None and dataset.kind == "no scores"


def test_the_loader_reads_what_the_builder_wrote(built):
    root, manifest = built
    dataset = SACID(root)
    assert len(dataset) == len(manifest) == 48 and dataset.kind == "no scores"
    assert dataset[0].name == f"cmyk/{TEST_CASES[0]}"
    assert dataset.saliency_map("turned").shape == dataset.reference("turned").shape[:2]
    assert dataset[0].image.shape == dataset.reference("cmyk").shape


# --- what a tree holds ------------------------------------------------------------------------


def test_bits_move_quality_into_the_salient_part(built):
    quality = quality_by_region(SACID(built[0]))
    assert len(quality) == 48 and set(quality.preset) == set(codec.PRESETS)
    # The whole lies between its parts.
    parts = quality[["inside", "outside"]]
    assert ((parts.min(axis=1) <= quality.whole) & (quality.whole <= parts.max(axis=1))).all()
    gains = region_gains(quality).set_index(["region", "preset"])
    assert (gains.loc["inside", "gain"]["p220"] > 0).all()
    assert (gains.loc["outside", "gain"]["p220"] < 0).all()


def test_gains_are_differences_from_the_plain_codec():
    rows = [("a", "none", 0.08, 20.0, 21.0, 19.0), ("a", "p220", 0.08, 19.5, 24.0, 18.0)]
    columns = ["sequence", "preset", "bpp", "whole", "inside", "outside"]
    twice = pd.DataFrame(rows + [("b", *row[1:]) for row in rows], columns=columns)
    gains = region_gains(twice).set_index("region")
    assert gains.gain.to_dict() == {"inside": 3, "outside": -1, "whole": -0.5}
    assert gains.up.to_dict() == {"inside": 2, "outside": 0, "whole": 0} and (gains.n == 2).all()


def test_the_rate_summary_counts_what_was_met(built):
    summary = rate_summary(built[1])
    assert len(summary) == 12 and (summary.n == 4).all()
    assert summary.met.sum() == built[1].reachable.sum()
    assert (summary.worst.dropna() <= 2.001).all()
    assert summary.share[summary.preset == "p220"].to_numpy() == pytest.approx(0.8, abs=0.02)


def test_one_command_builds_a_folder(pictures, tmp_path, capsys):
    options = ["--bitrates", "0.12", "--presets", "none", "p220"]
    assert main([str(pictures), str(tmp_path / "out"), *options]) == 0
    assert "8 pictures of 4 sequences" in capsys.readouterr().out
    assert len(list((tmp_path / "out/compressed").rglob("*.jpg"))) == 8
    assert main([str(tmp_path / "out/saliency/none"), str(tmp_path / "other")]) == 1
    assert "error: no picture in" in capsys.readouterr().err


# --- simulated scores -------------------------------------------------------------------------


def test_simulated_assessors_see_errors_where_people_look():
    image = np.full((10, 10, 3), 100, np.uint8)
    worse, density = image.copy(), np.zeros((10, 10))
    worse[:5] += 10
    density[:5] = 1 / 50
    # Errors of 100: half of the picture, and all of what people look at.
    assert seen_psnr(image, worse, density) == pytest.approx(10 * np.log10(255**2 / 75))
    assert seen_psnr(image, worse, density[::-1]) == pytest.approx(10 * np.log10(255**2 / 25))
    assert np.isfinite(seen_psnr(image, image, density))


def test_a_simulated_sacid_has_scores_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE_DIR", str(tmp_path))
    some = {"images": 2, "votes_per_pair": 20, "assessors": 100}
    sacid = load("simulated-sacid", **some)
    assert len(sacid) == 24 and "simulated" in sacid.kind
    assert (sacid.table.groupby("sequence").score.min() == 0).all()
    assert sacid[3].mos == sacid.table.score[3]
    found = sacid.table.pivot(index="sequence", columns="test_case", values="score")
    truth = sacid.utilities.loc[found.index, found.columns]
    assert all(plcc(a, b) > 0.95 for a, b in zip(found.to_numpy(), truth.to_numpy(), strict=True))
    again, other = load("simulated-sacid", **some), load("simulated-sacid", seed=1, **some)
    assert again.fingerprint == sacid.fingerprint != other.fingerprint
    with pytest.raises(ValueError, match="no fixation densities"):
        load("simulated-sacid", references="sample-quality", images=1)


def test_crops_lie_where_a_preset_gains_and_loses_most():
    reference = np.zeros((64, 96, 3), np.uint8)
    plain, aware, saliency = reference.copy(), reference.copy(), np.zeros((64, 96))
    saliency[:32, :48] = 1
    plain[10:20, 20:30] = 50  # the plain codec errs in the salient part
    aware[40:50, 70:80] = 50
    places = crop_places(reference, plain, aware, saliency)
    (y, x), (v, u) = places["gains most"], places["loses most"]
    assert y.stop - y.start == 16 and y.start <= 10 and y.stop >= 20 and x.start <= 20 <= x.stop
    assert v.start <= 40 and v.stop >= 50 and u.start <= 70 and u.stop >= 80


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (20, 20)])
def test_crops_exist_in_any_picture(shape):
    picture = np.zeros((*shape, 3), np.uint8)
    for place in crop_places(picture, picture, picture, np.ones(shape)).values():
        assert picture[place].size
