"""Every quality model under one call, ours and pyiqa's."""

import numpy as np
import pyiqa
import pytest
import torch

from lib import models
from lib.models import zoo
from lib.models.dual import DualTask

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 96, 128, 3), np.uint8)


def test_a_model_of_ours_scores_as_itself_and_can_be_explained():
    scorer = zoo.scorer("baseline-lite0")
    network = models.load("baseline-lite0")
    with torch.no_grad():
        direct = network(network.normalize(IMAGES)).numpy()
    np.testing.assert_allclose(scorer.score(IMAGES), direct, rtol=1e-6)
    assert scorer.score(IMAGES).shape == (3,) and scorer.network is not None
    assert scorer.key != zoo.scorer("baseline-lite1").key


def test_the_dual_task_networks_score_as_any_other():
    for name in ("sal-loss-lite0", "gradcam-loss-lite0"):
        scores = zoo.scorer(name).score(IMAGES)
        assert scores.shape == (3,) and np.isfinite(scores).all()
    assert isinstance(models.load("dual-task"), DualTask)


def test_pyiqas_scores_are_its_own_and_higher_is_better():
    metric = pyiqa.create_metric("piqe", device="cpu")
    assert metric.lower_better
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255
    np.testing.assert_allclose(
        zoo.scorer("piqe").score(IMAGES), -metric(pixels).numpy().ravel(), rtol=1e-6
    )


def test_names_that_are_no_model_are_refused():
    with pytest.raises(ValueError, match="no no-reference metric 'psnr'"):
        zoo.scorer("psnr")
    with pytest.raises(FileNotFoundError, match="make train MODEL=baseline-none"):
        zoo.scorer("baseline-none")


def test_what_cannot_be_had_is_named_with_its_reason(monkeypatch):
    def offline(name, device):
        raise OSError("Name or service not known")

    create = pyiqa.create_metric
    monkeypatch.setattr(
        pyiqa,
        "create_metric",
        lambda n, device: create(n, device=device) if n == "piqe" else offline(n, device),
    )
    found, missing = zoo.scorers(["piqe", "dbcnn", "baseline-none"])
    assert [s.name for s in found] == ["piqe"] and set(missing) == {"dbcnn", "baseline-none"}
    assert "zoo.open_pyiqa('dbcnn')" in missing["dbcnn"], "the command that gets it"


@pytest.mark.parametrize("core", ["numpy._core", "numpy.core"], ids=["NumPy 2", "NumPy 1"])
def test_a_number_that_training_left_in_a_checkpoint_is_read(core, tmp_path):
    path = tmp_path / "old.pth"
    checkpoint = {"loss": np.float64(0.25), "weight": torch.arange(3)}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"numpy._core", core.encode()))
    with zoo.plain_checkpoints():
        read = torch.load(path, weights_only=False)
    assert read["loss"] == 0.25 and read["weight"].tolist() == [0, 1, 2]
