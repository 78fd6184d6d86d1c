"""The metrics of Table III: pyiqa's are pyiqa's, the weighted ones are what they are said to be."""

import io
import pickle
import sys
import urllib.error

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

from lib import iqa, models
from lib.models import weights_path, zoo
from lib.paths import ROOT
from lib.models.backbones import best_device

TABLE = pd.read_csv(ROOT / "lib" / "paper" / "table3.csv")
OFFLINE = {
    "MS-SSIM": "ms_ssim",
    "PSNR": "psnr",
    "SSIM": "ssim",
    "VIF": "vif",
    "FSIM": "fsim",
    "GMSD": "gmsd",
    "VSI": "vsi",
    "PIQE": "piqe",
}
WEIGHTED = [name for name in iqa.REGISTRY if name.startswith("EW-")]
REFERENCE = data.coffee()[100:331, 150:483]  # 231x333: odd, so that every border is tried
SALIENCY = np.random.default_rng(0).random(REFERENCE.shape[:2])
PERFECT = {"EW-PSNR": 80, "EW-GMSD": 0, "EW-LPIPS": 0, "EW-DISTS": 0}  # 1 for the others


def jpeg(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


IMAGES = np.stack([jpeg(REFERENCE, quality) for quality in (10, 30, 90)])


@pytest.fixture
def random_weights(monkeypatch, tmp_path):
    patch_downloads(monkeypatch, tmp_path)
    torch.manual_seed(0)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Neither a network nor files from when there was one."""

    def refuse(*args, **options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(download_util, "DEFAULT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(download_util, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(zoo, "_in_reach", lambda url: False)


def test_the_registry_has_every_row_of_table_3_in_its_group():
    rows = dict(zip(TABLE.method, TABLE.type, strict=True))
    assert len(rows) == 25
    assert {name: iqa.REGISTRY[name].group for name in rows} == rows
    assert {e.group for name, e in iqa.REGISTRY.items() if name not in rows} == {iqa.BEYOND}


# pyiqa's metrics


@pytest.mark.parametrize("name", OFFLINE)
def test_a_metric_of_pyiqas_scores_as_it_does_directly(name):
    ours = iqa.metric(name)
    theirs = pyiqa.create_metric(OFFLINE[name], device=best_device())
    pixels = [torch.tensor(each).permute(0, 3, 1, 2) / 255 for each in (IMAGES, REFERENCE[None])]
    direct = [
        theirs(*([image[None], pixels[1]] if theirs.metric_mode == "FR" else [image[None]]))
        for image in pixels[0]
    ]
    scores = ours.score(IMAGES, REFERENCE, SALIENCY)
    assert scores.shape == (3,) and scores.dtype == np.float64
    np.testing.assert_allclose(scores, torch.stack(direct).cpu().numpy().ravel(), rtol=1e-6)
    assert ours.lower_better == theirs.lower_better
    assert ours.full_reference == (theirs.metric_mode == "FR")


def test_brisque_is_pyiqas_with_the_released_support_vectors(tmp_path):
    svm = load_file(weights_path("brisque"))
    assert svm["sv"].shape == (774, 36), "the release has 774, a later retraining 770"
    assert svm["sv_coef"].abs().max() == 1024
    torch.save((svm["sv_coef"], svm["sv"]), tmp_path / "brisque.pth")
    theirs = pyiqa.create_metric(
        "brisque", device="cpu", pretrained_model_path=tmp_path / "brisque.pth"
    )
    direct = theirs(torch.tensor(IMAGES[1:2]).permute(0, 3, 1, 2) / 255)
    ours = iqa.metric("BRISQUE")
    np.testing.assert_allclose(ours.score(IMAGES)[1], direct.item(), rtol=1e-6)
    assert ours.lower_better and theirs.lower_better


@pytest.mark.parametrize(
    "name", [n for n, e in iqa.REGISTRY.items() if e.weights[:8] != "download"]
)
def test_every_metric_at_hand_prefers_light_to_heavy_compression(name):
    metric = iqa.metric(name)
    heavy, _, light = metric.score(IMAGES, REFERENCE, np.ones(REFERENCE.shape[:2]))
    assert (light < heavy) if metric.lower_better else (light > heavy)


def test_our_rows_are_the_shipped_networks():
    for name, network in {
        "Baseline": "baseline-lite0",
        "Baseline-Sal-Loss": "sal-loss-lite0",
        "Baseline-GradCAM-Loss": "gradcam-loss-lite0",
    }.items():
        ours = models.load(network)
        with torch.no_grad():
            direct = ours(ours.normalize(IMAGES)).numpy()
        np.testing.assert_allclose(iqa.metric(name).score(IMAGES), direct, rtol=1e-5)


# Metrics weighted by saliency


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_constant_map_gives_the_plain_metric(name, random_weights):
    torch.manual_seed(1)
    weighted = iqa.metric(name)
    torch.manual_seed(1)
    plain = iqa.metric(name.removeprefix("EW-"))
    constant = np.full(REFERENCE.shape[:2], 0.3)
    np.testing.assert_allclose(
        weighted.score(IMAGES[::2], REFERENCE, constant),
        plain.score(IMAGES[::2], REFERENCE),
        rtol=1e-6,
        atol=1e-6 if name == "EW-DISTS" else 1e-9,  # DISTS itself is 1 - a float32
    )
    assert weighted.lower_better == plain.lower_better and weighted.key != plain.key


@pytest.mark.parametrize("name", WEIGHTED)
def test_damage_counts_where_people_look_and_only_there(name, random_weights):
    reference = np.pad(REFERENCE, ((0, 0), (51, 0), (0, 0)), mode="reflect")  # 231x384
    damaged = reference.copy()
    damaged[:, -64:] = jpeg(reference, 5)[:, -64:]
    left, right = np.zeros((2, 231, 384))
    left[:, :32] = right[:, -64:] = 1  # 288 pixels apart: beyond the reach of every filter
    metric = iqa.metric(name)
    everywhere, looked, overlooked = (
        metric.score(damaged[None], reference, saliency)[0]
        for saliency in (np.ones((231, 384)), right, left)
    )
    # FSIM estimates the noise from the whole picture, so that distant damage moves it a little.
    perfect = PERFECT.get(name, 1)
    np.testing.assert_allclose(overlooked, perfect, atol=5e-3 if name == "EW-FSIM" else 1e-5)
    assert abs(looked - perfect) > 1.1 * abs(everywhere - perfect)


def test_ew_psnr_of_a_hand_worked_case():
    reference = np.full((4, 8, 3), 100, np.uint8)
    image = reference.copy()
    image[:, 4:] += 51  # an error of 0.2 in the right half
    saliency = np.ones((4, 8))
    saliency[:, 4:] = 3  # three quarters of the weight
    score = iqa.metric("EW-PSNR").score(image[None], reference, saliency)
    np.testing.assert_allclose(score, -10 * np.log10(0.75 * 0.2**2), rtol=1e-6)


def test_ew_ssim_of_a_hand_worked_case():
    # Flat patches have no contrast or structure to lose: SSIM is its luminance term.
    reference = np.full((40, 80, 3), 100, np.uint8)
    image = reference.copy()
    image[:, 40:] = 150
    saliency = np.zeros((40, 80))
    saliency[10:30, 5:15] = 1  # far from the edge in the middle, and inside the map's border
    saliency[10:30, 60:70] = 3
    brighter = (2 * 100 * 150 + 2.55**2) / (100**2 + 150**2 + 2.55**2)
    score = iqa.metric("EW-SSIM").score(image[None], reference, saliency)
    np.testing.assert_allclose(score, 0.25 + 0.75 * brighter, rtol=1e-6)


def test_a_single_pixel_looked_at_gives_the_ssim_of_the_window_around_it():
    row, column = 100, 200
    gaze = np.zeros(REFERENCE.shape[:2])
    gaze[row, column] = 1
    window = np.s_[..., row - 5 : row + 6, column - 5 : column + 6, :]
    np.testing.assert_allclose(
        iqa.metric("EW-SSIM").score(IMAGES, REFERENCE, gaze),
        iqa.metric("SSIM").score(IMAGES[window], REFERENCE[window]),
        rtol=1e-6,
    )


def test_only_the_shape_of_a_map_matters_not_its_scale():
    metric = iqa.metric("EW-VIF")
    scores = [metric.score(IMAGES, REFERENCE, scale * SALIENCY) for scale in (1e-6, 1, 1e6)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-9)
    np.testing.assert_allclose(scores[2], scores[1], rtol=1e-9)


ZERO, NAN, CORNER = np.zeros((231, 333)), np.full((231, 333), np.nan), np.zeros((231, 333))
CORNER[0, 0] = 1


@pytest.mark.parametrize(
    ("name", "reference", "saliency", "message"),
    [
        ("EW-PSNR", REFERENCE, None, "EW-PSNR needs the saliency map"),
        ("EW-PSNR", REFERENCE, ZERO, "zero everywhere"),
        ("EW-PSNR", REFERENCE, NAN, "saliency holds NaN"),
        ("EW-PSNR", REFERENCE, SALIENCY[:-1], "saliency is .* resize"),
        ("EW-SSIM", REFERENCE, CORNER, "leaves out a border"),
        ("PSNR", None, SALIENCY, "PSNR needs the reference"),
        ("PSNR", REFERENCE[:-1], SALIENCY, "they must be alike"),
        ("PSNR", REFERENCE / 255, SALIENCY, "they must be alike"),
    ],
)
def test_what_a_metric_cannot_work_with_is_refused(name, reference, saliency, message):
    with pytest.raises(ValueError, match=message):
        iqa.metric(name).score(IMAGES, reference, saliency)


def test_images_must_be_8_bit_rgb():
    for images in (IMAGES[0], IMAGES[..., 0], IMAGES / 255):
        with pytest.raises(ValueError, match="images must be BxHxWx3 uint8"):
            iqa.metric("PIQE").score(images)


# Metrics whose weights must be downloaded

DOWNLOADED = [n for n, e in iqa.REGISTRY.items() if e.weights[:8] == "download"]


@pytest.mark.parametrize("name", [n for n in DOWNLOADED if n[:6] != "SGDNet" and n[:2] != "EW"])
def test_with_random_weights_every_row_scores_a_pair_end_to_end(name, random_weights, capsys):
    metric = iqa.metric(name)
    vision_transformer = name in ("AHIQ", "MANIQA")  # seconds a picture: one is enough
    images = IMAGES[2:] if vision_transformer else IMAGES[[0, 0, 2]]
    scores = metric.score(images[:, :224, :256], REFERENCE[:224, :256], SALIENCY[:224, :256])
    assert scores.shape == (len(images),) and np.isfinite(scores).all()
    if not vision_transformer:
        assert scores[0] == scores[1] != scores[2], "the picture decides, and nothing random"
    assert metric.lower_better == pyiqa.default_model_configs.DEFAULT_CONFIGS[
        iqa.REGISTRY[name].open.args[0]
    ].get("lower_better", False)


@pytest.mark.parametrize("name", ["LPIPS", "TOPIQ-NR", "MUSIQ", "CLIP-IQA+"])
def test_without_a_network_the_reason_holds_the_command(name, no_network):
    found, missing = iqa.metrics(["PSNR", name])
    assert [metric.name for metric in found] == ["PSNR"] and set(missing) == {name}
    source = iqa.REGISTRY[name].open.args[0]
    assert f"zoo.open_pyiqa('{source}')" in missing[name], "the command that gets them"


def test_the_hub_is_asked_again_once_there_is_a_network(no_network):
    before = huggingface_hub.constants.is_offline_mode
    with zoo.impatient_hub():
        assert huggingface_hub.constants.is_offline_mode()
    assert huggingface_hub.constants.is_offline_mode is before


def test_an_unknown_name_is_no_missing_metric():
    with pytest.raises(KeyError, match=r"no metric 'psnr'; there are .*PSNR"):
        iqa.metrics(["psnr"])


def test_a_downloaded_checkpoint_is_read(random_weights, monkeypatch, tmp_path, capsys):
    random = iqa.metric("PaQ2PiQ")
    network = zoo.open_pyiqa("paq2piq")
    torch.save({f"module.{k}": v for k, v in network.net.state_dict().items()}, tmp_path / "p.pth")
    restore_loading(monkeypatch, tmp_path / "p.pth")
    loaded = iqa.metric("PaQ2PiQ")
    with torch.no_grad():
        direct = network(zoo.pixels(IMAGES)).numpy().ravel()
    np.testing.assert_allclose(loaded.score(IMAGES), direct, rtol=1e-5)
    assert loaded.key == zoo.pyiqa_key("paq2piq", network) != random.key


class Hostile:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return self.trace.touch, ()


def test_a_hostile_checkpoint_is_refused_and_not_run(random_weights, monkeypatch, tmp_path, capsys):
    trace, path = tmp_path / "it-ran", tmp_path / "hostile.pth"
    torch.save({"weight": Hostile(trace)}, path)
    restore_loading(monkeypatch, path)
    with pytest.raises(pickle.UnpicklingError, match=r"hostile.pth .*nothing in it was run"):
        iqa.metric("MUSIQ")
    assert "MUSIQ" in iqa.metrics(["MUSIQ"])[1] and not trace.exists()
    torch.load(path, weights_only=False)  # as pyiqa asks for it
    assert trace.exists(), "the checkpoint was harmless, and the test with it"


def test_half_a_checkpoint_is_named(random_weights, monkeypatch, tmp_path, capsys):
    path = tmp_path / "half.pth"
    torch.save(torch.ones(1000), path)
    path.write_bytes(path.read_bytes()[:2000])
    restore_loading(monkeypatch, path)
    with pytest.raises(pickle.UnpicklingError, match=r"half.pth is damaged"):
        iqa.metric("MUSIQ")


def restore_loading(monkeypatch, path):
    """Undo that part of `random_weights`; `path` is what a download would bring."""
    monkeypatch.setattr(arch_util, "load_file_from_url", lambda url: str(path))
    for module in [m for name, m in sys.modules.items() if name.startswith("pyiqa.archs.")]:
        if hasattr(module, "load_pretrained_network"):
            monkeypatch.setattr(module, "load_pretrained_network", LOAD_PRETRAINED)


LOAD_PRETRAINED = arch_util.load_pretrained_network
