"""Pictures are resized once, run through frozen stages once, and grouped by what they show."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lib import data, inputs, training
from lib.losses import Recipe
from lib.models.baseline import Baseline
from lib.records import Dataset, Record

RECIPE = Recipe(epochs=1, batch_size=4, image_size=64, crop_size=64, frozen_stages=3, lr_head=1e-2)


@pytest.fixture(scope="module")
def model():
    return Baseline("efficientnet_lite0", "imagenet", hidden=32)


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "efficientnet_b0", "resnet50"])
def test_stages_in_a_row_are_the_trunk(backbone):
    network, x = Baseline(backbone, "random"), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.features(x), network.backbone.forward_features(x))


def test_frozen_stages_see_a_picture_and_its_mirror_image_once(model, empty_cache):
    dataset = data.load("sample-saliency")
    seen = inputs.network_inputs(dataset, model, RECIPE)
    pixels = np.array(inputs.resized_images(dataset, 64))
    assert seen.shape == (len(dataset), 2, 8, 8, 40) and seen.dtype == np.float16
    with torch.no_grad():
        for mirrored, picture in enumerate((pixels, pixels[:, :, ::-1])):
            whole = model.read(torch.from_numpy(picture.copy()))
            kept = model.read(torch.from_numpy(np.array(seen[:, mirrored])), 3)
            assert (whole - kept).abs().max() < 0.02 * whole.abs().max(), "half precision"
    scores = [training.predict(model, each, 3) for each in (seen, pixels)]
    np.testing.assert_allclose(*scores, atol=5e-3)
    none = replace(RECIPE, frozen_stages=0)
    assert np.array_equal(inputs.network_inputs(dataset, model, none), pixels)


def test_training_behind_frozen_stages_is_training_with_them_frozen(model, tmp_path, empty_cache):
    dataset = data.load("sample-saliency")
    seen = inputs.network_inputs(dataset, model, RECIPE)
    pixels = np.array(inputs.resized_images(dataset, 64))
    targets = pixels.mean(axis=(1, 2, 3)) / 255
    maps = np.random.default_rng(0).uniform(size=(len(dataset), 4, 4)).astype(np.float32)
    for k, given in enumerate((None, maps)):
        logs = [
            training.train(model, images, targets, RECIPE, tmp_path / f"{k}{j}", maps=given)[1]
            for j, images in enumerate((seen, pixels))
        ]
        for a, b in zip(*logs, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], rel=0.02)


class Shots(Dataset):
    """The sample's photographs by number, each shot a little darker than the one before."""

    name, kind = "shots", "made"

    def __init__(self, shown):
        self.shown, self.names = shown, [f"{i}" for i in range(len(shown))]
        self.fingerprint = f"shots {shown}"
        self.scores = pd.Series(range(len(shown)), self.names, dtype=float)

    def __getitem__(self, index):
        image = data.load("sample-saliency")[self.shown[index]].image
        return Record(self.names[index], np.uint8(image * (1 - 0.05 * index)))


def test_a_scene_is_on_one_side_only(empty_cache):
    whole = Shots([1, 1, 2, 3, 2])
    part = inputs.by_scene(whole)
    a, b, c, d, e = part.contents
    assert a == b and c == e and len({a, c, d}) == 3
    rest = inputs.by_scene(whole, Shots([7, 2]))
    assert rest.names == ["0", "1", "3"] and list(rest.scores) == [0, 1, 3]
    assert rest.fingerprint != whole.fingerprint and rest[2].name == "3"
    assert len(inputs.resized_images(rest, 32)) == 3
