"""Maps of published IQA models are pytorch-grad-cam's, of the score and the pixels pyiqa has."""

import urllib.error
from inspect import getclosurevars

import numpy as np
import pyiqa
import pytest
import torch
from pyiqa.default_model_configs import DEFAULT_CONFIGS
from pytorch_grad_cam import GradCAM, HiResCAM
from random_weights import FEWER_CROPS, patch_downloads
from skimage import data
from torch import nn

from lib import iqa, report, sources
from lib.cam import extract_cam
from lib.maps import resize_map
from lib.models.published import PUBLISHED, WHOLE, explain
from lib.records import Dataset, Record
from tests.test_notebooks import functions

published_sources = functions("01", "").published_sources

PICTURES = np.stack([data.coffee()[40:280, 100:420], data.astronaut()[:240, 60:380]])
SEED = 1  # with it no map is empty
PEERS = {"hirescam": HiResCAM, "gradcam": GradCAM}


class Two(Dataset):
    name, kind, names, fingerprint = "two", "photographs", ["coffee", "astronaut"], "0"

    def __getitem__(self, index):
        return Record(self.names[index], PICTURES[index])


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    """Networks of pyiqa's with random weights; those that crop look at four crops."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        torch.manual_seed(SEED)
        patch_downloads(monkeypatch, tmp_path_factory.mktemp("weights"))
        for name, option in FEWER_CROPS.items():
            monkeypatch.setitem(DEFAULT_CONFIGS[name]["metric_opts"], option, 4)
        yield
    iqa.metric.cache_clear()


FAST = [name for name in PUBLISHED if name != "MANIQA"]  # its ViT takes seconds a picture


@pytest.fixture(scope="module", params=FAST)
def name(request, random_weights):
    iqa.metric.cache_clear()  # one at a time is enough
    torch.manual_seed(SEED)
    return request.param


@pytest.fixture
def metric(name):
    return iqa.metric(PUBLISHED[name].metric)


def pyiqas(metric):
    """Find the network that `metric` scores with."""
    return getclosurevars(metric.score).nonlocals["network"].net


def state_of(network):
    parameters = [(p.requires_grad, p.grad is None) for p in network.parameters()]
    return parameters, [(len(m._forward_hooks), m.training) for m in network.modules()]


def small(metric, pictures=PICTURES):
    return metric.network.normalize(sources.network_input([Record("", p) for p in pictures], 128))


def test_the_rows_of_table_1_are_here_with_the_weights_of_table_3_from_koniq():
    printed = report.paper_table("table1")
    rows = printed[printed.group == "GradCAM from IQA"].method
    assert [n for n in rows if not n.startswith("Baseline")] == list(PUBLISHED)[:3]
    opened = {entry.open.args[0] for entry in iqa.REGISTRY.values() if hasattr(entry.open, "args")}
    assert {row.metric for row in PUBLISHED.values()} <= opened
    for metric in ("topiq_nr", "dbcnn", "maniqa"):  # of the others there is one checkpoint
        assert "koniq" in str(DEFAULT_CONFIGS[metric]["metric_opts"])


def test_the_explained_score_is_the_metrics_own(name, metric):
    crops = PUBLISHED[name].crops
    assert not crops or getattr(pyiqas(metric), crops) == 4
    # All four crops of 225x225 are its upper left 224x224.
    pictures = PICTURES[:1, : WHOLE + 1, : WHOLE + 1] if crops else PICTURES[:1, :128, :160]
    theirs = metric(pictures)
    with torch.no_grad():
        ours = metric.network(metric.network.normalize(pictures[:, :WHOLE, :WHOLE]))
    assert ours.shape == (1,) and theirs != 0
    np.testing.assert_allclose(ours, metric.sign * theirs, rtol=1e-4, atol=1e-6)


def test_a_brighter_view_is_brighter_where_the_layers_see_it(name, metric):
    seen, side = [], WHOLE if PUBLISHED[name].crops else 96
    first = next(m for m in metric.network.parts[-1].modules() if isinstance(m, nn.Conv2d))
    handle = first.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    view = 1.1 * metric.network.normalize(PICTURES[:1, :side, :side])
    with torch.no_grad():
        metric.network(view)
    handle.remove()
    np.testing.assert_allclose(seen[0], view, atol=1e-5)


def test_a_map_has_the_records_proportions_and_a_batch_is_its_pictures_one_by_one(
    name, metric, empty_cache
):
    (source,), missing = published_sources([name], long_side=96, aug_smooth=False)
    assert not missing and (source.group, source.method) == ("GradCAM from IQA", name)
    together = source.compute(list(Two()))
    assert together.shape == (2, 64, 96) and together.dtype == np.float32
    assert np.isfinite(together).all() and together.min() >= 0
    np.testing.assert_allclose(together.max(axis=(1, 2)), 1, atol=1e-5)
    single = sources.extract(source, Two(), batch_size=1)
    for alone, batched in zip(single, together, strict=True):
        assert alone.shape == (240, 320)
        full = resize_map(batched, (240, 320))
        np.testing.assert_allclose(alone, full / full.max(), atol=1e-3)  # float16


@pytest.mark.parametrize(("method", "smooth"), [("gradcam", False), ("hirescam", True)])
def test_maps_equal_pytorch_grad_cams(name, metric, method, smooth):
    network = metric.network
    x, layer, before = small(metric, PICTURES[:1]), network.last_layer, state_of(network)
    ours = extract_cam(network, x, layer, method, smooth, smooth, "lapack")
    assert state_of(network) == before and all(no_gradient for _, no_gradient in before[0])
    assert not any(training for _, training in before[1])
    trainable = [p for p in network.parameters() if p.requires_grad]
    network.requires_grad_(False)
    last = [p for p in layer.parameters() if p.dim() > 1][-1].requires_grad_()  # theirs must begin
    with PEERS[method](network, [layer]) as cam:
        targets = [lambda score: score] * len(x)
        theirs = cam(x, targets, aug_smooth=smooth, eigen_smooth=smooth)
    last.requires_grad_(False).grad = None
    for parameter in trainable:
        parameter.requires_grad_()
    assert ours.max(axis=(1, 2)).min() > 0.2 and np.abs(ours - theirs).max() <= 1e-4


@pytest.mark.slow
def test_the_same_of_maniqa(random_weights):
    iqa.metric.cache_clear()
    torch.manual_seed(SEED)
    test_the_explained_score_is_the_metrics_own("MANIQA", iqa.metric("maniqa"))
    test_maps_equal_pytorch_grad_cams("MANIQA", iqa.metric("maniqa"), "hirescam", False)


def test_neighbours_of_the_layer_have_maps_of_their_own(name, metric):
    found, _ = published_sources([name], True, 96, aug_smooth=False, eigen_smooth=False)
    names = [f"{name}, {layer}" for layer in PUBLISHED[name].neighbours]
    assert [source.method for source in found] == [name, *names]
    assert len({source.key for source in found}) == len(found) > 1
    for source in found:
        (saliency_map,) = source.compute([Two()[0]])
        assert saliency_map.shape == (64, 96) and np.isfinite(saliency_map).all()


def test_where_lower_is_better_the_turned_score_is_explained(name, metric, monkeypatch):
    opened = getclosurevars(metric.score).nonlocals["network"]
    monkeypatch.setattr(opened, "lower_better", True)
    monkeypatch.setattr(pyiqa, "create_metric", lambda *args, **options: opened)
    monkeypatch.setattr(iqa.hub, "HF_HUB_OFFLINE", True)
    plain = {"aug_smooth": False, "eigen_smooth": False}
    x, turned = small(metric, PICTURES[:1]), iqa.metric.__wrapped__(PUBLISHED[name].metric).network
    assert (metric.network.sign, turned.sign) == (1, -1)
    by_hand = nn.Sequential(metric.network, Turn())
    ours, theirs, unturned = (
        extract_cam(model, x, network.last_layer, **plain)
        for model, network in ((turned, turned), (by_hand, by_hand[0]), (by_hand[0], by_hand[0]))
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.abs(ours - unturned).max() > 0.5, "what speaks against a score is no map of it"


class Turn(nn.Module):
    def forward(self, score):
        return -score


def test_without_weights_a_row_is_missing_with_the_reason(monkeypatch):
    def refuse(*args, **options):
        raise urllib.error.URLError("Name or service not known")

    iqa.metric.cache_clear()
    assert iqa.metric("PIQE").network is None and explain("musiq", nn.Module(), 1) is None
    monkeypatch.setattr(iqa.hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(pyiqa, "create_metric", refuse)
    found, missing = published_sources(["TOPIQ", "CLIP-IQA+"])
    assert not found and [*missing] == ["TOPIQ", "CLIP-IQA+"]
    assert "pyiqa.create_metric('topiq_nr')" in missing["TOPIQ"] and "\n" not in missing["TOPIQ"]
    assert published_sources([]) == ([], {})
