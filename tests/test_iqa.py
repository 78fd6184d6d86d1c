"""The metrics of Table III: pyiqa's are pyiqa's, the weighted ones are what they are said to be."""

import socket
from unittest.mock import Mock

import huggingface_hub.constants
import numpy as np
import pandas as pd
import pyiqa
import pytest
import torch
from PIL import Image
from pyiqa.archs import arch_util
from pyiqa.utils import download_util
from random_weights import patch_downloads
from safetensors.torch import load_file
from skimage import data

from lib import iqa, models, report, weighted
from lib._torchvision import ensure_torchvision_imports
from lib.data.sacid import SACID
from lib.data.sample_quality import distort
from lib.models import saliency
from lib.models.backbones import best_device
from lib.paths import ROOT
from tests.test_notebooks import prose
from tests.test_sacid import sacid_tree  # noqa: F401 (a fixture)

TABLE = report.paper_table("table3")
AT_HAND = [name for name, entry in iqa.REGISTRY.items() if "download" not in entry.weights]
LIGHT = ("AHIQ", "PaQ2PiQ", "LPIPS", "MUSIQ", "TOPIQ-NR")  # a second or two each
FETCHED = [name for name, entry in iqa.REGISTRY.items() if entry.weights.startswith("download, ")]
REFERENCE = data.coffee()[100:331, 150:483]  # 231x333: odd, so that every border is tried
SALIENCY = np.random.default_rng(0).random(REFERENCE.shape[:2])
IMAGES = np.stack([distort(REFERENCE, "jpeg", level) for level in (3, 1, 0)])


@pytest.fixture(autouse=True)
def opened_afresh():
    yield
    iqa.metric.cache_clear()


@pytest.fixture
def random_weights(monkeypatch, tmp_path):
    patch_downloads(monkeypatch, tmp_path)
    torch.manual_seed(0)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Neither a network nor files from when there was one."""
    refuse = Mock(side_effect=socket.gaierror(-2, "Name or service not known"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name, value in (("HF_HUB_CACHE", str(tmp_path)), ("HF_HUB_OFFLINE", False)):
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.setattr(download_util, "DEFAULT_CACHE_DIR", str(tmp_path))


def test_the_registry_has_every_row_of_table_3_in_its_group():
    rows = dict(zip(TABLE.method, TABLE.type, strict=True))
    assert len(rows) == 25 and [*iqa.REGISTRY][:25] == [*rows], "in the paper's order"
    assert {name: iqa.REGISTRY[name].group for name in rows} == rows
    assert {e.group for name, e in iqa.REGISTRY.items() if name not in rows} == {iqa.BEYOND}


@pytest.mark.parametrize("name", ["MS-SSIM", "PSNR", "SSIM", "VIF", "FSIM", "GMSD", "VSI", "PIQE"])
def test_a_metric_of_pyiqas_scores_as_it_does_directly(name):
    theirs = pyiqa.create_metric(name.lower().replace("-", "_"), device=best_device())
    ours = iqa.metric(name)
    images, whole = (torch.tensor(i).permute(0, 3, 1, 2) / 255 for i in (IMAGES, REFERENCE[None]))
    full = theirs.metric_mode == "FR"
    direct = [theirs(*([each[None], whole] if full else [each[None]])) for each in images]
    scores = ours(IMAGES, REFERENCE, SALIENCY)
    assert scores.shape == (3,) and scores.dtype == np.float64
    np.testing.assert_allclose(scores, torch.stack(direct).cpu().numpy().ravel(), rtol=1e-5)
    assert ours.sign == (-1 if theirs.lower_better else 1) and ours.reads_reference == full


def test_brisque_is_pyiqas_with_the_released_support_vectors(tmp_path):
    svm, path = load_file(models.weights_path("brisque")), tmp_path / "brisque.pth"
    assert svm["sv"].shape == (774, 36), "the release has 774, a later retraining 770"
    torch.save((svm["sv_coef"], svm["sv"]), path)
    theirs = pyiqa.create_metric("brisque", device="cpu", pretrained_model_path=path)
    direct = theirs(torch.tensor(IMAGES[1:2]).permute(0, 3, 1, 2) / 255)
    np.testing.assert_allclose(iqa.metric("BRISQUE")(IMAGES[1:2]), direct.item(), rtol=1e-6)
    assert iqa.metric("BRISQUE").sign == -1 and theirs.lower_better


@pytest.mark.parametrize("name", AT_HAND)
def test_every_metric_at_hand_prefers_light_to_heavy_compression(name):
    metric = iqa.metric(name)
    heavy, _, light = metric.sign * metric(IMAGES, REFERENCE, np.ones(REFERENCE.shape[:2]))
    assert light > heavy
    assert metric is iqa.metric(name), "opened once a process"


@pytest.mark.parametrize("name", ["baseline-lite0", "sal-loss-lite0", "gradcam-loss-lite0"])
def test_our_rows_are_the_shipped_networks_and_go_by_their_own_names_too(name):
    (row,) = (n for n, entry in iqa.REGISTRY.items() if name in getattr(entry.open, "args", ()))
    network, metric = models.load(name), iqa.metric(name)
    with torch.no_grad():
        direct = network(network.normalize(IMAGES)).numpy()
    for ours in (metric, iqa.metric(row)):
        np.testing.assert_allclose(ours(IMAGES), direct, rtol=1e-5)
    assert isinstance(metric.network, models.Baseline) and metric.group == iqa.BEYOND


@pytest.mark.parametrize("name", ["EW-PSNR", "EW-SSIM"])
def test_a_constant_map_gives_the_plain_metric_and_only_the_shape_of_a_map_matters(name):
    twin, plain, pair = iqa.metric(name), iqa.metric(name.removeprefix("EW-")), (IMAGES, REFERENCE)
    np.testing.assert_allclose(twin(*pair, 0 * SALIENCY + 0.3), plain(*pair), 1e-6)
    np.testing.assert_allclose(*(twin(*pair, by * SALIENCY) for by in (1e-6, 1e6)), rtol=1e-9)
    assert twin.key != plain.key and twin.reads_saliency and not plain.reads_saliency
    assert name == "EW-PSNR" or weighted._ssim_map.cache_info().hits >= 3, "they share one map"


@pytest.mark.parametrize(
    ("name", "images", "reference", "saliency", "message"),
    [
        ("EW-PSNR", IMAGES, REFERENCE, SALIENCY[:-1], "EW-PSNR needs the saliency map"),
        ("EW-PSNR", IMAGES, REFERENCE, 0 * SALIENCY, "not zero wherever the metric looks"),
        ("EW-SSIM", IMAGES, REFERENCE, np.nan * SALIENCY, "must be finite"),
        ("PSNR", IMAGES, None, None, "PSNR needs the reference"),
        ("PSNR", IMAGES, REFERENCE[:-1], None, "PSNR needs the reference"),
        ("PIQE", IMAGES / 255, None, None, "images must be BxHxWx3 uint8"),
        ("psnr", IMAGES, None, None, r"no metric 'psnr'; there are MS-SSIM, .*PSNR"),
        ("PSNR", IMAGES, REFERENCE / 255, None, "images must be BxHxWx3 uint8"),
    ],
)
def test_what_a_metric_cannot_work_with_is_refused(name, images, reference, saliency, message):
    with pytest.raises(ValueError, match=message):
        iqa.available([name])[0][0](images, reference, saliency)


def test_cut_weights_are_named_with_the_mend(tmp_path, monkeypatch):
    for name in ("brisque", "baseline-lite0", "saliency-lite0"):
        content = models.weights_path(name).read_bytes()
        (tmp_path / f"{name}.safetensors").write_bytes(content[: len(content) // 2])
    monkeypatch.setenv("WEIGHTS_DIR", str(tmp_path))
    opened, missing = iqa.available(["BRISQUE"])
    assert not opened and "brisque.safetensors is not BRISQUE's" in missing["BRISQUE"]
    assert "git checkout -- weights" in missing["BRISQUE"]
    for load in (lambda: models.load("baseline-lite0"), saliency.load_readout):
        with pytest.raises(ValueError, match=r"-lite0\.safetensors is not .*git checkout"):
            load()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in LIGHT)) for n in FETCHED]
)
def test_with_random_weights_every_row_scores_a_pair_end_to_end(name, random_weights, capsys):
    if name in ("AHIQ", "PaQ2PiQ"):  # where torchvision's binary loads, AHIQ has files of its own
        missing = iqa.available([name])[1]
        assert not ensure_torchvision_imports() or "torchvision's binary" in missing[name]
        return
    metric = iqa.metric(name)
    scores = metric(IMAGES[::2, :224, :256], REFERENCE[:224, :256])
    assert scores.shape == (2,) and np.isfinite(scores).all() and scores[0] != scores[1]
    config = pyiqa.default_model_configs.DEFAULT_CONFIGS[metric.open.args[0]]
    assert metric.sign == (-1 if config.get("lower_better") else 1)
    assert metric.reads_reference == (config["metric_mode"] == "FR")


@pytest.mark.parametrize("name", ["LPIPS", "TOPIQ-NR", "MUSIQ", "CLIP-IQA+"])
def test_without_a_network_the_reason_holds_the_command(name, no_network):
    found, missing = iqa.available(["PSNR", name])
    assert [metric.name for metric in found] == ["PSNR"] and set(missing) == {name}
    assert f"pyiqa.create_metric('{iqa.REGISTRY[name].open.args[0]}')" in missing[name]
    assert "\n" not in missing[name] and huggingface_hub.constants.HF_HUB_OFFLINE


class Hostile:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return self.trace.touch, ()


@pytest.mark.parametrize("what", ["hostile", "foreign", "half"])
def test_a_bad_checkpoint_is_refused_and_not_run(what, monkeypatch, tmp_path):
    trace, path = tmp_path / "it-ran", tmp_path / f"{what}.pth"
    weights = {"hostile": {"weight": Hostile(trace)}, "foreign": {"weight": torch.ones(3)}}
    torch.save(weights.get(what, torch.ones(1000)), path)
    if what == "half":
        path.write_bytes(path.read_bytes()[:2000])
    monkeypatch.setattr(arch_util, "load_file_from_url", lambda url: str(path))
    reason = iqa.available(["MUSIQ"])[1]["MUSIQ"]
    assert "nothing was run" in reason and "delete" in reason and "\n" not in reason
    assert not trace.exists()
    if what == "hostile":
        monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
        torch.load(path, weights_only=False)  # as pyiqa asks for it
        assert trace.exists(), "the checkpoint was harmless, and the test with it"


@pytest.mark.parametrize("core", ["numpy._core", "numpy.core"], ids=["NumPy 2", "NumPy 1"])
def test_a_number_that_training_left_in_a_checkpoint_is_read(core, tmp_path):
    path = tmp_path / "old.pth"
    torch.save({"loss": np.float64(0.25)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"numpy._core", core.encode()))
    assert torch.load(path, weights_only=False)["loss"] == 0.25


@pytest.fixture
def score(sacid_tree, empty_cache, monkeypatch):  # noqa: F811
    """Score a tree by a metric that a test makes up."""
    tree = SACID(sacid_tree)

    def run(function, digest="weights 1", names=("mean",)):
        entry = iqa.Entry(iqa.BEYOND, lambda: (function, -1, digest))
        monkeypatch.setitem(iqa.REGISTRY, "mean", entry)
        iqa.metric.cache_clear()
        return iqa.score_pictures(tree, names)

    run.tree = tree
    return run


def test_known_scores_are_not_computed_again_and_new_weights_or_pictures_are(score):
    calls = []

    def mean(images, reference, saliency):
        calls.append(len(images))
        return torch.tensor(images.mean())

    first = score(mean)
    np.testing.assert_allclose(first.value, [record.image.mean() for record in score.tree])
    pd.testing.assert_frame_equal(first, score(mean))
    assert calls == [1] * 24, "one picture at a time, once"
    score(mean, "weights 2")
    assert len(calls) == 48
    path = score.tree.root / "compressed" / f"{score.tree.names[3]}.jpg"
    Image.new("RGB", (60, 40), "white").save(path)
    assert score(mean).value[3] == 255 and len(calls) == 60, "the other sequence is as it was"


def test_a_metric_that_fails_leaves_a_hole_with_its_reason_and_the_others_go_on(score):
    fails, odd = (score.tree[row].image.mean() for row in (5, 7))

    def mean(images, reference, saliency):
        if np.isclose(images.mean(), fails):
            raise RuntimeError("no faces found\nand more")
        return torch.tensor(np.nan if np.isclose(images.mean(), odd) else images.mean())

    for _ in range(2):  # a failure is not kept as a result
        table = score(mean, names=["mean", "SGDNet-None", "PSNR"])
        one = table[table.metric == "mean"].reset_index()
        assert [*one.index[one.value.isna()]] == [*one.index[one.reason != ""]] == [5, 7]
        assert "can't score a picture (" in one.reason[5] and "no faces found" in one.reason[5]
        assert one.reason[7].endswith("it gives no number")
        gone = table[table.metric == "SGDNet-None"]
        assert len(gone) == 24 and gone.reason.str.contains("no published file").all()
        assert table[table.metric == "PSNR"].value.notna().all()


def test_sentences_of_notebook_05_are_those_of_the_committed_tables():
    text, sample = prose("05"), ROOT / "figures" / "sample"
    bounds = pd.read_csv(sample / "sacid_bounds.csv").set_index(["method", "metric"])
    rows = [("Target bitrate", "SROCC"), ("Target bitrate", "PLCC"), ("Perfect metric", "KRCC†")]
    for row in rows:
        value, low, high = bounds.loc[row, ["value", "low", "high"]]
        assert f"{row[1]} of {value:.3f} [{low:.3f}, {high:.3f}]" in text
    printed = pd.read_csv(sample / "table3_paper_and_dummy.csv")
    above = [(printed[f"{m} − dummy"] > 0).sum() for m in ("SROCC", "PLCC")]
    assert "{} is above it by SROCC and {} by PLCC".format(*above) in text
    best = printed.loc[printed["KRCC†"].idxmax()]
    assert f"The paper's best, {best.method}, has {best['KRCC†']:.3f}" in text
    for name in ("EW-PSNR", "EW-SSIM", "PSNR", "SSIM"):
        assert f"{name} {printed.set_index('method')['KRCC†'][name]:.3f}" in text
    shares = pd.read_csv(sample / "sacid_attention.csv").groupby("share")["KRCC†"].mean()
    best = f"{shares.idxmax()}, with a KRCC† of {shares.max():.3f}"
    assert f"lies at {best} against {shares[0.5]:.3f}" in text
    assert f"{shares[0]:.3f} for PSNR and {shares[1]:.3f} for EW-PSNR" in text
    differences = pd.read_csv(sample / "table3_differences.csv")
    assert differences.p_holm.min() >= 0.05, "no pair is significant"
    table = pd.read_csv(sample / "table3.csv")
    ours = table[(table.group != "controls") & (table.metric == "KRCC†")]
    assert ours.loc[ours.value.idxmax(), "method"] == "VIF", "VIF leads there"
