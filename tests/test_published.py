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
from lib.models.published import PUBLISHED, WHOLE, explain
from lib.records import Dataset, Record

PICTURES = np.stack([data.coffee()[40:280, 100:420], data.astronaut()[:240, 60:380]])
PEERS = {"hirescam": HiResCAM, "gradcam": GradCAM}


class Two(Dataset):
    name, kind, names, fingerprint = "two", "photographs", ["coffee", "astronaut"], "0"

    def __getitem__(self, index):
        return Record(self.names[index], PICTURES[index])


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    """Networks of pyiqa's with random weights; those that crop look at four crops."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        patch_downloads(monkeypatch, tmp_path_factory.mktemp("weights"))
        for name, option in FEWER_CROPS.items():
            monkeypatch.setitem(DEFAULT_CONFIGS[name]["metric_opts"], option, 4)
        yield
    iqa.metric.cache_clear()


@pytest.fixture(scope="module", params=PUBLISHED)
def name(request, random_weights):
    iqa.metric.cache_clear()  # one at a time is enough
    torch.manual_seed(1)
    return request.param


@pytest.fixture
def metric(name):
    return iqa.metric(PUBLISHED[name].metric)


def pyiqas(metric):
    """Find the network that `metric` scores with."""
    return getclosurevars(metric.score).nonlocals["network"].net


def state_of(metric):
    nets = [pyiqas(metric), *getattr(pyiqas(metric), "clip_model", [])]
    found = [(p.requires_grad, p.grad is None) for net in nets for p in net.parameters()]
    hooks = [len(m._forward_hooks) for net in nets for m in net.modules()]
    return found, hooks, [m.training for net in nets for m in net.modules()], vars(nets[0]).keys()


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
    pictures = PICTURES
    if PUBLISHED[name].crops:  # all four crops of 225x225 are its upper left 224x224
        pictures = PICTURES[:, : WHOLE + 1, : WHOLE + 1]
        assert getattr(pyiqas(metric), PUBLISHED[name].crops) == 4
    theirs = metric(pictures)
    side = WHOLE if PUBLISHED[name].crops else None
    with torch.no_grad():
        ours = metric.network(metric.network.normalize(pictures[:, :side, :side]))
    assert ours.shape == (2,) and theirs[0] != theirs[1]
    np.testing.assert_allclose(ours, metric.sign * theirs, rtol=1e-4, atol=1e-6)


def test_a_view_is_brighter_where_the_network_sees_it_normalised(name, metric):
    seen = []
    first = next(m for m in metric.network.parts[-1].modules() if isinstance(m, nn.Conv2d))
    handle = first.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        pyiqas(metric)(torch.tensor(PICTURES[:1, :224, :224]).permute(0, 3, 1, 2) / 255)
        metric.network(0.9 * metric.network.normalize(PICTURES[:1, :224, :224]))
    handle.remove()
    plain, view = (x[:1, :, :200, :200] for x in seen)
    if not PUBLISHED[name].crops:  # pyiqa enlarges 224 to 225 before it crops
        np.testing.assert_allclose(view, 0.9 * plain, atol=1e-5)
    assert view.std() == pytest.approx(0.9 * plain.std().item(), rel=0.01)


def test_a_map_has_the_records_proportions_and_a_batch_is_its_pictures_one_by_one(
    name, metric, empty_cache
):
    (source,), missing = sources.published_sources([name], long_side=128, aug_smooth=False)
    assert not missing and (source.group, source.method) == ("GradCAM from IQA", name)
    together = source.compute(list(Two()))
    assert together.shape == (2, 96, 128) and together.dtype == np.float32
    assert np.isfinite(together).all() and together.min() >= 0
    np.testing.assert_allclose(together.max(axis=(1, 2)), 1, atol=1e-5)
    single = [source.compute([record])[0] for record in Two()]
    np.testing.assert_allclose(single, together, atol=1e-3)
    kept = sources.extract(source, Two(), progress=False)
    assert [m.shape for m in kept] == [(240, 320)] * 2


def test_a_model_is_left_as_it_was_found(name, metric):
    before = state_of(metric)
    extract_cam(metric.network, small(metric), metric.network.last_layer, aug_smooth=False)
    assert state_of(metric) == before
    assert not any(before[1]) or name == "MANIQA", "pyiqa's own hooks"
    assert not any(before[2]) and all(empty for _, empty in before[0])


@pytest.mark.parametrize("smooth", [False, True], ids=["plain", "smoothed"])
@pytest.mark.parametrize("method", PEERS)
def test_maps_equal_pytorch_grad_cams(name, metric, method, smooth, request):
    if smooth and (name == "MANIQA" or method == "gradcam"):
        pass
    x, network = small(metric), metric.network
    with PEERS[method](network, [network.last_layer]) as cam:
        cam.compute_input_gradient = True  # else a frozen trunk has none
        targets = [lambda score: score] * len(x)
        theirs = cam(x, targets, aug_smooth=smooth, eigen_smooth=smooth)
    network.zero_grad()
    ours = extract_cam(network, x, network.last_layer, method, smooth, smooth, "lapack")
    print("\n", name, method, smooth, np.abs(ours - theirs).max(), theirs.max(axis=(1, 2)), theirs.mean())
    assert np.abs(ours - theirs).max() <= 1e-4
