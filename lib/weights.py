"""The project's own trained models: what each learned from, and the one command that remakes it.

``python -m lib.recipes baseline-lite0`` trains the model of that name (or goes on where it was
stopped), measures it on images that it never saw, and writes weights, log and model card.
"""

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from lib import data, distortions, dual_task, models
from lib.images import resize_image
from lib.metrics import cc, nss
from lib.models import saliency
from lib.models.baseline import Baseline, load_baseline, save
from lib.paths import cache_dir, weights_dir
from lib.report import markdown
from lib.stats import bootstrap_interval, plcc, srocc
from lib.store import Store, fingerprint, write_atomically
from lib.training import Recipe, best_device, predict, resized_images, train

VALIDATION = 200  # training photographs kept aside to watch the epochs; never used to choose
SCENE_SIDE = 384  # pixels, of the images whose scenes are compared
SAME_SCENE = 0.8  # cosine of trunk features above which two photographs mostly share their scene
REFERENCES, VERSIONS = 250, 6  # of the synthetic control: photographs, and distortions of each


@dataclass(frozen=True)
class Trained:
    """One of the project's IQA models.

    Attributes
    ----------
    backbone : str
        A name of `lib.models.backbones.BACKBONES`.
    learned_from : {"human scores", "synthetic distortions", "human scores and proxy saliency"}
        MOS of BIQ2021's official training photographs; or full-reference pseudo-MOS of
        artificial distortions of the best-rated of them (the control of notebook 01); or MOS and
        our saliency predictor's maps (notebook 03).
    recipe : Recipe
        How it was trained.
    shipped : bool
        Whether its weights are part of the repository.
    variant : str
        A key of `lib.dual_task.VARIANTS`.
    """

    backbone: str
    learned_from: str
    recipe: Recipe
    shipped: bool = True
    variant: str = "Baseline"


# Notebook 03 in the `open` profile; what ships is its repeat 0.
DUAL = Recipe(epochs=3, image_size=256, crop_size=192, frozen_stages=3, saliency_weight=0.3)
DUAL_REPEATS, DUAL_GAZE = 5, {"long_side": 400}
BOTH = "human scores and proxy saliency"

TRAINED = {
    "baseline-lite0": Trained("efficientnet_lite0", "human scores", Recipe(epochs=6)),
    "baseline-lite1": Trained("efficientnet_lite1", "human scores", Recipe(epochs=6)),
    "control-synthetic": Trained(
        "efficientnet_lite0", "synthetic distortions", Recipe(epochs=4), shipped=False
    ),
    "sal-loss-lite0": Trained("efficientnet_lite0", BOTH, DUAL, variant="Baseline-Sal-Loss"),
    "gradcam-loss-lite0": Trained(
        "efficientnet_lite0", BOTH, DUAL, variant="Baseline-GradCAM-Loss"
    ),
}
READOUT = "saliency-lite0"
PUBLISHED = """| BRISQUE | ResNet-50 | EfficientNet-B0 | NASNet-Large | DeepEns |
| --- | --- | --- | --- | --- |
| 0.60 | 0.65 | 0.57 | 0.67 | 0.79 |"""


def train_on_people(spec: Trained, folder: Path) -> tuple[Baseline, list[dict[str, float]]]:
    """Train on BIQ2021's human MOS; see `lib.training.train` for what is returned."""
    dataset = data.load("biq2021", split="train")
    images = resized_images(dataset, spec.recipe.image_size)
    mos = dataset.scores.to_numpy()
    order = np.random.default_rng(spec.recipe.seed).permutation(len(mos))
    aside, used = np.sort(order[:VALIDATION]), np.sort(order[VALIDATION:])
    watched = np.array(images[aside])

    def on_epoch(_: int, model: Baseline) -> dict[str, float]:
        scores = predict(model, watched)
        return {"val_srocc": srocc(scores, mos[aside]), "val_plcc": plcc(scores, mos[aside])}

    start = Baseline(spec.backbone, "imagenet", seed=spec.recipe.seed)
    return train(start, images[used], mos[used], spec.recipe, folder, on_epoch)


def synthetic_set(recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Distort the best-rated BIQ2021 training photographs; cached.

    Returns
    -------
    (numpy.ndarray, numpy.ndarray)
        NxSxSx3 uint8, and their pseudo-MOS (N,): the mean rank of full-reference metrics.
    """
    dataset = data.load("biq2021", split="train")
    best = dataset.scores.reset_index(drop=True).nlargest(REFERENCES).index.sort_values()
    key = fingerprint([dataset.fingerprint, REFERENCES, VERSIONS, recipe.image_size, recipe.seed])
    folder = cache_dir() / "synthetic" / key
    if not (folder / "pseudo_mos.npy").exists():
        rng = np.random.default_rng(recipe.seed)
        images, scores = [], []
        for index in tqdm(best, desc="distorting and judging", unit="photograph"):
            record = dataset[int(index)]
            reference = resize_image(record.image, recipe.image_size, recipe.image_size)
            kinds = rng.permutation(distortions.KINDS)[:VERSIONS]
            levels = rng.integers(0, distortions.LEVELS, size=len(kinds))
            made = np.stack(
                [
                    distortions.distort(reference, str(kind), int(level), seed=int(index))
                    for kind, level in zip(kinds, levels, strict=True)
                ]
            )
            images.append(made)
            scores.append(distortions.full_reference_scores(reference, made))
        pseudo_mos = distortions.mean_rank(np.concatenate(scores))
        _save_array(folder / "images.npy", np.concatenate(images))
        _save_array(folder / "pseudo_mos.npy", pseudo_mos)  # last: its presence means complete
    return np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "pseudo_mos.npy")


def _save_array(path: Path, array: np.ndarray) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, array)

    write_atomically(path, write)


def dual_data(spec: Trained) -> tuple[data.Dataset, data.Dataset, dual_task.Split]:
    """Return what repeat 0 of notebook 03 learns from and is judged on."""
    quality, gaze = data.load("biq2021", split="train"), data.load("osie", **DUAL_GAZE)
    return quality, gaze, dual_task.split(quality, gaze, 0, DUAL_REPEATS, spec.recipe.seed)


def train_on_both(spec: Trained) -> tuple[Baseline, list[dict[str, float]]]:
    """Train repeat 0 of notebook 03 as the `open` profile does, or find it trained."""
    quality, gaze, split = dual_data(spec)
    size, seed = spec.recipe.image_size, spec.recipe.seed
    maps = dual_task.predicted_maps(quality, size, gaze, DUAL_REPEATS, seed)
    experiment = dual_task.Experiment(quality, gaze, maps, spec.recipe, spec.backbone, seed)
    path = dual_task.fit(experiment, spec.variant, 0, split.train)
    return load_baseline(path), pd.read_csv(path.with_name("log.csv")).to_dict("records")


def make(name: str) -> Path:
    """Train one of `TRAINED` from its recipe; returns the path of its weights."""
    spec = TRAINED[name]
    print(f"{name} on {best_device()}: {spec}", flush=True)
    folder = cache_dir() / "training" / name
    if spec.learned_from == "human scores":
        model, log = train_on_people(spec, folder)
    elif spec.learned_from == BOTH:
        model, log = train_on_both(spec)
    else:
        images, pseudo_mos = synthetic_set(spec.recipe)
        start = Baseline(spec.backbone, "imagenet", seed=spec.recipe.seed)
        model, log = train(start, images, pseudo_mos, spec.recipe, folder)
    home = weights_dir() if spec.shipped else cache_dir() / "weights"
    path = home / f"{name}.safetensors"
    save(model, path, name=name, learned_from=spec.learned_from)
    write_atomically(
        path.with_suffix(".log.csv"), lambda p: pd.DataFrame(log).to_csv(p, index=False)
    )
    write_card(name)
    return path


def write_card(name: str) -> None:
    """Measure the weights on disk (what ships is what is measured) and write their model card."""
    path = models.weights_path(name)
    card = iqa_card(name, load_baseline(path))
    write_atomically(path.with_suffix(".md"), lambda p: p.write_text(card, encoding="utf-8"))
    print(card)


def load_or_train(name: str) -> Baseline:
    """Load a model, and train it first where its weights neither ship nor were made before."""
    if not models.weights_path(name).is_file():
        make(name)
    return models.load(name)


@torch.inference_mode()
def nearest_similarity(dataset: data.Dataset, others: data.Dataset, size: int) -> np.ndarray:
    """Find how much each image of a data set resembles the one most like it among others; cached.

    Parameters
    ----------
    dataset, others : Dataset
        Images that are asked about, and images to compare them with.
    size : int
        Side of `lib.training.resized_images`, pixels.

    Returns
    -------
    numpy.ndarray
        (N,) from -1 to 1: cosine between pooled features of an ImageNet EfficientNet-Lite0.
    """
    store = Store("resemblance", 1, a=dataset.fingerprint, b=others.fingerprint, size=size)
    if (known := store.get("nearest")) is not None:
        return known
    trunk = Baseline("efficientnet_lite0", "imagenet").to(best_device())

    def features(images: np.ndarray) -> torch.Tensor:
        found = []
        for start in tqdm(range(0, len(images), 32), desc="comparing scenes", unit="batch"):
            small = np.stack([resize_image(i, 224, 224) for i in images[start : start + 32]])
            found.append(trunk.features(trunk.normalize(small)).mean(dim=(2, 3)).cpu())
        return torch.nn.functional.normalize(torch.cat(found))

    a, b = (features(resized_images(d, size)) for d in (dataset, others))
    return store.put("nearest", (a @ b.T).amax(dim=1).numpy())


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _quality(table: pd.DataFrame) -> dict[str, str]:
    """SROCC and PLCC of columns `score` and `mos`, each with its 95 % bootstrap interval."""
    pair = (table.score.to_numpy(), table.mos.to_numpy())
    return {
        label: _with_interval(metric(*pair), bootstrap_interval(pair, statistic=metric))
        for label, metric in (("SROCC", srocc), ("PLCC", plcc))
    }


def iqa_card(name: str, model: Baseline) -> str:
    """Score BIQ2021's official test photographs, and write the model card in Markdown."""
    spec = TRAINED[name]
    dataset = data.load("biq2021", split="test")
    training = data.load("biq2021", split="train")
    size = spec.recipe.image_size
    table = pd.DataFrame({"name": dataset.names, "mos": dataset.scores.to_numpy()})
    table["score"] = predict(model, resized_images(dataset, size))
    table["nearest_training"] = nearest_similarity(dataset, training, SCENE_SIDE)
    path = models.weights_path(name).with_suffix(".test.csv")
    write_atomically(path, lambda p: table.to_csv(p, index=False, float_format="%.6f"))
    parts = {"all": table}
    parts["no training photograph of the same scene"] = table[table.nearest_training < SAME_SCENE]
    parts |= {f"subset {k}": block for k, block in table.groupby(table.name.str.split(" ").str[0])}
    measured = [
        {"photographs": k, "n": len(block), **_quality(block)}
        for k, block in parts.items()
        if len(block) > 2  # fewer have no correlation
    ]
    taught = f"{len(training):,} photographs"
    if spec.learned_from == BOTH:
        taught = f"{len(dual_data(spec)[2].train):,} photographs (repeat 0 of notebook 03)"
    elif spec.learned_from != "human scores":
        taught = f"{VERSIONS} distortions of each of the {REFERENCES} best-rated photographs"
    shared = int((table.nearest_training >= SAME_SCENE).sum())
    parameters = sum(p.numel() for p in model.parameters())
    second = saliency_part(spec, model) if spec.learned_from == BOTH else ""
    section = "III-C" if spec.learned_from == BOTH else "III-A"
    return f"""# {name}

The paper's *{spec.variant}* (Section {section}): `{spec.backbone}` with ImageNet weights,
global average pooling, an MLP head with one hidden layer of {model.config["hidden"]};
{parameters:,} parameters.
Input: RGB, any size; trained at {spec.recipe.crop_size}x{spec.recipe.crop_size}. Output: quality,
higher is better.

**Learned from** {spec.learned_from}: BIQ2021 (Ahmed et al. 2022), {taught}
of the official training split.
**Recipe**: {", ".join(f"{k} {v}" for k, v in asdict(spec.recipe).items())}.

**Measured** on {len(dataset):,} photographs of the official test split, which played no part in
training or in choosing anything; 95 % bootstrap intervals over photographs:

{markdown(pd.DataFrame(measured))}
{second}
The official split shares scenes: to {shared} test photographs some training photograph is much
alike, often the next shot of the same subject (cosine of ImageNet features {SAME_SCENE} or more;
column `nearest_training` of `{name}.test.csv`). The second row leaves them out. And the subsets
differ in mean quality, which lifts the pooled correlation above that within most of them.

Published test SROCC, for models trained on all 10,000 training photographs and tested on all
2,000 (Ahmed et al. 2022), shared scenes included:

{PUBLISHED}

**Limits.** Authentic photographs at about 512x512; it has seen no print, no screen content and no
video frame, and it speaks for 30 laboratory observers.

**Remake**: `make train MODEL={name} DATA_DIR=...` (log: `{name}.log.csv`, test scores:
`{name}.test.csv`). **Licence of the weights**: MIT; the photographs are not part of them.
"""


def saliency_part(spec: Trained, model: Baseline) -> str:
    """Judge the second output on OSIE's fold 0, which had no part in its proxies; Markdown."""
    _, gaze, split = dual_data(spec)
    held_out = data.Part(gaze, split.gaze_test)
    predict_both = models.DualTask(model)
    values: dict[str, list[float]] = {"NSS": [], "CC": []}
    for record in tqdm(held_out, desc="judging saliency", unit="image"):
        _, density = predict_both(record.image)
        values["NSS"].append(nss(density, record.fixations))
        values["CC"].append(cc(density, record.density))
    row = {
        k: _with_interval(np.mean(v), bootstrap_interval(np.array(v))) for k, v in values.items()
    }
    return f"""
**Second output**: saliency. Learned from proxy maps, by our saliency predictor trained on OSIE
without fold 0; measured on the {len(held_out)} images of that fold:

{markdown(pd.DataFrame([row]))}
"""


def make_readout(folds: int = 5) -> Path:
    """Train the saliency predictor on OSIE: all images to ship, cross-validated to measure."""
    dataset = data.load("osie")
    predicted = saliency.cross_validate(dataset, folds)
    values: dict[str, list[float]] = {"NSS": [], "CC": []}
    for index, small in enumerate(tqdm(predicted, desc="scoring", unit="image")):
        record = dataset[index]
        full = saliency.resize_map(small, record.image.shape[:2])
        values["NSS"].append(nss(full, record.fixations))
        values["CC"].append(cc(full, record.density))
    readout = saliency.train_on(dataset)
    path = weights_dir() / f"{READOUT}.safetensors"
    saliency.save_readout(readout, path, name=READOUT, learned_from="OSIE fixations")
    results = {
        k: _with_interval(np.mean(v), bootstrap_interval(np.array(v))) for k, v in values.items()
    }
    card = f"""# {READOUT}

A saliency predictor: the features of an ImageNet EfficientNet-Lite0, kept as they are, and a
read-out of {sum(p.numel() for p in readout.parameters()):,} parameters with a quadratic centre
bias. Input: RGB, any size (read at a long side of {saliency.LONG_SIDE} pixels). Output: a density
that sums to 1.

**Learned from** the fixations of 15 viewers on all {len(dataset)} images of OSIE (Xu et al. 2014,
MIT licence), {saliency.EPOCHS} epochs, KL divergence.

**Measured** on the same images by {folds}-fold cross-validation, each image by a read-out that was
trained without it; 95 % bootstrap intervals over images:

| NSS | CC |
| --- | --- |
| {results["NSS"]} | {results["CC"]} |

**Limits.** One data set of everyday photographs, viewed freely for three seconds in a laboratory.
The shipped read-out has seen every OSIE image: never judge it on OSIE (notebook 01 cross-validates
there).

**Remake**: `make train MODEL={READOUT} DATA_DIR=...`. **Licence of the weights**: MIT.
"""
    write_atomically(path.with_suffix(".md"), lambda p: p.write_text(card, encoding="utf-8"))
    print(card)
    return path


def main(argv: list[str] | None = None) -> int:
    """Command line: make the named models one after the other."""
    names = [*TRAINED, READOUT]
    parser = argparse.ArgumentParser(prog="python -m lib.recipes", description=__doc__)
    parser.add_argument("names", nargs="+", choices=names, metavar="MODEL", help=" | ".join(names))
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument(
        "--card", action="store_true", help="train nothing: measure an IQA model again"
    )
    args = parser.parse_args(argv)
    if args.card and READOUT in args.names:
        parser.error(f"{READOUT} is measured as it is trained; leave out --card")
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        for name in args.names:
            make_readout() if name == READOUT else (write_card if args.card else make)(name)
    except (FileNotFoundError, FloatingPointError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
