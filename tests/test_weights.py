"""What remakes a model: from photographs and scores to weights, and to the tables of its card."""

import re
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks import cards
from lib import data, inputs, models, weights
from lib.__main__ import main
from lib.data import osie
from lib.data.sample_saliency import SampleSaliency
from lib.losses import Recipe
from lib.models import saliency
from lib.paths import ROOT
from lib.run import parameters
from lib.stats import bootstrap_interval

SMALL = Recipe(epochs=1, batch_size=4, image_size=64, crop_size=64)


@pytest.fixture
def photographs(tmp_path, monkeypatch, empty_cache):
    """A small BIQ2021: brightness is the score."""
    root, rng = tmp_path / "data" / "biq2021", np.random.default_rng(0)
    (root / "Images").mkdir(parents=True)
    for split, count in (("Train", 12), ("Test", 8)):
        names = [f"{split} ({i}).jpg" for i in range(count)]
        table = pd.DataFrame({"Image Name": names, "MOS": rng.uniform(0.1, 0.9, count).round(4)})
        table.to_csv(root / f"{split} (Images and MOS).csv", index=False)
        for name, mos in table.itertuples(index=False):
            pixels = rng.integers(0, 80, (64, 64, 3)) + 170 * mos
            Image.fromarray(pixels.astype(np.uint8)).save(root / "Images" / name)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WEIGHTS_DIR", str(tmp_path / "weights"))
    for name, count in {"VALIDATION": 4, "REFERENCES": 3, "VERSIONS": 2}.items():
        monkeypatch.setattr(weights, name, count)
    small = {name: replace(spec, recipe=SMALL) for name, spec in weights.TRAINED.items()}
    monkeypatch.setattr(weights, "TRAINED", small)
    monkeypatch.setattr(inputs, "SAME_SCENE", 1.01)  # noise looks alike, and is no scene
    monkeypatch.setattr(saliency, "LONG_SIDE", 96)
    monkeypatch.setattr(cards, "bootstrap_interval", partial(bootstrap_interval, n_boot=50))
    return tmp_path


def test_training_on_people_ships_weights_log_scores_and_card(photographs):
    assert main(["train", "baseline-lite0"]) == 0
    cards.main(["baseline-lite0"])
    files = sorted((photographs / "weights").iterdir())
    endings = [file.name.removeprefix("baseline-lite0.") for file in files]
    assert endings == ["log.csv", "md", "safetensors", "test.csv"]
    log, card, _, scores = files
    assert {"loss", "val_srocc", "val_plcc"} <= set(pd.read_csv(log).columns)
    table = pd.read_csv(scores)
    assert f"{cards.srocc(table.score, table.mos):.3f} [" in card.read_text()

    # Measured again: the prose stays.
    card.write_text("By a person.\n\n" + card.read_text() + "\n**Limits.** Many.\n")
    cards.main(["baseline-lite0"])
    again = card.read_text()
    assert again.startswith("By a person.") and again.endswith("**Limits.** Many.\n")
    assert again.count("| all ") == again.count("photograph of the scene |") == 1


@pytest.mark.parametrize("name", [n for n in weights.TRAINED if n in models.SHIPPED])
def test_a_card_names_the_recipe_and_has_its_tables(name):
    card = (ROOT / "weights" / f"{name}.md").read_text(encoding="utf-8")
    spec = weights.TRAINED[name]
    assert ", ".join(f"{k} {v}" for k, v in asdict(spec.recipe).items()) in card
    assert f"*{spec.variant}*" in card and spec.learned_from in card
    tables = re.findall(r"<!-- measured: (\w+) -->\n\n\|[^<]*\|\n\n<!-- end -->", card)
    assert tables == (["quality", "saliency"] if spec.learned_from == weights.BOTH else ["quality"])


def test_the_control_is_made_on_demand_and_does_not_ship(photographs, capsys):
    model = weights.load_or_train("control-synthetic")
    assert not (photographs / "weights" / "control-synthetic.safetensors").exists()
    assert model.config["backbone"] == "efficientnet_lite0"
    cards.main(["control-synthetic"])
    assert capsys.readouterr().out.endswith("it has no card\n")


@pytest.mark.parametrize(
    ("name", "said"), [("baseline-lite0", "make data PROFILE=open"), ("vgg", "baseline-lite0, ")]
)
def test_no_photographs_or_no_such_model_is_one_line_and_exit_1(
    name, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert main(["train", name]) == 1
    assert said in capsys.readouterr().err


def test_a_dual_task_network_ships_with_both_its_measures(photographs, monkeypatch):
    monkeypatch.setattr(osie, "open", lambda _: SampleSaliency())
    readouts = [saliency.ReadOut(seed=s).eval() for s in range(2)]
    monkeypatch.setattr(saliency, "fold_readouts", lambda *_: readouts)
    small = replace(SMALL, saliency_weight=0.3)
    lessons = replace(weights.OPEN, gaze=("osie", {}), repeats=2)
    spec = replace(weights.TRAINED["gradcam-loss-lite0"], recipe=small, lessons=lessons)
    monkeypatch.setitem(weights.TRAINED, "gradcam-loss-lite0", spec)
    assert main(["train", "gradcam-loss-lite0"]) == 0
    cards.main(["gradcam-loss-lite0"])
    card = (photographs / "weights" / "gradcam-loss-lite0.md").read_text()
    assert re.search(r"\| all +\| 8 ", card) and re.search(r"NSS.*\n.*\n\| 4 ", card)
    score, density = models.load("dual-task").predict(data.load("biq2021", split="test")[0].image)
    assert np.isfinite(score) and density.shape == (64, 64)


@pytest.mark.parametrize("name", [n for n, spec in weights.TRAINED.items() if spec.lessons])
def test_networks_of_notebook_03_learn_by_the_recipe_of_their_profile(name):
    spec = weights.TRAINED[name]
    profile = "open" if spec.lessons == weights.OPEN else "paper"
    chosen = parameters(ROOT / "notebooks" / "03_dual_task_training.ipynb", profile)
    recipe = {k.upper(): v for k, v in asdict(spec.recipe).items()}
    assert chosen.items() >= {k: v for k, v in recipe.items() if k in chosen}.items()
    assert {"EPOCHS", "IMAGE_SIZE", "CROP_SIZE", "FROZEN_STAGES", "SALIENCY_WEIGHT"} <= {*chosen}
    pairs = [(chosen[k], chosen[f"{k}_OPTIONS"]) for k in ("QUALITY", "GAZE")]
    rest = (chosen.get("APART_FROM"), pairs[1], chosen["PROXIES"], chosen["REPEATS"])
    assert spec.lessons == weights.Lessons(pairs[0], *rest)
