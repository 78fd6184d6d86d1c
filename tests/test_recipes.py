"""The one command that remakes a model: from photographs and scores to weights and a card."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from lib import data, models, recipes
from lib import distortions
from lib.models import saliency
from lib.paths import ROOT
from lib.training import Recipe

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
    monkeypatch.setattr(recipes, "VALIDATION", 4)
    monkeypatch.setattr(recipes, "REFERENCES", 3)
    monkeypatch.setattr(recipes, "VERSIONS", 2)
    small = {name: replace(spec, recipe=SMALL) for name, spec in recipes.TRAINED.items()}
    monkeypatch.setattr(recipes, "TRAINED", small)
    return tmp_path


def test_training_on_people_ships_weights_log_scores_and_card(photographs, capsys):
    assert recipes.main(["baseline-lite0"]) == 0
    folder = photographs / "weights"
    assert {p.name for p in folder.iterdir()} == {
        "baseline-lite0.safetensors",
        "baseline-lite0.log.csv",
        "baseline-lite0.test.csv",
        "baseline-lite0.md",
    }
    card = (folder / "baseline-lite0.md").read_text()
    table = pd.read_csv(folder / "baseline-lite0.test.csv")
    assert f"{recipes.srocc(table.score, table.mos):.3f} [" in card and "8 photographs" in card
    log = pd.read_csv(folder / "baseline-lite0.log.csv")
    assert {"loss", "val_srocc", "val_plcc"} <= set(log.columns)
    (folder / "baseline-lite0.md").unlink()
    assert recipes.main(["baseline-lite0", "--card"]) == 0, "measured again, not trained"
    assert (folder / "baseline-lite0.md").read_text() == card


def test_a_scene_that_training_has_seen_is_found(photographs):
    train, test = (data.load("biq2021", split=s) for s in ("train", "test"))
    copied = test.root / "Images" / train.names[3]
    copied.rename(test.root / "Images" / "was.jpg")
    shutil.copy(test.root / "Images" / test.names[5], copied)
    train, test = (data.load("biq2021", split=s) for s in ("train", "test"))
    found = recipes.nearest_similarity(test, train, 64)
    assert found.shape == (8,) and found.argmax() == 5
    assert found[5] == pytest.approx(1, abs=1e-5) and (found <= 1 + 1e-5).all()
    assert np.array_equal(recipes.nearest_similarity(test, train, 64), found)


def test_the_control_is_made_on_demand_and_does_not_ship(photographs):
    model = recipes.load_or_train("control-synthetic")
    assert models.weights_path("control-synthetic").parent.name == "weights"
    assert not (photographs / "weights" / "control-synthetic.safetensors").exists()
    assert model.config["backbone"] == "efficientnet_lite0"


def test_synthetic_set_is_cached_and_ranks_between_zero_and_one(photographs, monkeypatch):
    images, pseudo_mos = recipes.synthetic_set(SMALL)
    assert images.shape == (6, 64, 64, 3) and pseudo_mos.shape == (6,)
    assert ((pseudo_mos >= 0) & (pseudo_mos <= 1)).all()

    def no_more(*_, **__):
        raise AssertionError("it was computed again")

    monkeypatch.setattr(distortions, "distort", no_more)
    again, _ = recipes.synthetic_set(SMALL)
    assert np.array_equal(again, images)


def test_missing_photographs_are_one_line_and_exit_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert recipes.main(["baseline-lite0"]) == 1
    assert "make data PROFILE=open" in capsys.readouterr().err


def test_an_unknown_model_is_refused_with_the_names(capsys):
    with pytest.raises(SystemExit):
        recipes.main(["baseline-vgg"])
    assert "baseline-lite0" in capsys.readouterr().err


def test_a_dual_task_network_ships_with_both_its_measures(photographs, monkeypatch):
    monkeypatch.setattr(recipes, "DUAL_GAZE", {})
    monkeypatch.setattr(recipes, "DUAL_REPEATS", 2)
    monkeypatch.setitem(data.DATASETS, "osie", ("lib.data.sample", "SampleSaliency", None))
    readouts = [saliency.ReadOut(seed=s).eval() for s in range(2)]
    monkeypatch.setattr(saliency, "fold_readouts", lambda *_: readouts)
    small = replace(SMALL, saliency_weight=0.3)
    spec = replace(recipes.TRAINED["gradcam-loss-lite0"], recipe=small)
    monkeypatch.setitem(recipes.TRAINED, "gradcam-loss-lite0", spec)
    assert recipes.main(["gradcam-loss-lite0"]) == 0
    card = (photographs / "weights" / "gradcam-loss-lite0.md").read_text()
    assert "*Baseline-GradCAM-Loss* (Section III-C)" in card
    assert (
        "13 photographs (repeat 0 of notebook 03)" in card and "the 4 images of that fold" in card
    )
    log = pd.read_csv(photographs / "weights" / "gradcam-loss-lite0.log.csv")
    assert {"iqa_loss", "saliency_loss"} <= set(log.columns)
    score, density = models.load("dual-task")(data.load("biq2021", split="test")[0].image)
    assert np.isfinite(score) and density.shape == (64, 64)


def test_the_recipe_of_the_dual_task_models_is_the_open_profiles():
    profile = yaml.safe_load((ROOT / "profiles" / "open.yaml").read_text())["03"]
    names = {"EPOCHS", "IMAGE_SIZE", "CROP_SIZE", "FROZEN_STAGES", "SALIENCY_WEIGHT"}
    assert {n: profile[n] for n in names} == {n: getattr(recipes.DUAL, n.lower()) for n in names}
    assert profile["REPEATS"] == recipes.DUAL_REPEATS
    assert profile["GAZE_OPTIONS"] == recipes.DUAL_GAZE
