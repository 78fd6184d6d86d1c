"""Our maps are pytorch-grad-cam's, and mean what the papers say they mean."""

import cv2
import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM, HiResCAM
from torch import nn

from lib.cam import METHODS, _first_component, extract_cam
from lib.models.baseline import Baseline

PEERS = {"hirescam": HiResCAM, "gradcam": GradCAM}


class Tiny(nn.Module):
    """A convolution, GAP and a linear head, as in CAM [30]."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Conv2d(3, 12, 5, stride=4, padding=2), nn.ReLU())
        self.head = nn.Linear(12, 1)
        self.eval()

    def forward(self, x):
        return self.head(self.trunk(x).mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def lite0():
    return Baseline("efficientnet_lite0", "imagenet", seed=1)


@pytest.mark.parametrize("eigen", [False, True])
@pytest.mark.parametrize("aug", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_maps_equal_pytorch_grad_cams(lite0, images, method, aug, eigen):
    layer = lite0.backbone.blocks[2]  # behind it the gradient differs from place to place
    with PEERS[method](lite0, [layer]) as cam:
        targets = [lambda output: output.sum()] * len(images)
        theirs = cam(images, targets, aug_smooth=aug, eigen_smooth=eigen)
    ours = extract_cam(lite0, images, layer, method, aug, eigen, eigen_sign="lapack")
    assert ours.shape == theirs.shape == (2, 64, 96)
    assert np.abs(ours - theirs).max() <= 1e-4


@pytest.mark.parametrize("shape", [(90, 4, 6), (30, 4, 6), (5, 9, 7)], ids=str)
def test_a_component_points_the_way_of_the_channels_sum_or_as_lapack_has_it(shape):
    weighted = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    ours, lapack = (_first_component(torch.tensor(weighted), s).numpy() for s in ("cam", "lapack"))
    centered = weighted.sum(axis=1) - weighted.sum(axis=1).mean(axis=(1, 2), keepdims=True)
    assert ((ours * centered).sum(axis=(1, 2)) >= 0).all()
    same = np.sign((ours * lapack).sum(axis=(1, 2)))[:, None, None]
    np.testing.assert_allclose(ours, same * lapack, atol=1e-4)
    for each, found in zip(weighted.reshape(8, len(weighted[0]), -1), lapack, strict=True):
        table = each.T - each.T.mean(axis=0)
        np.testing.assert_allclose(table @ np.linalg.svd(table)[2][0], found.ravel(), atol=1e-4)


def test_hires_cam_is_grad_cam_is_cam_for_a_linear_head_behind_gap(images):
    model = Tiny()
    hires, grad = (
        extract_cam(model, images, model.trunk, m, False, False) for m in ("hirescam", "gradcam")
    )
    np.testing.assert_allclose(hires, grad, atol=1e-5)
    with torch.no_grad():
        cam = torch.einsum("bkhw,k->bhw", model.trunk(images), model.head.weight[0]).clamp(min=0)
    for found, coarse in zip(hires, cam.numpy(), strict=True):
        fine = cv2.resize((coarse - coarse.min()) / np.ptp(coarse), (96, 64))
        np.testing.assert_allclose(found, (fine - fine.min()) / np.ptp(fine), atol=1e-4)


def test_smoothed_maps_turn_with_mirrored_pictures_and_a_batch_is_its_images_one_by_one(
    lite0, images
):
    layer = lite0.backbone.bn2
    together = extract_cam(lite0, images, layer)
    mirrored = [extract_cam(lite0, image.flip(-1)[None], layer)[0] for image in images]
    np.testing.assert_allclose(np.stack(mirrored)[..., ::-1], together, atol=1e-4)


def test_the_model_is_left_as_it_was_found(lite0, images):
    before = [(p.requires_grad, p.grad is None, lite0.training) for p in lite0.parameters()]
    extract_cam(lite0, images, lite0.backbone.bn2)
    with pytest.raises(ValueError, match="must give a feature map"):
        extract_cam(lite0, images, lite0.head[0])
    assert [(p.requires_grad, p.grad is None, lite0.training) for p in lite0.parameters()] == before
    assert not any(m._forward_hooks for m in lite0.modules())


def test_bad_requests_are_clear_errors(lite0, images):
    layer = lite0.backbone.bn2
    with pytest.raises(ValueError, match="does not use the layer"):
        extract_cam(lite0, images, nn.Conv2d(3, 3, 1))
    for method, sign in (("scorecam", "cam"), ("gradcam", "plus")):
        with pytest.raises(ValueError, match="one of hirescam, gradcam and its sign cam or lapack"):
            extract_cam(lite0, images, layer, method, eigen_sign=sign)
    with pytest.raises(ValueError, match="not finite"):
        extract_cam(lite0, images * float("nan"), layer)


def test_a_score_that_ignores_the_picture_has_an_empty_map(images):
    model = Tiny()
    nn.init.zeros_(model.head.weight)
    for eigen in (False, True):
        found = extract_cam(model, images, model.trunk, eigen_smooth=eigen)
        assert np.isfinite(found).all() and found.max() == 0


def test_a_model_in_training_is_explained_as_in_use_and_keeps_its_statistics(images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(1))
    model.append(nn.LazyLinear(1))(images)
    expected = extract_cam(model.eval(), images, model[0])
    before = [value.clone() for value in model.train().state_dict().values()]
    model[2].eval()
    with torch.inference_mode():
        assert np.array_equal(extract_cam(model, images.clone(), model[0]), expected)
        made_here = Tiny()
    assert model.training and model[1].training and not model[2].training
    assert all(map(torch.equal, before, model.state_dict().values()))
    with pytest.raises(ValueError, match="make it outside"):
        extract_cam(made_here, images, made_here.trunk)
