"""The paper's data sets: small trees in the true layout, and how the true ones get here."""

import contextlib
import hashlib
import importlib.util
import io
import re
import sys
import tarfile
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pooch
import pytest
import yaml
from scipy.ndimage import gaussian_filter

from lib import data
from lib.__main__ import main
from lib.data import cat2000, checkpoints, clive, koniq, sacid, salicon
from lib.data.download import DownloadError
from tests.paper_trees import (
    NOBODY,
    WRITE,
    picture,
    write_cat2000,
    write_clive,
    write_koniq,
    write_salicon,
)
from tests.test_datasets import assert_contract
from tests.test_download import server  # noqa: F401 (a fixture)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.mark.parametrize("name", WRITE)
def test_records_of_the_papers_sets_keep_the_contract(name, folder):
    WRITE[name](folder / name)
    assert_contract(name)
    assert data.load(name).names == sorted(data.load(name).names)


@pytest.mark.parametrize("name", WRITE)
def test_a_set_that_is_not_here_says_how_to_get_it(name, folder):
    with pytest.raises(FileNotFoundError, match=rf"{name}/.* `make data PROFILE=paper`"):
        data.load(name)


LOST = {"salicon": "fixations/val/COCO_val2014_000000000042.mat"}
LOST |= {"cat2000": "FIXATIONLOCS/Satelite/001.mat", "koniq": "koniq10k/1024x768/b.jpg"}


@pytest.mark.parametrize(("name", "lost"), (LOST | {"clive": "LIVEC/Images/1000.JPG"}).items())
def test_a_file_that_is_missing_is_named_when_the_set_is_opened(name, lost, folder):
    WRITE[name](folder / name)
    (folder / name / lost).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{lost} is not there; run `make data PROFILE=pa"):
        data.load(name)


@pytest.mark.parametrize("content", [b"<html>404</html>" * 20, None], ids=["web page", "cut short"])
@pytest.mark.parametrize("name", ["salicon", "cat2000"])
def test_a_damaged_mat_file_is_one_sentence(name, content, folder):
    WRITE[name](folder / name)
    for mat in (folder / name).rglob("*.mat"):
        mat.write_bytes(content or mat.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"\.mat is not (SALICON|CAT2000)'s .*download it again"):
        data.load(name)[0]


def test_salicon_counts_pixels_from_one_and_takes_fixations_not_the_mouse(folder):
    write_salicon(folder / "salicon", [[[1, 1], [640, 480]], NOBODY, [[641, 7], [0, 7]]])
    record = data.load("salicon")[0]
    assert record.fixations.tolist() == [[0, 0], [639, 479]], "two leave the frame, none wraps"


def test_salicons_splits_are_two_and_share_nothing(folder):
    write_salicon(folder / "salicon")
    val, train = data.load("salicon"), data.load("salicon", split="train")
    assert val.names == [f"COCO_val2014_0000000{n}.jpg" for n in ("00042", "00133")]
    assert train.names == ["COCO_train2014_000000000009.jpg"] and len(train[0].fixations) == 13
    with pytest.raises(ValueError, match="split must be one of"):
        data.load("salicon", split="test")


def test_a_salicon_density_is_the_authors_own_blur(folder):
    write_salicon(folder / "salicon", [[[200, 150], [320, 240], [450, 300]]])
    record, fixated = data.load("salicon")[0], np.zeros((480, 640))
    fixated[tuple(record.fixations.T.astype(int)[::-1])] = 1
    theirs = gaussian_filter(fixated, 19)  # salicon-api: ndimage, sigma=19
    np.testing.assert_allclose(record.density, theirs / theirs.sum(), atol=2e-3 * theirs.max())


def test_cat2000_leaves_output_folders_out_and_reads_a_picture_of_fixations(folder):
    write_cat2000(folder / "cat2000", [(1919, 1079), (0, 0), (1919, 1079), (5, 7)])
    images = data.load("cat2000")
    assert images.names == ["Action/002.jpg", "Action/010.jpg", "Satelite/001.jpg"]
    assert images[0].fixations.tolist() == [[0, 0], [5, 7], [1919, 1079]], "x, y; last one inside"


def test_cat2000s_width_is_mits_cut_off_of_eight_cycles():
    frequency = 8 / 2048  # cycles a pixel, at which a Gaussian of this width passes one half
    assert np.exp(-2 * (np.pi * cat2000.SIGMA * frequency) ** 2) == pytest.approx(0.5, abs=1e-3)


def test_cat2000_refuses_fixations_of_another_picture(folder):
    write_cat2000(folder / "cat2000")
    picture(folder / "cat2000" / "Stimuli" / "Action" / "002.jpg", (1080, 1920))
    with pytest.raises(ValueError, match=r"002\.mat is not CAT2000's \(fixLocs is \(1080, 1920\),"):
        data.load("cat2000")[0]


@pytest.mark.parametrize(("name", "wide"), [("salicon", 640), ("cat2000", 1920)])
def test_reduced_records_keep_the_place_of_every_fixation(name, wide, folder):
    WRITE[name](folder / name)
    whole, small = data.load(name)[0], data.load(name, long_side=wide // 8)[0]
    np.testing.assert_allclose(small.fixations * 8, whole.fixations)
    assert (
        small.density.shape == small.image.shape[:2] == tuple(n // 8 for n in whole.image.shape[:2])
    )
    assert data.load(name, long_side=wide // 8).fingerprint != data.load(name).fingerprint


def test_mos_is_higher_for_better_on_pyiqas_scale(folder):
    package = Path(importlib.util.find_spec("pyiqa").origin).parent
    configs = yaml.safe_load((package / "default_dataset_configs.yml").read_text())
    for name, theirs in {"koniq": "koniq10k-1024", "clive": "livec"}.items():
        WRITE[name](folder / name)
        ours, config = data.load(name)[0], configs[theirs]
        assert list(ours.mos_range) == config["mos_range"] and not config["lower_better"]
        source = sys.modules[f"lib.data.{name}"].SOURCE
        for path in (config["meta_info_file"], config["dataroot_target"]):
            assert any(path.removeprefix("./datasets/").startswith(f) for f in source.files), path


def test_koniq_has_an_official_split_and_two_sizes(folder):
    write_koniq(folder / "koniq")
    every, train = data.load("koniq"), data.load("koniq", split="train", size="512x384")
    assert (every.names, train.names) == (["a.jpg", "b.jpg", "c.jpg"], ["b.jpg", "c.jpg"])
    assert every[1].image.shape == (768, 1024, 3) and train[0].image.shape == (384, 512, 3)
    assert every[1].mos == train[0].mos == 77.4 and every.fingerprint != train.fingerprint
    with pytest.raises(ValueError, match="no part 'train' at '224x224'"):
        data.load("koniq", split="train", size="224x224")


@pytest.mark.parametrize(
    ("mos", "split", "message"),
    [
        (4.1, "official_split", "score to 100, not to 5"),
        (101, "official_split", "score 'a.jpg' once, from 0 to 100"),
        (50, "split", "have the columns img_name, official_split, mos"),
    ],
)
def test_a_table_that_is_not_pyiqas_is_refused(mos, split, message, folder):
    write_koniq(folder / "koniq", [("a.jpg", mos, "test")], f"img_name,mos,{split}")
    with pytest.raises(ValueError, match=f"meta_info_KonIQ10kDataset.csv.* must {message}"):
        data.load("koniq")


@pytest.mark.parametrize("prefix", ["", "Images/"], ids=["bare names", "names with folders"])
def test_clive_leaves_out_the_seven_pictures_that_trained_people(prefix, folder):
    write_clive(folder / "clive", prefix)
    photographs = data.load("clive")
    assert photographs.names == ["100.bmp", "1000.JPG"]
    assert photographs[0].mos == pytest.approx(7 + 3.42), "each keeps its own score"


def zipped(root, top, extra=()):
    """Pack a tree as its publisher does, below `top`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(p for p in root.rglob("*") if p.is_file()):
            archive.write(path, top + path.relative_to(root).as_posix())
        for name in extra:
            archive.writestr(name, b"not wanted")
    return buffer.getvalue()


def tarred(path, folder):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)


class Hub:
    """A hub for pyiqa: `snapshot_download` puts true archives of small trees where it is told."""

    def __init__(self, published):
        self.published, self.fail, self.cut = published, {}, ()

    def __call__(self, repo, repo_type, local_dir, allow_patterns=None):
        if error := self.fail.get(allow_patterns):
            raise error
        target = Path(local_dir)
        target.mkdir(parents=True, exist_ok=True)
        if repo.endswith("-metainfo"):
            for meta in self.published.glob("*/meta_info/*.csv"):
                (target / meta.name).write_bytes(meta.read_bytes())
        else:
            name = {"koniq10k.tgz": "koniq/koniq10k", "live_challenge.tgz": "clive/LIVEC"}
            packed = target / allow_patterns
            tarred(packed, self.published / name[allow_patterns])
            if allow_patterns in self.cut:
                packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])


# A frozen graph may begin so, and is no web page; SGDNet's file is Keras', without a hash.
GRAPH, KERAS = b"\n<" + bytes(range(200)), b"\x89HDF\r\n\x1a\n" + bytes(200)


def shrunk(source, root):
    """Let a source expect what the small tree has, counted by its own patterns."""
    counts = {}
    for pattern, (_, size) in source.counts.items():
        fit = [path for path in root.glob(pattern) if path.parent.name != "Output"]
        assert fit, "each pattern fits the true layout"
        counts[pattern] = len(fit), size
    return replace(source, counts=counts)


@pytest.fixture
def world(server, tmp_path, monkeypatch):  # noqa: F811
    """Publish small sets as the true ones are; answers by path are the test's to spoil."""
    published, pages = tmp_path / "published", {}
    for name, write in WRITE.items():
        write(published / name)
    archives = {
        "images.zip": zipped(published / "salicon" / "images", "images/", ["__MACOSX/train/._a"]),
        "fixations.zip": zipped(published / "salicon" / "fixations", ""),
        "trainSet.zip": zipped(published / "cat2000", "trainSet/", ["trainSet/allFixData.mat"]),
    }

    def local(source, root, archive):
        body = archives[archive]
        pages[f"/{archive}"] = (200, body, None)
        url = f"http://127.0.0.1:{server.server_port}/{archive}"
        return replace(shrunk(source, root), url=url, digest=f"md5:{hashlib.md5(body).hexdigest()}")

    parts = {
        part: local(source, published / "salicon" / part, f"{part}.zip")
        for part, source in salicon.SOURCE.items()
    }
    monkeypatch.setattr(salicon, "SOURCE", parts)
    cat = local(cat2000.SOURCE, published / "cat2000", "trainSet.zip")
    monkeypatch.setattr(cat2000, "SOURCE", cat)
    for module, name in ((koniq, "koniq"), (clive, "clive")):
        monkeypatch.setattr(module, "SOURCE", shrunk(module.SOURCE, published / name))
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(sacid, "SOURCE", replace(sacid.SOURCE, url=f"{address}/sacid.zip"))
    digests = {"msi-net": f"sha256:{hashlib.sha256(GRAPH).hexdigest()}", "sgdnet-output": ""}
    nets = {
        name: replace(checkpoints.SOURCE[name], url=f"{address}/{name}", digest=digest)
        for name, digest in digests.items()
    }
    monkeypatch.setattr(checkpoints, "SOURCE", nets)
    pages |= {"/msi-net": (200, GRAPH, None), "/sgdnet-output": (200, KERAS, None)}

    class Answers:  # the server asks for one answer a request: give it that of the path
        def __bool__(self):
            return True

        def pop(self, _):
            handler = sys._getframe(1).f_locals["self"]
            return pages.get(handler.path, (404, b"gone", None))

    server.answers = Answers()
    hub = Hub(published)
    monkeypatch.setattr("pyiqa.data.dataset_api.snapshot_download", hub)
    return types.SimpleNamespace(pages=pages, hub=hub, server=server)


def fetch(capsys):
    """Run the command; return its status, its table and its errors."""
    status = main(["data", "--profile", "paper"])
    printed = capsys.readouterr()
    table = [line for line in printed.out.splitlines() if "/data/" in line and "  " in line]
    return status, table, [x for x in printed.err.splitlines() if x.startswith("error: ")]


def whole(folder):
    """Name the sets that open and yield a picture; no scratch folder may be left anywhere."""
    assert not [path for path in folder.rglob(".*") if path.name.endswith(".part")]
    found = []
    for name in WRITE:
        with contextlib.suppress(FileNotFoundError):
            found += [name] if data.load(name)[0].image.size else []
    return found


def test_make_data_gets_what_it_can_and_says_the_rest_in_a_line_each(world, folder, capsys):
    status, table, errors = fetch(capsys)
    assert status == 1 and len(table) == 8 and len(errors) == 1 and "sacid.zip" in errors[0]
    assert all("files to get" in line for line in table)
    assert "CC BY-SA 4.0" in table[3] and "6.4 GB" in table[3] and str(folder / "koniq") in table[3]
    assert whole(folder) == list(WRITE)
    assert (folder / "checkpoints" / "msi-net" / "msi-net.pb").read_bytes() == GRAPH
    assert (folder / "checkpoints" / "sgdnet-output" / "sgdnet-output.h5").read_bytes() == KERAS
    unwanted = [p for p in folder.rglob("*") if p.name in ("Output", "test", "allFixData.mat")]
    assert not unwanted, "nor is what no record needs unpacked"
    requests = world.server.requests
    status, table, _ = fetch(capsys)
    assert status == 1 and sum(" here " in line for line in table) == 7
    assert world.server.requests == requests + 4, "only SACID was asked for again"


BODY = b"x" * 2000
SPOILS = {
    "404": ((404, b"no", None), "404"),
    "quota page": ((200, b"<html>Quota exceeded</html>", None), "not the published file"),
    "cut": ((200, BODY, 4000), "Connection broken|IncompleteRead"),
    "wrong hash": ((200, zipped(Path(__file__).parent / "none", "", ["a"]), None), "md5 differs"),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_whatever_goes_wrong_is_one_line_and_the_other_sources_go_on(world, folder, capsys, spoil):
    world.pages["/trainSet.zip"], words = SPOILS[spoil]
    world.pages |= dict.fromkeys(("/msi-net", "/sgdnet-output"), SPOILS[spoil][0])
    status, _, errors = fetch(capsys)
    *errors, graph, keras = errors
    assert any(word in graph for word in words.replace("md5", "sha256").split("|")), graph
    assert any(word in keras for word in (*words.split("|"), "is no .h5 file")), keras
    assert "SGDNet offers there, as sgdnet-output.h5" in keras
    assert not list((folder / "checkpoints").iterdir())
    (error,) = (line for line in errors if "cat2000" in line)
    assert status == 1 and len(errors) == 2 and "saliency.tuebingen.ai" in error
    assert any(word in error for word in words.split("|")), error
    assert whole(folder) == ["salicon", "koniq", "clive"]


@pytest.mark.parametrize(
    ("kind", "name", "count"),
    [(zipfile.ZipFile, "extractall", 3), (pooch.HTTPDownloader, "__call__", 6)],
)
def test_a_full_disk_leaves_nothing_and_stops_nothing(
    kind, name, count, world, folder, capsys, monkeypatch
):
    def fill(self, path, members, *_):
        for member in members[:2] if count == 3 else []:
            self.extract(member, path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kind, name, fill)
    status, _, errors = fetch(capsys)
    assert status == 1 and sum("No space left on device" in line for line in errors) == count
    assert whole(folder) == ["koniq", "clive"]


def test_a_hub_that_fails_or_sends_half_is_one_line(world, folder, capsys):
    world.hub.fail["koniq10k.tgz"] = ConnectionError("no hub,\nno archive")
    world.hub.cut = ["live_challenge.tgz"]
    status, _, errors = fetch(capsys)
    assert status == 1 and len(errors) == 3 and "sacid" in errors[2]
    assert "pyiqa:koniq10k" in errors[0] and "(no hub, no archive)" in errors[0]
    assert re.search(r"pyiqa:livec .*LIVEC/\*\*/\*\.\w+: \d files, not \d", errors[1])
    assert all("huggingface.co/datasets/chaofengc" in error for error in errors[:2])
    assert whole(folder) == ["salicon", "cat2000"]


def test_pyiqa_itself_reads_what_was_fetched_and_scores_it_alike(world, folder, capsys):
    from pyiqa.data.dataset_api import load_dataset

    fetch(capsys)
    theirs = load_dataset("livec", folder / "clive", dataset_opts={"phase": "val"}).paths_mos
    assert [(Path(p).name, m) for p, m in theirs] == list(data.load("clive").scores.items())
    options = {"split_index": None}
    theirs = load_dataset("koniq10k-1024", folder / "koniq", dataset_opts=options).paths_mos
    assert sorted((Path(p).name, m) for p, m in theirs) == list(data.load("koniq").scores.items())


def test_a_picture_of_another_kind_or_size_is_found(folder):
    source = replace(salicon.IMAGES, counts={"*.jpg": (1, (640, 480))})
    picture(folder / "a.jpg", (640, 481))
    assert source.faults(folder) == ["a.jpg is (640, 481), not (640, 480)"]
    (folder / "a.jpg").write_bytes(b"\xff\xd8\xff and no more")
    assert source.faults(folder) == ["a.jpg is no picture"]
    for content, faults in {b"<html>": 1, b"": 1, b"PK\3\4": 0, b"\x80\2": 0}.items():
        (folder / "transalnet-res.pth").write_bytes(content)
        found = checkpoints.SOURCE["transalnet-res"].faults(folder)
        assert found == ["transalnet-res.pth is no .pth file"] * faults


def test_gdown_itself_refuses_a_quota_page_and_brings_a_file(world, folder, monkeypatch):
    requests = pytest.importorskip("requests")
    pytest.importorskip("gdown")
    get, local = requests.Session.get, f"http://127.0.0.1:{world.server.server_port}"

    def drive(self, url, **options):  # Drive, played by the local server
        response = get(self, url.replace("https://drive.google.com", local), **options)
        response.headers["Content-Type"] = "text/html"
        if response.headers.get("Content-Length") == str(len(archive)):
            response.headers["Content-Disposition"] = 'attachment; filename="images.zip"'
        return response

    monkeypatch.setattr(requests.Session, "get", drive)
    source, archive = replace(salicon.SOURCE["images"], url=salicon.IMAGES.url), b""
    address, place = source.url.removeprefix("https://drive.google.com"), folder / "images"
    page = b'<html><p class="uc-error-subcaption">Too many users have viewed it</p></html>'
    world.pages[address] = (200, page, None)
    with pytest.raises(DownloadError, match="Too many users have viewed it"):
        source.fetch(place)
    assert not list(folder.iterdir())
    world.pages[address] = world.pages["/images.zip"]
    archive = world.pages["/images.zip"][1]
    source.fetch(place)
    assert not source.faults(place)


COUNTS = {("salicon", "train"): 10_000, ("salicon", "val"): 5_000, ("cat2000", None): 2_000}
COUNTS |= {("koniq", None): 10_073, ("koniq", "test"): 2_015, ("clive", None): 1_162}


@pytest.mark.data
@pytest.mark.parametrize(("name", "split"), COUNTS)
def test_the_real_sets_have_as_many_records_as_published(name, split, real_data):
    real_data(name)
    assert len(data.load(name, **{"split": split} if split else {})) == COUNTS[name, split]
    assert_contract(name)


@pytest.mark.data
def test_the_first_real_photographs_have_as_many_fixations_as_pysaliency_counts(real_data):
    real_data("salicon")
    firsts = (data.load("salicon", split=split)[0] for split in ("train", "val"))
    assert [len(record.fixations) for record in firsts] == [532, 593]
