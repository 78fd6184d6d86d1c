"""The saliency predictor: a density for any picture, judged on pictures that it never saw."""

import numpy as np
import pytest
import torch

from lib.metrics import cc
from lib.models import saliency
from lib.models.saliency import ReadOut, SaliencyPredictor
from lib.records import folds_of
from tests.test_evaluation import Blobs


@pytest.mark.parametrize("shape", [(48, 64), (1, 1), (200, 30), (31, 333)])
def test_any_picture_gets_a_density_of_its_own_size(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    density = SaliencyPredictor(ReadOut())(image)
    assert density.shape == shape and density.dtype == np.float32
    assert density.min() >= 0 and density.sum() == pytest.approx(1, abs=1e-4)


def test_mirrored_picture_gets_the_mirrored_density():
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    predict = SaliencyPredictor(ReadOut(seed=3))
    assert np.array_equal(predict(image / 255), predict(image))
    np.testing.assert_allclose(predict(image[:, ::-1])[:, ::-1], predict(image), rtol=1e-3)


def test_features_are_those_of_the_whole_trunk_and_the_read_out_gives_a_log_density():
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
    features = saliency.trunk_features(images)
    x = (torch.from_numpy(images).float() / 127.5 - 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        log_density, whole = ReadOut()(features), saliency._trunk().forward_features(x)
    assert log_density.shape == (1, 4, 6)
    torch.testing.assert_close(log_density.exp().sum(), torch.tensor(1.0))
    assert [f.shape[1] for f in features] == list(saliency.CHANNELS)
    assert [64 // f.shape[2] for f in features] == list(saliency.STRIDES)
    torch.testing.assert_close(features[-1], whole)


def test_cross_validation_finds_the_blob_in_pictures_it_never_saw(empty_cache, monkeypatch):
    monkeypatch.setattr(saliency, "LONG_SIDE", 96)
    dataset = Blobs(16)
    held_out = saliency.cross_validate(dataset, folds=2)
    with monkeypatch.context() as stopped:
        stopped.setattr(saliency, "train_on", None)
        assert np.array_equal(saliency.cross_validate(dataset, folds=2), held_out), "memoised"
    next(empty_cache.glob("cross-validated/*/all*.npy")).unlink()
    next(empty_cache.glob("fold-readouts/*/fold_1*.npy")).unlink()
    again = saliency.cross_validate(dataset, folds=2)
    assert np.array_equal(held_out, again), "same seed, same densities; the lost fold alone"
    truth = [saliency.resize_map(dataset[i].density, held_out[i].shape) for i in range(16)]
    prior = held_out.mean(axis=0)
    gain = [cc(m, t) - cc(prior, t) for m, t in zip(held_out, truth, strict=True)]
    assert np.mean(gain) > 0.1


def test_folds_are_even_and_fixed_by_the_seed():
    folds = folds_of(23, 5, seed=1)
    assert sorted(np.bincount(folds)) == [4, 4, 5, 5, 5]
    assert np.array_equal(folds, folds_of(23, 5, seed=1))
    with pytest.raises(ValueError, match="folds must be between 2 and the 3 images, not 4"):
        folds_of(3, 4, seed=0)


def test_a_saved_read_out_predicts_the_same_and_wrong_files_are_named(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    readout = ReadOut(seed=2)
    saliency.save_readout(readout, tmp_path / "r.safetensors", name="r")
    assert (tmp_path / "r.safetensors").stat().st_size < 500_000
    again = SaliencyPredictor(saliency.load_readout(tmp_path / "r.safetensors"))(image)
    np.testing.assert_allclose(again, SaliencyPredictor(readout)(image), rtol=0.02)
    with pytest.raises(FileNotFoundError, match="git checkout -- weights"):
        saliency.load_readout(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"{}")
    with pytest.raises(ValueError, match=r"bad\.safetensors is not a read-out"):
        saliency.load_readout(tmp_path / "bad.safetensors")
