"""The one command that remakes a model: from photographs and scores to weights and a card."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from lib import data, models, weights
from lib.__main__ import main
from lib.data import osie
from lib.data.sample_saliency import SampleSaliency
from lib.losses import Recipe
from lib.models import saliency
from lib.paths import ROOT

SMALL = Recipe(epochs=1, batch_size=4, image_size=64, crop_size=64)


@pytest.fixture
def photographs(tmp_path, monkeypatch, empty_cache):
    """A small BIQ2021: brightness is the score."""
    root = tmp_path / "data" / "biq2021"
    (root / "Images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, count in (("Train", 16), ("Test", 8)):
        rows = []
        for i in range(count):
            mos = rng.uniform(0.1, 0.9)
            name = f"{split} ({i}).jpg"
            pixels = rng.integers(0, 80, (64, 64, 3)) + 170 * mos
            Image.fromarray(pixels.astype(np.uint8)).save(root / "Images" / name)
            rows.append((name, round(mos, 4)))
        table = pd.DataFrame(rows, columns=["Image Name", "MOS"])
        table.to_csv(root / f"{split} (Images and MOS).csv", index=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setattr(weights, "VALIDATION", 4)
    monkeypatch.setattr(weights, "REFERENCES", 3)
    monkeypatch.setattr(weights, "VERSIONS", 2)
    small = {name: replace(spec, recipe=SMALL) for name, spec in weights.TRAINED.items()}
    monkeypatch.setattr(weights, "TRAINED", small)
    return tmp_path


def test_training_on_people_ships_weights_log_scores_and_card(photographs, capsys):
    assert main(["train", "baseline-lite0"]) == 0
    folder = photographs / "weights"
    assert {p.name for p in folder.iterdir()} == {
        "baseline-lite0.safetensors",
        "baseline-lite0.log.csv",
        "baseline-lite0.test.csv",
        "baseline-lite0.md",
    }
    card = (folder / "baseline-lite0.md").read_text()
    table = pd.read_csv(folder / "baseline-lite0.test.csv")
    assert f"{weights.srocc(table.score, table.mos):.3f} [" in card and "8 photographs" in card
    log = pd.read_csv(folder / "baseline-lite0.log.csv")
    assert {"loss", "val_srocc", "val_plcc"} <= set(log.columns)
    (folder / "baseline-lite0.md").unlink()
    assert main(["train", "baseline-lite0", "--card"]) == 0, "measured again, not trained"
    assert (folder / "baseline-lite0.md").read_text() == card


def test_the_control_is_made_on_demand_and_does_not_ship(photographs):
    model = weights.load_or_train("control-synthetic")
    assert models.weights_path("control-synthetic").parent.name == "weights"
    assert not (photographs / "weights" / "control-synthetic.safetensors").exists()
    assert model.config["backbone"] == "efficientnet_lite0"


def test_missing_photographs_are_one_line_and_exit_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert main(["train", "baseline-lite0"]) == 1
    assert "make data PROFILE=open" in capsys.readouterr().err


def test_an_unknown_model_is_refused_with_the_names(capsys):
    assert main(["train", "baseline-vgg"]) == 1
    assert "baseline-lite0" in capsys.readouterr().err


def test_a_dual_task_network_ships_with_both_its_measures(photographs, monkeypatch):
    monkeypatch.setattr(weights, "DUAL_GAZE", {})
    monkeypatch.setattr(weights, "DUAL_REPEATS", 2)
    monkeypatch.setattr(osie, "open", lambda _: SampleSaliency())
    readouts = [saliency.ReadOut(seed=s).eval() for s in range(2)]
    monkeypatch.setattr(saliency, "fold_readouts", lambda *_: readouts)
    small = replace(SMALL, saliency_weight=0.3)
    spec = replace(weights.TRAINED["gradcam-loss-lite0"], recipe=small)
    monkeypatch.setitem(weights.TRAINED, "gradcam-loss-lite0", spec)
    assert main(["train", "gradcam-loss-lite0"]) == 0
    card = (photographs / "weights" / "gradcam-loss-lite0.md").read_text()
    assert "*Baseline-GradCAM-Loss*" in card and "**Second output**" in card and "| 4 |" in card
    log = pd.read_csv(photographs / "weights" / "gradcam-loss-lite0.log.csv")
    assert {"iqa_loss", "saliency_loss"} <= set(log.columns)
    score, density = models.load("dual-task").predict(data.load("biq2021", split="test")[0].image)
    assert np.isfinite(score) and density.shape == (64, 64)


def test_the_recipe_of_the_dual_task_models_is_the_open_profiles():
    profile = yaml.safe_load((ROOT / "profiles" / "open.yaml").read_text())["03"]
    names = {"EPOCHS", "IMAGE_SIZE", "CROP_SIZE", "FROZEN_STAGES", "SALIENCY_WEIGHT"}
    assert {n: profile[n] for n in names} == {n: getattr(weights.DUAL, n.lower()) for n in names}
    assert profile["REPEATS"] == weights.DUAL_REPEATS
    assert profile["GAZE_OPTIONS"] == weights.DUAL_GAZE
