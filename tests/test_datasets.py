"""OSIE, Scene and BIQ2021 through their loaders: small trees in their layout, and the real ones."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from lib import data, models
from lib.data.biq2021 import BIQ2021
from lib.data.osie import OSIE
from lib.data.scene import Scene
from lib.metrics import nss

RNG = np.random.default_rng(0)


def photograph(path, size=(8, 8)):
    Image.fromarray(RNG.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path, "JPEG")


@pytest.fixture
def biq(tmp_path):
    (tmp_path / "Images").mkdir()
    for name in ("ss01 (1).jpg", "ss02 (1014).JPG", "ss03 (2).jpg"):
        photograph(tmp_path / "Images" / name)
    rows = "Image Name,MOS,,\nss03 (2).jpg,0.9,,\nss02 (1014).jpg,0.25,,\n"
    (tmp_path / "Train (Images and MOS).csv").write_text(rows)
    (tmp_path / "Test (Images and MOS).csv").write_text("Image Name,MOS\nss01 (1).jpg,0.4\n")
    return tmp_path


def test_biq2021_reads_scores_and_forgives_the_case_of_a_file_name(biq):
    train, path = BIQ2021(biq, "train"), biq / "Train (Images and MOS).csv"
    assert train.names == ["ss02 (1014).jpg", "ss03 (2).jpg"]
    record = train[0]
    assert record.mos == 0.25 and record.mos_range == (0, 1) and record.image.shape == (8, 8, 3)
    assert BIQ2021(biq, "test")[0].mos == 0.4
    path.write_text(path.read_text().replace("0.9", "0.8"))
    assert BIQ2021(biq, "train").fingerprint != train.fingerprint
    with pytest.raises(ValueError, match="split must be one of"):
        BIQ2021(biq, "val")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("Image Name,MOS\nss03 (2).jpg,1.7\n", r"'ss03 \(2\).jpg' once, from 0 to 1"),
        ("Image Name,MOS\nss03 (2).jpg,\n", "line 2: no MOS"),
        ("Image Name,MOS\na.jpg,0.1\nA.JPG,0.2\n", "line 3: must score 'A.JPG' once, from 0 to 1"),
        ("name,score\na,1\n", "must have the columns"),
    ],
)
def test_biq2021_bad_scores_are_one_clear_error(biq, rows, message):
    (biq / "Train (Images and MOS).csv").write_text(rows)
    with pytest.raises(ValueError, match=message):
        BIQ2021(biq, "train")


def test_missing_data_sets_say_how_to_get_them(biq, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    for name in ("osie", "scene", "biq2021", "sacid"):
        with pytest.raises(FileNotFoundError, match=rf"{name}/.* `make data PROFILE=open`"):
            data.load(name)
    (biq / "Images" / "ss01 (1).jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"ss01 \(1\)\.jpg is not there; run `make data"):
        BIQ2021(biq, "test")
    with pytest.raises(ValueError, match="unknown data set 'oise'"):
        data.load("oise")
    with pytest.raises(ValueError, match=r"osie: .*'sigmas'; its options: sigma, long_side"):
        data.load("osie", sigmas=3)
    with pytest.raises(ValueError, match=r"simulated-sacid: .*'votes'; its options: ref"):
        data.load("simulated-sacid", votes=3)


def write_osie(root, viewers, trials=1, **options):
    (root / "stimuli").mkdir()
    photograph(root / "stimuli" / "1001.jpg", (60, 80))
    subjects = np.zeros(len(viewers), dtype=[("fix_x", "O"), ("fix_y", "O"), ("fix_duration", "O")])
    for row, (x, y) in zip(subjects, viewers, strict=True):
        row["fix_x"], row["fix_y"], row["fix_duration"] = x, y, 200.0
    trial = np.zeros(trials, dtype=[("img", "O"), ("subjects", "O")])
    for row in trial:
        row["img"], row["subjects"] = "1001.jpg", subjects
    savemat(root / "fixations.mat", {"fixations": trial}, **options)


def test_osie_collects_all_viewers_and_drops_gaze_outside_the_frame(tmp_path):
    write_osie(tmp_path, [([10.5, 70.0], [20.0, 30.0]), (5.0, 6.0), ([90.0], [10.0])])
    record = OSIE(tmp_path, sigma=3)[0]
    assert record.fixations.tolist() == [[10.5, 20.0], [70.0, 30.0], [5.0, 6.0]]
    assert record.density.shape == (60, 80)
    assert record.density.sum() == pytest.approx(1, abs=1e-5)


def test_osie_reduced_scales_image_fixations_and_density_together(tmp_path):
    write_osie(tmp_path, [([40.0], [30.0])])
    record = OSIE(tmp_path, sigma=4, long_side=40)[0]
    assert record.image.shape == (30, 40, 3) and record.fixations.tolist() == [[20.0, 15.0]]
    peak = np.unravel_index(record.density.argmax(), record.density.shape)
    assert np.abs(np.array(peak) - (15, 20)).max() <= 1


DAMAGED = {
    "cut": lambda raw: raw[: len(raw) // 2],
    "byte flipped": lambda raw: raw[:-50] + bytes([raw[-50] ^ 255]) + raw[-49:],
    "empty": lambda raw: b"",
    "64 bytes": lambda raw: raw[:64],
    "pointer": lambda raw: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "web page": lambda raw: b"<html>404</html>" * 20,
    "HDF5": lambda raw: b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF" * 99,
    "other keys": lambda raw: raw.replace(b"fixations", b"fixation2"),
    "crashes SciPy": lambda raw: raw[:448] + b"\x40" + raw[449:],
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_osie_names_a_damaged_file(tmp_path, kind):
    plain = kind in ("other keys", "crashes SciPy")
    viewers = [([10.5, 70.0], [20.0, 30.0]), (5.0, 6.0)]
    write_osie(tmp_path, viewers, do_compression=not plain)
    mat = tmp_path / "fixations.mat"
    mat.write_bytes(DAMAGED[kind](mat.read_bytes()))
    with pytest.raises(ValueError, match=r"fixations\.mat is not OSIE's \(.+\); download it again"):
        OSIE(tmp_path)


def test_osie_joins_trials_of_one_image_and_names_an_image_that_nobody_looked_at(tmp_path):
    write_osie(tmp_path, [([10.0], [20.0])], trials=2)
    assert OSIE(tmp_path)[0].fixations.tolist() == [[10, 20], [10, 20]]
    for number, gaze in enumerate([([], []), ([900.0], [10.0]), (np.nan, 1.0)]):
        (tmp_path / str(number)).mkdir()
        write_osie(tmp_path / str(number), [gaze])
        with pytest.raises(ValueError, match=r"1001\.jpg: fixations: none of the [01] lies inside"):
            OSIE(tmp_path / str(number))[0]


def write_scene(root, *viewers):
    """Two pictures, wide and tall, and the gaze of viewers on the first: rows of y, x, times."""
    (root / "stimuli").mkdir()
    photograph(root / "stimuli" / "001.jpg", (40, 80))
    photograph(root / "stimuli" / "002.jpg", (60, 30))
    gaze = np.empty((2, len(viewers)), object)
    gaze[0] = [np.empty((0, 0)) if v is None else np.array(v, float) for v in viewers]
    gaze[1] = [np.array([[50.0, 10.0, 0.2, 0.1]])] * len(viewers)
    savemat(root / "fixations.mat", {"fixations": gaze}, do_compression=True)


def test_scene_is_row_then_column_and_some_viewers_saw_nothing(tmp_path):
    write_scene(tmp_path, [[5.0, 70.0, 0.3, 0.1], [39.0, 2.5, 0.5, 0.2]], None)
    wide, tall = Scene(tmp_path)
    assert wide.fixations.tolist() == [[70, 5], [2.5, 39]]
    assert tall.fixations.tolist() == [[10, 50]] * 2
    assert wide.density[5, 70] > 100 * wide.density[5, 10]
    np.testing.assert_allclose(Scene(tmp_path, long_side=40)[1].fixations, [[20 / 3, 100 / 3]] * 2)
    photograph(tmp_path / "stimuli" / "003.jpg")
    with pytest.raises(ValueError, match=r"not Scene's \(2 rows for 3 pictures"):
        Scene(tmp_path)


@pytest.mark.data
def test_real_scene_read_the_wrong_way_round_is_worse_than_another_pictures_gaze(real_data):
    real_data("scene")
    scene, predict = data.load("scene"), models.load("dual-task").predict
    records = [r for r in map(scene.__getitem__, range(60)) if r.image.shape == (256, 256, 3)]
    maps = [predict(record.image)[1] for record in records]
    gaze = [record.fixations for record in records]
    right, swapped, others = (
        np.mean([nss(each, xy) for each, xy in zip(maps, found, strict=True)])
        for found in (gaze, [xy[:, ::-1] for xy in gaze], gaze[1:] + gaze[:1])
    )
    assert len(scene) == 500 and len(records) > 20
    assert right > 1.1 > 0.9 > others > swapped


def assert_contract(name):
    """Every data set yields the same records, the same each time it is opened."""
    dataset = data.load(name)
    assert len(set(dataset.names)) == len(dataset) == len(dataset.contents)
    assert data.load(name).fingerprint == dataset.fingerprint and dataset.kind
    for record in (dataset[0], dataset[len(dataset) - 1], dataset[-1]):
        assert record.image.dtype == np.uint8 and record.image.ndim == 3
        if record.density is not None:
            assert record.density.shape == record.image.shape[:2]
            assert record.density.sum() == pytest.approx(1, abs=1e-4)
            inside = (record.fixations >= 0) & (record.fixations < record.image.shape[1::-1])
            assert inside.all() and len(record.fixations) > 10
        else:
            assert record.mos_range[0] <= record.mos <= record.mos_range[1]


@pytest.mark.parametrize("name", [n for n in data.names() if n.startswith("sample")])
def test_records_of_every_data_set_at_hand_keep_the_contract(name):
    assert_contract(name)


@pytest.mark.data
def test_real_osie_is_whole(real_data):
    real_data("osie")
    osie = data.load("osie")
    assert len(osie) == 700
    assert osie[0].image.shape == (600, 800, 3) and len(osie[0].fixations) > 50


@pytest.mark.data
def test_real_biq2021_splits_share_no_photograph(real_data):
    real_data("biq2021")
    train, test = data.load("biq2021", split="train"), data.load("biq2021", split="test")
    assert not set(train.names) & set(test.names)
    assert len(train) >= 4000 and len(test) >= 1000 and train[0].image.shape == (512, 512, 3)
