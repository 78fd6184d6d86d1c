"""The project's own trained models: what each learned from, how it is remade, and its card.

``python -m lib train baseline-lite0`` trains the model of that name (or goes on where it was
stopped), measures it on images that it never saw, and writes weights, log and model card.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lib import data, dual_task, models
from lib.data import sample_quality
from lib.images import resize_image
from lib.losses import Recipe
from lib.maps import normalize_sum, resize_map
from lib.metrics import cc, nss
from lib.models import saliency
from lib.models.backbones import best_device
from lib.models.baseline import Baseline, load_baseline, save
from lib.paths import cache_dir, weights_dir
from lib.report import markdown
from lib.stats import bootstrap_interval, plcc, srocc
from lib.store import write_atomically
from lib.training import Log, predict, resized_images, train

VALIDATION = 200  # training photographs kept aside to watch the epochs; never used to choose
SAME_SCENE = 0.8  # cosine of trunk features above which two photographs mostly share their scene
REFERENCES, VERSIONS = 250, 6  # of the synthetic control: photographs, and distortions of each
PEOPLE, SYNTHETIC = "human scores", "synthetic distortions"
BOTH = "human scores and proxy saliency"


@dataclass(frozen=True)
class Trained:
    """One of the project's IQA models."""

    backbone: str
    learned_from: str  # MOS of BIQ2021; pseudo-MOS of its best photographs; MOS and our maps
    recipe: Recipe
    variant: str = "Baseline"  # a key of `lib.dual_task.VARIANTS`


# Notebook 03 in the `open` profile; what ships is its repeat 0.
DUAL = Recipe(epochs=3, image_size=256, crop_size=192, frozen_stages=3, saliency_weight=0.3)
DUAL_REPEATS, DUAL_GAZE = 5, {"long_side": 400}
TRAINED = {
    "baseline-lite0": Trained("efficientnet_lite0", PEOPLE, Recipe(epochs=6)),
    "baseline-lite1": Trained("efficientnet_lite1", PEOPLE, Recipe(epochs=6)),
    "control-synthetic": Trained("efficientnet_lite0", SYNTHETIC, Recipe(epochs=4)),
    "sal-loss-lite0": Trained("efficientnet_lite0", BOTH, DUAL, "Baseline-Sal-Loss"),
    "gradcam-loss-lite0": Trained("efficientnet_lite0", BOTH, DUAL, "Baseline-GradCAM-Loss"),
}
MODELS = (*TRAINED, saliency.NAME)


def make(name: str) -> Path:
    """Train a model of `MODELS` from its recipe; returns the path of its weights."""
    if name == saliency.NAME:
        path = weights_dir() / f"{name}.safetensors"
        about = {"name": name, "learned_from": "OSIE fixations"}
        saliency.save_readout(saliency.train_on(data.load("osie")), path, **about)
        return path
    spec, folder = TRAINED[name], cache_dir() / "training" / name
    print(f"{name} on {best_device()}: {spec}", flush=True)
    learn = {PEOPLE: _from_people, SYNTHETIC: _from_distortions, BOTH: _from_both}
    model, log = learn[spec.learned_from](spec, folder)
    home = weights_dir() if name in models.SHIPPED else cache_dir() / "weights"
    path = home / f"{name}.safetensors"
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
    dataset, recipe = data.load("biq2021", split="train"), spec.recipe
    images, mos = resized_images(dataset, recipe.image_size), dataset.scores.to_numpy()
    order = np.random.default_rng(recipe.seed).permutation(len(mos))
    aside, used = np.sort(order[:VALIDATION]), np.sort(order[VALIDATION:])
    watched = np.array(images[aside])

    def on_epoch(_: int, model: Baseline) -> dict[str, float]:
        scores = predict(model, watched)
        return {"val_srocc": srocc(scores, mos[aside]), "val_plcc": plcc(scores, mos[aside])}

    start = Baseline(spec.backbone, "imagenet", seed=recipe.seed)
    return train(start, images[used], mos[used], recipe, folder, on_epoch)


def _from_distortions(spec: Trained, folder: Path) -> tuple[Baseline, Log]:
    """Distort the best-rated photographs; the pseudo-MOS is the mean rank of metrics."""
    dataset, recipe = data.load("biq2021", split="train"), spec.recipe
    best = dataset.scores.reset_index(drop=True).nlargest(REFERENCES).index.sort_values()
    rng, images, scores = np.random.default_rng(recipe.seed), [], []
    for index in tqdm(best, desc="distorting and judging", unit="photograph"):
        side = (recipe.image_size, recipe.image_size)
        reference = resize_image(dataset[int(index)].image, *side)
        kinds = rng.permutation(sample_quality.KINDS)[:VERSIONS]
        levels = rng.integers(0, sample_quality.LEVELS, size=len(kinds))
        made = [
            sample_quality.distort(reference, str(kind), int(level), seed=int(index))
            for kind, level in zip(kinds, levels, strict=True)
        ]
        images.append(np.stack(made))
        scores.append(sample_quality.full_reference_scores(reference, images[-1]))
    pseudo_mos = sample_quality.mean_rank(np.concatenate(scores))
    start = Baseline(spec.backbone, "imagenet", seed=recipe.seed)
    return train(start, np.concatenate(images), pseudo_mos, recipe, folder)


def _from_both(spec: Trained, _: Path) -> tuple[Baseline, Log]:
    """Train repeat 0 of notebook 03 as the `open` profile does, or find it trained."""
    quality, gaze = data.load("biq2021", split="train"), data.load("osie", **DUAL_GAZE)
    size, seed = spec.recipe.image_size, spec.recipe.seed
    maps = dual_task.proxies("predictor", quality, size, gaze, DUAL_REPEATS, seed)
    experiment = dual_task.Experiment(quality, gaze, maps, spec.recipe, spec.backbone, seed)
    chosen = dual_task.split(quality, gaze, 0, DUAL_REPEATS, seed).train
    path = dual_task.fit(experiment, spec.variant, 0, chosen)
    return load_baseline(path), pd.read_csv(path.with_name("log.csv")).to_dict("records")


# -- model cards -------------------------------------------------------------------------------


def write_card(name: str) -> Path:
    """Measure the weights on disk (what ships is what is measured) and write their model card."""
    path = models.weights_path(name)
    card = f"# {name}\n\n" + (_readout_card() if name == saliency.NAME else _iqa_card(name, path))
    card += (
        f"\n**Remake**: `make train MODEL={name} DATA_DIR=...`. **Licence of the weights**: MIT.\n"
    )
    home = path.with_suffix(".md")
    write_atomically(home, lambda p: p.write_text(card, encoding="utf-8"))
    return home


def _measured(**values: tuple[np.ndarray, ...]) -> dict[str, str]:
    """Each value with its 95 % bootstrap interval: a pair is correlated, a list averaged."""
    statistics, found = {"SROCC": srocc, "PLCC": plcc}, {}
    for name, sample in values.items():
        statistic = statistics.get(name, np.mean)
        low, high = bootstrap_interval(sample, statistic=statistic)
        found[name] = f"{statistic(*sample):.3f} [{low:.3f}, {high:.3f}]"
    return found


def _iqa_card(name: str, path: Path) -> str:
    """Score BIQ2021's official test photographs."""
    spec, model = TRAINED[name], load_baseline(path)
    dataset, scores = data.load("biq2021", split="test"), path.with_suffix(".test.csv")
    table = pd.DataFrame({"name": dataset.names, "mos": dataset.scores.to_numpy()})
    table["score"] = predict(model, resized_images(dataset, spec.recipe.image_size))
    parts = {"all": table}
    if scores.is_file():  # resemblance to the nearest training photograph, measured once
        nearest = pd.read_csv(scores).set_index("name").nearest_training
        table["nearest_training"] = table.name.map(nearest)
        parts["no training photograph of the same scene"] = table[
            table.nearest_training < SAME_SCENE
        ]
    parts |= {f"subset {k}": block for k, block in table.groupby(table.name.str.split(" ").str[0])}
    write_atomically(scores, lambda p: table.to_csv(p, index=False, float_format="%.6f"))
    rows = []
    for part, block in parts.items():
        pair = (block.score.to_numpy(), block.mos.to_numpy())
        rows.append({"photographs": part, "n": len(block)} | _measured(SROCC=pair, PLCC=pair))
    second = _second_output(model) if spec.learned_from == BOTH else ""
    recipe = ", ".join(f"{k} {v}" for k, v in asdict(spec.recipe).items())
    return f"""The paper's *{spec.variant}*: `{spec.backbone}` with ImageNet weights, global average
pooling, an MLP head; {sum(p.numel() for p in model.parameters()):,} parameters. Input: RGB, any
size; trained at {spec.recipe.crop_size}x{spec.recipe.crop_size}. Output: quality, higher is better.

**Learned from** {spec.learned_from}: BIQ2021 (Ahmed et al. 2022), official training split.
**Recipe**: {recipe}.

**Measured** on {len(dataset):,} photographs of the official test split, which played no part in
training or in choosing anything; 95 % bootstrap intervals over photographs:

{markdown(pd.DataFrame(rows))}
{second}
The official split shares scenes: some test photographs are the next shot of a training photograph
(cosine of ImageNet features {SAME_SCENE} or more; `{name}.test.csv`). The second row leaves them
out. And the subsets differ in mean quality, which lifts the pooled correlation above theirs.

**Limits.** Authentic photographs at about 512x512; it has seen no print, no screen content and no
video frame, and it speaks for 30 laboratory observers.
"""


def _second_output(model: Baseline) -> str:
    """Judge saliency on OSIE's fold 0, which had no part in the proxies."""
    quality, gaze = data.load("biq2021", split="train"), data.load("osie", **DUAL_GAZE)
    held_out = data.Part(gaze, dual_task.split(quality, gaze, 0, DUAL_REPEATS, 0).gaze_test)
    model.long_side = models.SHIPPED[models.DUAL_TASK]
    pairs = [(r, model.predict(r.image)[1]) for r in tqdm(held_out, desc="judging", unit="image")]
    return (
        "\n**Second output**, saliency, on the images of OSIE that its proxies had no part in:\n\n"
        + (markdown(pd.DataFrame([{"n": len(pairs)} | _agreement(pairs)])) + "\n")
    )


def _agreement(pairs: list[tuple[data.Record, np.ndarray]]) -> dict[str, str]:
    gaze = np.array([nss(density, record.fixations) for record, density in pairs])
    return _measured(NSS=(gaze,), CC=(np.array([cc(m, r.density) for r, m in pairs]),))


def _readout_card(folds: int = 5) -> str:
    dataset = data.load("osie")
    grids = saliency.cross_validate(dataset, folds)
    pairs = [
        (record, normalize_sum(resize_map(grid, record.image.shape[:2])))
        for record, grid in zip(tqdm(dataset, desc="scoring", unit="image"), grids, strict=True)
    ]
    return f"""A saliency predictor: the features of an ImageNet EfficientNet-Lite0, kept as they
are, and a small read-out with a quadratic centre bias. Input: RGB, any size (read at a long side
of {saliency.LONG_SIDE} pixels). Output: a density that sums to 1.

**Learned from** the fixations of 15 viewers on all {len(dataset)} images of OSIE (Xu et al. 2014,
MIT licence), {saliency.EPOCHS} epochs, KL divergence.

**Measured** on the same images by {folds}-fold cross-validation; 95 % intervals over images:

{markdown(pd.DataFrame([_agreement(pairs)]))}

**Limits.** One data set of everyday photographs, viewed freely for three seconds in a laboratory.
The shipped read-out has seen every OSIE image: never judge it on OSIE.
"""
