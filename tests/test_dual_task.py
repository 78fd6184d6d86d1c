"""One network, two tasks: the equations of Section III-C, splits that don't leak, fair repeats."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_grad_cam import GradCAM
from torch import nn

from lib import cam, data, dual_task, models, training
from lib.losses import Recipe, saliency_loss
from lib.maps import normalize_sum
from lib.metrics import cc
from lib.models import saliency
from lib.models.baseline import KINDS, Baseline, Rectify, load_baseline
from lib.records import Dataset, Record, folds_of
from lib.training import train
from tests.test_notebooks import functions
from tests.test_training import equal

RNG = np.random.default_rng(0)
SMALL = {"epochs": 3, "batch_size": 4, "image_size": 96, "crop_size": 64, "average": 0.5}
RECIPE = Recipe(**SMALL, lr_backbone=3e-4, lr_head=3e-3, saliency_weight=0.3)
NO_PLCC = replace(RECIPE, correlation_weight=0.0)


def spot(brightness, row, column):
    """A dim picture with one bright spot, and the map of that spot."""
    pixels = RNG.integers(0, 30, (96, 96, 3)) + int(brightness * 60)
    pixels[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32] += 120
    found = np.full((6, 6), 0.01, np.float32)
    found[row * 2 : row * 2 + 2, column * 2 : column * 2 + 2] = 1
    return pixels.astype(np.uint8), found / found.sum()


SCORES = RNG.uniform(0, 1, 12)
PAIRS = [spot(score, i % 3, (i // 3) % 3) for i, score in enumerate(SCORES)]
IMAGES, MAPS = (np.stack(part) for part in zip(*PAIRS, strict=True))


@pytest.fixture(scope="module")
def baseline():
    return Baseline("efficientnet_lite0", "imagenet", hidden=16)


class Spots(Dataset):
    """Pictures with scores and fixations."""

    name, kind, fingerprint = "spots", "made up", "spots"

    def __init__(self, count=10, contents=None):
        self.names = [f"{'ab'[i % 2]} {i}" for i in range(count)]
        self.contents = contents or self.names
        self.scores = pd.Series(SCORES[:count], index=self.names)

    def __getitem__(self, index):
        density = normalize_sum(np.kron(MAPS[index], np.ones((16, 16), np.float32)))
        rows, columns = np.nonzero(density > density.mean())
        fixations = np.column_stack([columns, rows])[::37].astype(float)
        mos = float(self.scores.iloc[index])
        return Record(self.names[index], IMAGES[index], fixations, density, mos, (0.0, 1.0))


@pytest.fixture
def experiment(empty_cache):
    quality = Spots()
    maps = dual_task.proxies("observers", quality, 96, quality, 2, 0)
    return dual_task.Experiment(quality, quality, maps, RECIPE, "efficientnet_lite0", 0)


# --- the equations --------------------------------------------------------------------------


def test_the_second_output_is_pytorch_grad_cams_map(baseline):
    x = baseline.normalize(IMAGES[:4])
    with torch.inference_mode():
        score, found = baseline.both(x)
    assert torch.allclose(score, baseline(x), atol=1e-6) and found.amax() > 0
    ours = np.stack([cam.enlarge(m, (96, 96)) for m in found.numpy()])
    with GradCAM(baseline, [baseline.backbone.bn2]) as peer:
        assert ours == pytest.approx(peer(x, [lambda y: y.sum()] * 4), abs=1e-4)


def test_gradcam_loss_adds_no_parameter_and_sal_loss_one_convolution():
    plain, sal, gradcam = (
        KINDS[kind]("efficientnet_lite0", "imagenet", seed=0).state_dict()
        for kind, _ in dual_task.VARIANTS.values()
    )
    assert gradcam.keys() == plain.keys() == sal.keys() - {"decoder.weight", "decoder.bias"}
    assert sal["decoder.weight"].numel() == 1280
    assert all(torch.equal(value, sal[name]) for name, value in plain.items())


def test_the_saliency_loss_moves_the_backbone_and_never_the_head():
    model = Baseline("efficientnet_lite0", "imagenet", hidden=16)
    predicted = model.saliency(model.features(model.normalize(IMAGES[:4])))
    saliency_loss(predicted, torch.from_numpy(MAPS[:4, ::2, ::2].copy()), "kld").backward()
    assert all(p.grad is None for p in model.head.parameters())
    assert model.backbone.conv_head.weight.grad.abs().max() > 0


def test_the_map_is_a_relu_that_can_be_revived():
    x = torch.tensor([-1.0, -1.0, 2.0, 2.0], requires_grad=True)
    Rectify.apply(x).backward(torch.tensor([1.0, -1.0, 1.0, -1.0]))
    assert x.grad.tolist() == [0, -1, 1, -1], "below zero, only a wish for more passes"


@pytest.mark.parametrize("kind", ["kld", "bce", "cc"])
def test_a_better_map_has_a_smaller_loss_and_a_map_of_zeros_a_finite_one(kind):
    target = torch.from_numpy(MAPS)
    worse = target.roll(2, dims=2)
    tried = (target, (target + worse) / 2, worse)
    best, middle, bad = (saliency_loss(one, target, kind) for one in tried)
    assert best < middle < bad
    if kind != "bce":  # which is the targets' entropy at best
        assert best.item() == pytest.approx(0, abs=1e-5)
    if kind == "cc":
        assert saliency_loss(7 * worse, target, kind).item() == pytest.approx(bad.item(), abs=1e-5)
    predicted = torch.zeros(2, 6, 6, requires_grad=True)
    loss = saliency_loss(predicted, torch.from_numpy(MAPS[:2]), kind)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(predicted.grad).all()
    with pytest.raises(ValueError, match="'kld', 'bce' or 'cc', not 'mse'"):
        saliency_loss(torch.ones(1, 2, 2), torch.ones(1, 2, 2), "mse")


# --- the loop -------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [1, 8, 16])
def test_image_and_map_are_cropped_and_mirrored_together(cell):
    maps = RNG.uniform(0, 1, (8, 6, 6)).astype(np.float32)
    shown = np.kron(maps, np.ones((16 // cell,) * 2))[..., None]
    if cell == 1:  # pixels
        images = np.repeat((shown * 255).round().astype(np.uint8), 3, axis=3)
    else:  # what frozen stages of that stride made, and made of the mirror images
        images = np.float16(255 * np.stack([shown, shown[:, :, ::-1]], axis=1))
    batches = list(training._batches(images, torch.zeros(8), maps, RECIPE, epoch=0))
    for seen, _, found in batches:
        assert seen.shape[:3] == (4, 64 // cell, 64 // cell) and found.shape == (4, 4, 4)
        means = nn.functional.avg_pool2d(seen[..., 0].float() / 255, 16 // cell)
        assert torch.allclose(means, found, atol=1 / 255)
    assert len({m.numpy().tobytes() for _, _, found in batches for m in found}) == 8


@pytest.mark.parametrize("kind", KINDS.values())
def test_both_losses_fall_and_a_run_killed_in_between_ends_with_the_same_weights(tmp_path, kind):
    def kill(log):
        if len(log) == 1:
            raise KeyboardInterrupt

    start, recipe = kind("efficientnet_lite0", "imagenet", hidden=16), replace(RECIPE, epochs=6)
    whole, log = train(start, IMAGES, SCORES, recipe, tmp_path / "whole", maps=MAPS)
    assert type(whole) is kind
    for loss in ("iqa_loss", "saliency_loss"):
        assert log[-1][loss] < log[0][loss], loss
    with pytest.raises(KeyboardInterrupt):
        train(start, IMAGES, SCORES, recipe, tmp_path / "cut", maps=MAPS, watch=kill)
    assert list(pd.read_csv(tmp_path / "cut" / "log.csv").epoch) == [1]
    again, log_again = train(start, IMAGES, SCORES, recipe, tmp_path / "cut", maps=MAPS)
    assert equal(whole, again) and log == log_again


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES / 255}, "must be BxHxWx3 uint8"),
        ({"images": IMAGES[:0]}, "must be BxHxWx3 uint8"),
        ({"images": IMAGES[:, :, :80]}, "squares that hold a crop of 64, not 96x80"),
        ({"recipe": replace(RECIPE, crop_size=128)}, "squares that hold a crop of 128, not 96x96"),
        ({"recipe": replace(RECIPE, crop_size=80)}, "multiple of 16 and crop_size of 32"),
        ({"recipe": replace(RECIPE, batch_size=1)}, "a batch needs 2 images or more"),
        ({"recipe": replace(NO_PLCC, batch_size=0)}, "a batch needs 1 images or more"),
        ({"maps": None}, "no maps to learn from"),
        ({"maps": MAPS[:, :5]}, r"maps must be \(12, 6, 6\)"),
        ({"maps": -MAPS}, "finite and non-negative"),
        ({"maps": np.where(np.eye(6) > 0, np.nan, MAPS)}, "finite and non-negative"),
        ({"targets": np.full(12, np.nan)}, "12 images need as many finite targets"),
        ({"targets": SCORES[:5]}, "12 images need as many finite targets"),
        ({"targets": np.ones(12)}, "not all equal"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(tmp_path, baseline, change, message):
    given = {"images": IMAGES, "targets": SCORES, "recipe": RECIPE, "maps": MAPS} | change
    with pytest.raises(ValueError, match=message):
        train(baseline, folder=tmp_path, **given)


# --- splits and repeats ---------------------------------------------------------------------


@pytest.mark.parametrize("quality", [Spots(10), data.load("sample-quality")])
def test_every_image_is_judged_once_and_a_photograph_in_both_sets_held_out_of_both(quality):
    gaze = data.load("sample-saliency")
    splits = [dual_task.split(quality, gaze, r, 4, seed=0) for r in range(4)]
    assert sorted(np.concatenate([s.gaze_test for s in splits])) == list(range(8))
    for s in splits:
        assert sorted([*s.train, *s.test]) == list(range(len(quality)))
        learned, aside = ({quality.contents[i] for i in part} for part in (s.train, s.test))
        assert set(s.gaze_train) == set(range(8)) - set(s.gaze_test) and not learned & aside
        shared = {gaze.names[i] for i in s.gaze_test}
        assert aside == shared if set(gaze.names) & set(quality.contents) else len(aside) == 2
    assert any(set(a.test) != set(splits[0].test) for a in splits)


def test_proxies_of_a_repeat_come_from_its_own_read_out(empty_cache, monkeypatch):
    readouts = [saliency.ReadOut(seed=s).eval() for s in range(2)]
    monkeypatch.setattr(saliency, "fold_readouts", lambda *_: readouts)
    found = dual_task.proxies("predictor", Spots(2), 96, Spots(4), 2, 0)
    assert found.shape == (2, 2, 6, 6) and found.sum(axis=(2, 3)) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(found[0], found[1])
    (grid,) = saliency.predict_grid(readouts[1:], IMAGES[0])
    expected = normalize_sum(dual_task.resize_map(dual_task.resize_map(grid, (24, 24)), (6, 6)))
    assert found[1, 0] == pytest.approx(expected, abs=1e-6)
    monkeypatch.setattr(saliency, "predict_grid", lambda *_: pytest.fail("predicted again"))
    assert np.array_equal(dual_task.proxies("predictor", Spots(2), 96, Spots(4), 2, 0), found)
    assert dual_task.proxies("predictor", Spots(2), 192, Spots(4), 2, 0).shape == (2, 2, 12, 12)


def test_observed_maps_sum_to_one_and_follow_the_contents():
    quality = Spots(3, contents=["a 2", "a 0", "a 2"])
    found = dual_task.proxies("observers", quality, 96, Spots(4), 2, 0)[1]
    assert np.array_equal(found[0], found[2]) and not np.allclose(found[0], found[1])
    assert found.sum(axis=(1, 2)) == pytest.approx(1) and found.shape == (3, 6, 6)
    with pytest.raises(ValueError, match="no published network 'sam'"):
        dual_task.proxies("sam", quality, 96, Spots(4), 2, 0)


def test_a_trained_network_and_its_scores_are_found_again(experiment, monkeypatch):
    chosen = dual_task.split(experiment.quality, experiment.gaze, 0, 2, 0)
    path = dual_task.fit(experiment, "Baseline-GradCAM-Loss", 0, chosen.train)
    assert not path.with_name("last.pt").exists()
    scores = dual_task.judged(experiment, path, chosen.test)
    frozen, images = experiment.recipe.frozen_stages, experiment.images[chosen.test]
    expected = training.predict(load_baseline(path), images, frozen)
    assert np.array_equal(scores, expected)
    seen = []
    with monkeypatch.context() as patched:
        patched.setattr(training, "train", None)
        patched.setattr(training, "predict", None)
        fit = dual_task.fit(experiment, "Baseline-GradCAM-Loss", 0, chosen.train, seen.append)
        assert fit == path and [row["epoch"] for row in seen[0]] == [1, 2, 3]
        assert np.array_equal(dual_task.judged(experiment, path, chosen.test), scores)
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    dual_task.fit(experiment, "Baseline-GradCAM-Loss", 0, chosen.train)
    assert path.read_bytes() == content, "damaged, so trained again"


def test_each_repeat_answers_for_its_own_images(experiment):
    networks = [Baseline("efficientnet_lite0", "random", hidden=4, seed=s) for s in range(2)]
    notebook = functions("03", "INPUT_LONG_SIDE = 96")
    each = [notebook.second_output("x", network) for network in networks]
    source = notebook.by_fold(each, experiment.gaze, "96")
    fold = folds_of(10, 2, 0)
    for record, network in zip(experiment.gaze, [networks[f] for f in fold], strict=True):
        _, expected = network.both(network.normalize(record.image[None]))
        assert source.compute([record]) == pytest.approx(expected.detach().numpy())


def test_the_shipped_dual_task_model_agrees_with_the_observers_it_never_saw():
    network, gaze = models.load("dual-task"), data.load("sample-saliency")
    scores, densities = zip(*(network.predict(r.image) for r in gaze), strict=True)
    assert min(scores) > 0 and max(scores) < 1.2
    assert np.mean([cc(m, r.density) for m, r in zip(densities, gaze, strict=True)]) > 0.3
