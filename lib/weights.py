"""The project's own trained models: what each learned from, how it is remade.

``python -m lib train baseline-lite0`` trains the model of that name, or goes on where it was
stopped; what it measures on images that it never saw is in its card, ``weights/NAME.md``.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lib import data, dual_task, models
from lib.data import sample_quality
from lib.images import resize_image
from lib.inputs import by_scene, network_inputs
from lib.losses import Recipe
from lib.models import saliency
from lib.models.backbones import best_device
from lib.models.baseline import Baseline, load_baseline, save
from lib.paths import cache_dir, weights_dir
from lib.stats import plcc, srocc
from lib.store import write_atomically
from lib.training import Log, predict, train

VALIDATION = 200  # scenes of the training part kept aside to watch the epochs
REFERENCES, VERSIONS = 250, 6  # of the synthetic control: photographs, and distortions of each
PEOPLE, SYNTHETIC = "human scores", "synthetic distortions"
BOTH = "human scores and proxy saliency"


@dataclass(frozen=True)
class Lessons:
    """What the networks of notebook 03 learn from in a profile; of its repeats we keep number 0."""

    quality: tuple[str, dict]  # a data set and its options
    apart_from: dict | None  # options of the part of it whose scenes stay unseen, if there is one
    gaze: tuple[str, dict]
    proxies: str  # see `lib.dual_task.proxies`
    repeats: int


@dataclass(frozen=True)
class Trained:
    """One of the project's IQA models."""

    backbone: str
    learned_from: str
    recipe: Recipe
    variant: str = "Baseline"  # a key of `lib.dual_task.VARIANTS`
    lessons: Lessons | None = None  # where it comes from notebook 03


BIQ2021, OSIE = ("biq2021", {"split": "train"}), ("osie", {"long_side": 400})
OPEN = Lessons(BIQ2021, {"split": "test"}, OSIE, "predictor", 10)
PAPER = Lessons(("koniq", {}), None, ("salicon", {"split": "val"}), "msi-net", 10)
SINGLE = Recipe(epochs=5, crop_size=320, frozen_stages=3)
DUAL = Recipe(epochs=3, image_size=320, crop_size=256, frozen_stages=4, saliency_weight=0.3)
# The paper gives no recipe. Ours: KonIQ-10k's photographs at 384 pixels, the whole trunk trained.
FULL = Recipe(epochs=10, batch_size=32, crop_size=320, frozen_stages=0, saliency_weight=0.3)
TRAINED = {
    **{f"baseline-lite{k}": Trained(f"efficientnet_lite{k}", PEOPLE, SINGLE) for k in (0, 1)},
    "control-synthetic": Trained("efficientnet_lite0", SYNTHETIC, Recipe(epochs=4)),
    "sal-loss-lite0": Trained("efficientnet_lite0", BOTH, DUAL, "Baseline-Sal-Loss", OPEN),
    "gradcam-loss-lite0": Trained("efficientnet_lite0", BOTH, DUAL, "Baseline-GradCAM-Loss", OPEN),
    "baseline-b0": Trained("efficientnet_b0", PEOPLE, FULL, lessons=PAPER),
    "baseline-resnet50": Trained("resnet50", PEOPLE, FULL, lessons=PAPER),
    "sal-loss-b0": Trained("efficientnet_b0", BOTH, FULL, "Baseline-Sal-Loss", PAPER),
    "gradcam-loss-b0": Trained("efficientnet_b0", BOTH, FULL, "Baseline-GradCAM-Loss", PAPER),
}
MODELS = (*TRAINED, saliency.NAME)


def make(name: str) -> Path:
    """Train a model of `MODELS` from its recipe; returns the path of its weights."""
    home = cache_dir() / "weights" if name in models.REMADE else weights_dir()
    path = home / f"{name}.safetensors"
    if name == saliency.NAME:
        dataset = data.load("osie")
        lessons = saliency.features_of(dataset)
        readout = saliency.train_on(*lessons, range(len(dataset)), 0, "all images")
        saliency.save_readout(readout, path, name=name, learned_from="OSIE fixations")
        return path
    spec, folder = TRAINED[name], cache_dir() / "training" / name
    print(f"{name} on {best_device()}: {spec}", flush=True)
    learn = _from_distortions if spec.learned_from == SYNTHETIC else _from_people
    model, log = _of_notebook_03(spec) if spec.lessons else learn(spec, folder)
    save(model, path, name=name, learned_from=spec.learned_from)
    text = pd.DataFrame(log).to_csv(index=False)
    write_atomically(path.with_suffix(".log.csv"), lambda p: p.write_text(text))
    return path


def load_or_train(name: str) -> Baseline:
    """Load a model, and train it first where its weights neither ship nor were made before."""
    if name in TRAINED and not models.weights_path(name).is_file():
        make(name)
    return models.load(name)


def _from_people(spec: Trained, folder: Path) -> tuple[Baseline, Log]:
    recipe, start = spec.recipe, Baseline(spec.backbone, "imagenet", seed=spec.recipe.seed)
    dataset = by_scene(data.load("biq2021", split="train"), data.load("biq2021", split="test"))
    images, mos = network_inputs(dataset, start, recipe), dataset.scores.to_numpy()
    scenes = np.random.default_rng(recipe.seed).permutation(np.unique(dataset.contents))
    out = np.isin(dataset.contents, scenes[:VALIDATION])

    def on_epoch(model: Baseline) -> dict[str, float]:
        scores = predict(model, images[out], recipe.frozen_stages)
        return {"val_srocc": srocc(scores, mos[out]), "val_plcc": plcc(scores, mos[out])}

    return train(start, images[~out], mos[~out], recipe, folder, on_epoch)


def _from_distortions(spec: Trained, folder: Path) -> tuple[Baseline, Log]:
    """Distort the best-rated photographs; the pseudo-MOS is the mean rank of metrics."""
    dataset, recipe = data.load("biq2021", split="train"), spec.recipe
    best = dataset.scores.reset_index(drop=True).nlargest(REFERENCES).index.sort_values()
    rng, images, scores = np.random.default_rng(recipe.seed), [], []
    for index in tqdm(best.tolist(), desc="distorting and judging", unit="photograph"):
        reference = resize_image(dataset[index].image, recipe.image_size, recipe.image_size)
        kinds = rng.permutation(sample_quality.KINDS)[:VERSIONS].tolist()
        levels = rng.integers(0, sample_quality.LEVELS, size=len(kinds)).tolist()
        pairs = zip(kinds, levels, strict=True)
        made = np.stack([sample_quality.distort(reference, *pair, seed=index) for pair in pairs])
        images.append(made)
        scores.append(sample_quality.full_reference_scores(reference, made))
    pseudo_mos = sample_quality.mean_rank(np.concatenate(scores))
    start = Baseline(spec.backbone, "imagenet", seed=recipe.seed)
    return train(start, np.concatenate(images), pseudo_mos, recipe, folder)


def _of_notebook_03(spec: Trained) -> tuple[Baseline, Log]:
    """Train repeat 0 of notebook 03 as its profile does, or find it trained."""
    (quality, gaze, split), lessons, size = held_out(spec), spec.lessons, spec.recipe.image_size
    maps = dual_task.proxies(lessons.proxies, quality, size, gaze, lessons.repeats, 0)
    experiment = dual_task.Experiment(quality, gaze, maps, spec.recipe, spec.backbone, 0)
    network = load_baseline(dual_task.fit(experiment, spec.variant, 0, split.train))
    return network, network.about["log"]


def held_out(spec: Trained) -> tuple[data.Dataset, data.Dataset, dual_task.Split]:
    """Open the two data sets of notebook 03, and the split of its repeat 0."""
    lessons = spec.lessons
    quality, gaze = (data.load(n, **options) for n, options in (lessons.quality, lessons.gaze))
    if lessons.apart_from is not None:
        quality = by_scene(quality, data.load(lessons.quality[0], **lessons.apart_from))
    return quality, gaze, dual_task.split(quality, gaze, 0, lessons.repeats, 0)
