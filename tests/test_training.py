"""Training learns, takes up its own checkpoints only, and stops early with a reason."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from lib import data, losses
from lib.inputs import resized_images
from lib.losses import Recipe, iqa_loss
from lib.models.baseline import Baseline
from lib.training import Run, predict, train

RECIPE = Recipe(
    epochs=6, batch_size=4, image_size=40, crop_size=32, lr_backbone=1e-4, lr_head=1e-2, average=0.5
)
RNG = np.random.default_rng(0)
# Brightness is the score: the simplest thing that a network can learn from pictures.
TARGETS = RNG.uniform(0, 1, 12)
IMAGES = np.clip(
    TARGETS[:, None, None, None] * 200 + RNG.integers(0, 50, (12, 40, 40, 3)), 0, 255
).astype(np.uint8)


@pytest.fixture(scope="module")
def start():
    return Baseline("efficientnet_lite0", "imagenet", hidden=32)


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    return train(start, IMAGES, TARGETS, RECIPE, tmp_path_factory.mktemp("run"))


def equal(a, b):
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_loss_falls_and_scores_are_on_the_targets_scale(undisturbed):
    model, log = undisturbed
    assert [row["epoch"] for row in log] == [1, 2, 3, 4, 5, 6]
    assert log[-1]["loss"] < log[0]["loss"]
    scores = predict(model, IMAGES)
    assert np.corrcoef(scores, TARGETS)[0, 1] > 0.7, "whatever the head's random start says"
    assert abs(scores.mean() - TARGETS.mean()) < 0.5


def test_what_was_damaged_is_made_again_with_a_word(start, tmp_path, capsys, empty_cache):
    begin = partial(Run, start, RECIPE, 6, tmp_path / "last.pt", "key")
    begin().save({"epoch": 1})
    assert begin().log == [{"epoch": 1}]
    content = (tmp_path / "last.pt").read_bytes()
    torch.save({"epoch": 3}, tmp_path / "foreign.pt")
    foreign = (tmp_path / "foreign.pt").read_bytes()
    for damage in (b"", b"<html></html>", content[: len(content) // 2], foreign):
        (tmp_path / "last.pt").write_bytes(damage)
        assert begin().log == []
        assert "last.pt is not as we wrote it: trained from the start" in capsys.readouterr().out
    photographs = data.load("sample-saliency")
    pixels = np.array(resized_images(photographs, 32))
    (path,) = (empty_cache / "resized").iterdir()
    for damage in (b"", path.read_bytes()[:-9], b"\0" * path.stat().st_size):
        path.write_bytes(damage)
        assert np.array_equal(resized_images(photographs, 32), pixels)


def test_a_checkpoint_of_another_recipe_is_not_taken_up(start, tmp_path):
    first, other = (replace(RECIPE, epochs=1, seed=seed) for seed in (0, 1))
    train(start, IMAGES, TARGETS, first, tmp_path)
    model, log = train(start, IMAGES, TARGETS, other, tmp_path)
    fresh, _ = train(start, IMAGES, TARGETS, other, tmp_path / "fresh")
    assert len(log) == 1 and equal(model, fresh)


def test_frozen_stages_keep_their_imagenet_weights_and_the_start_all_of_them(start, undisturbed):
    assert equal(start, Baseline("efficientnet_lite0", "imagenet", hidden=32))
    before, after = start.backbone.state_dict(), undisturbed[0].backbone.state_dict()
    for name in before:
        frozen = name.startswith(("conv_stem", "bn1", "blocks.0", "blocks.1"))
        if name.endswith("weight"):
            assert torch.equal(before[name], after[name]) == frozen, name
    statistics = [n for n in before if "running" in n]
    assert all(torch.equal(before[n], after[n]) for n in statistics)


def test_a_loss_that_is_not_finite_stops_at_once(start, tmp_path, monkeypatch):
    monkeypatch.setattr(losses, "iqa_loss", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(FloatingPointError, match="lower lr_backbone"):
        train(start, IMAGES, TARGETS, RECIPE, tmp_path)


def test_loss_is_zero_for_a_perfect_prediction_and_finite_for_a_constant_one():
    target = torch.tensor([0.0, 1.0, 2.0])
    assert iqa_loss(target, target, 1.0).item() == pytest.approx(0, abs=1e-6)
    constant = torch.zeros(3, requires_grad=True)
    iqa_loss(constant, target, 1.0).backward()
    assert torch.isfinite(constant.grad).all()
