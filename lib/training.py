"""Train the paper's networks on mean opinion scores and, in Section III-C, on saliency as well.

The loop is short because everything that needs thought is decided in the `Recipe`: pictures are
resized once and cached, batch normalisation keeps its ImageNet statistics (batches are small),
the loss is squared error plus one minus Pearson's correlation in the batch, and an exponential
average of the weights is what is kept. Epoch `e` draws from a generator seeded by (seed, e), and
a checkpoint is kept an epoch, so a run that was killed resumes to the very same weights.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from lib.images import resize_image
from lib.models.backbones import best_device
from lib.models.baseline import Baseline
from lib.paths import cache_dir
from lib.records import Dataset
from lib.store import fingerprint, write_atomically


@dataclass(frozen=True)
class Recipe:
    """Every number that decides a training run.

    Attributes
    ----------
    epochs, batch_size, seed : int
        As usual.
    image_size, crop_size : int
        Pictures are resized to `image_size` squared once; each epoch sees a random
        `crop_size` squared part of each, mirrored half of the time.
    lr_backbone, lr_head, weight_decay : float
        AdamW, with a linear warm-up over the first tenth of the steps and a cosine to zero.
    frozen_stages : int
        The stem and this many first stages of the backbone keep their ImageNet weights: they
        hold few weights but cost nearly half of the backward pass.
    correlation_weight : float
        Weight of (1 - Pearson's correlation in the batch) beside the squared error.
    average : float
        Decay of the exponential average of the weights, per step.
    saliency_weight : float
        Weight of the saliency loss beside the IQA loss. The paper gives none; 0 trains the
        plain Baseline.
    saliency_loss : {"kld", "bce", "cc"}
        See `saliency_loss`. The paper names none; KLD is what saliency models are usually
        trained by.
    """

    epochs: int = 5
    batch_size: int = 16
    image_size: int = 384
    crop_size: int = 288
    lr_backbone: float = 3e-4
    lr_head: float = 1e-3
    weight_decay: float = 0.05
    frozen_stages: int = 2
    correlation_weight: float = 0.5
    average: float = 0.995
    seed: int = 0
    saliency_weight: float = 0.0
    saliency_loss: str = "kld"


VERSION = 1  # of the numbers in the cache
FLOOR = 0.05  # laid under both maps, as a sum over the cells: no zeros, and no steep gradients
MAP_STRIDE = 16  # pixels a cell of the target maps; two cells make one of the network's


def resized_images(dataset: Dataset, size: int) -> np.ndarray:
    """Read all images of a data set at `size` x `size`, through one cached array.

    Returns
    -------
    numpy.ndarray
        NxSxSx3 uint8, memory-mapped read-only.
    """
    path = cache_dir() / "resized" / f"{dataset.fingerprint}-{size}.npy"
    if not path.exists():

        def fill(temporary: Path) -> None:
            shape = (len(dataset), size, size, 3)
            with temporary.open("wb"):
                out = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            for i in tqdm(range(len(dataset)), desc=f"resizing {dataset.name}", unit="image"):
                out[i] = resize_image(dataset[i].image, size, size)
            out.flush()

        write_atomically(path, fill)
    return np.load(path, mmap_mode="r")


def iqa_loss(prediction: torch.Tensor, target: torch.Tensor, weight: float) -> torch.Tensor:
    """Squared error plus `weight` times one minus Pearson's correlation; both (B,)."""
    p, t = prediction - prediction.mean(), target - target.mean()
    # A batch of equal scores has no correlation: the small constant makes it zero, not NaN.
    correlation = (p * t).mean() / (p.pow(2).mean() * t.pow(2).mean() + 1e-8).sqrt()
    return nn.functional.mse_loss(prediction, target) + weight * (1 - correlation)


def saliency_loss(predicted: torch.Tensor, target: torch.Tensor, kind: str) -> torch.Tensor:
    """Hold predicted maps against target maps, whatever scale either has.

    Parameters
    ----------
    predicted, target : torch.Tensor
        Bxhxw, non-negative.
    kind : {"kld", "bce", "cc"}
        Kullback-Leibler divergence of the prediction from the target, both summing to 1;
        binary cross-entropy a cell, both with a peak of 1; one minus Pearson's correlation over
        the cells. The mean over the batch.
    """
    p, t = (maps.flatten(1) + FLOOR / maps[0].numel() for maps in (predicted, target))
    if kind == "kld":
        p, t = p / p.sum(dim=1, keepdim=True), t / t.sum(dim=1, keepdim=True)
        return (t * (t.log() - p.log())).sum(dim=1).mean()
    if kind == "bce":
        p, t = p / p.amax(dim=1, keepdim=True), t / t.amax(dim=1, keepdim=True)
        return nn.functional.binary_cross_entropy(p, t)
    if kind == "cc":
        p, t = p - p.mean(dim=1, keepdim=True), t - t.mean(dim=1, keepdim=True)
        norm = (p.square().sum(dim=1) * t.square().sum(dim=1) + 1e-12).sqrt()
        return (1 - (p * t).sum(dim=1) / norm).mean()
    raise ValueError(f"the saliency loss must be 'kld', 'bce' or 'cc', not {kind!r}")


def train(
    model: Baseline,
    images: np.ndarray,
    targets: Sequence[float],
    recipe: Recipe,
    folder: Path,
    on_epoch: Callable[[int, Baseline], dict[str, float]] | None = None,
    maps: np.ndarray | None = None,
    watch: Callable[[list[dict[str, float]]], object] | None = None,
    trained: bool = False,
) -> tuple[Baseline, list[dict[str, float]]]:
    """Train `model` in place of a fresh copy and return the averaged one.

    Parameters
    ----------
    model : Baseline
        The starting point; it is not changed. Its head is fresh, or (`trained`) predicts on the
        scale of `targets` already.
    images : numpy.ndarray
        NxSxSx3 uint8.
    targets : sequence of float
        (N,) scores, higher is better. They are standardised for the loss (with maps: divided by
        their standard deviation only), and the head's last layer is rescaled at the end, so that
        the model predicts on the scale of `targets`.
    recipe : Recipe
        What to do.
    folder : Path
        Where `last.pt` and `log.csv` are kept after each epoch; an interrupted run goes on.
    on_epoch : callable, optional
        Called with (epoch, averaged model on the targets' scale); what it returns is logged.
    maps : numpy.ndarray, optional
        Nx(S/16)x(S/16) saliency to learn beside the scores, of any scale. Where they are given,
        an image may lack its score (NaN) or its map (all NaN): it then counts for the other loss
        only. Crops start at multiples of `MAP_STRIDE`, so that image and map move together.
    watch : callable, optional
        Called with the log after each epoch, for instance to draw it (`lib.report.LiveLog`).

    Returns
    -------
    (Baseline, list of dict)
        The trained model on the CPU, and one row of the log an epoch.

    Raises
    ------
    ValueError
        If images, targets and maps differ in number or size, nothing is to be learned, or a
        target is not finite.
    FloatingPointError
        As soon as the loss is not finite.
    """
    targets = np.asarray(targets, dtype=np.float64)
    _check(images, targets, maps, recipe)
    device = best_device()
    known = targets[np.isfinite(targets)]
    # A GradCAM explains how far the score lies above zero. Where it is learned, zero stays what it
    # is on the scale of the scores (the worst quality): centred, half of all maps would be empty.
    center, scale = float(known.mean()) if maps is None else 0.0, float(known.std())
    if scale == 0:
        raise ValueError("all targets are equal: there is nothing to learn")
    standard = torch.tensor((targets - center) / scale, dtype=torch.float32)

    seen = [images.shape, b"" if maps is None else np.ascontiguousarray(maps).tobytes()]
    run_key = fingerprint([asdict(recipe), model.config, targets.tobytes(), *seen])
    # `normalize` hands over channels-last pixels; weights in the same order are faster.
    model = _rescaled(model, 1 / scale, -center / scale) if trained else deepcopy(model)
    model = model.to(device, memory_format=torch.channels_last)
    averaged = deepcopy(model).requires_grad_(False)
    freeze_stages(model, recipe.frozen_stages)
    optimizer = make_optimizer(model, recipe)
    steps = recipe.epochs * max(1, len(images) // recipe.batch_size)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: _schedule(s, steps))
    log: list[dict[str, float]] = []

    checkpoint = Path(folder) / "last.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["run"] == run_key:
            model.load_state_dict(state["model"])
            averaged.load_state_dict(state["averaged"])
            optimizer.load_state_dict(state["optimizer"])
            scheduler.load_state_dict(state["scheduler"])
            log = state["log"]

    for epoch in range(len(log), recipe.epochs):
        batches = _batches(images, standard, maps, recipe, epoch)
        losses = []
        bar = tqdm(batches, total=steps // recipe.epochs, unit="batch")
        for pixels, target, target_map in bar:
            parts = batch_losses(model, pixels.to(device), target, target_map, recipe)
            loss = parts["iqa_loss"] + recipe.saliency_weight * parts.get("saliency_loss", 0.0)
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f"the loss became {loss.item()} in epoch {epoch + 1}; lower lr_backbone "
                    f"({recipe.lr_backbone}) or lr_head ({recipe.lr_head}) and rerun"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            done = epoch * (steps // recipe.epochs) + len(losses)
            # The average forgets its start faster in the first steps, as is usual.
            _update_average(averaged, model, min(recipe.average, (1 + done) / (10 + done)))
            losses.append({"loss": loss.item()} | {k: v.item() for k, v in parts.items()})
            mean = pd.DataFrame(losses).mean()
            bar.set_description(f"epoch {epoch + 1}/{recipe.epochs}, loss {mean.loss:.3f}")
        row = {"epoch": epoch + 1, **mean.to_dict()}
        if on_epoch is not None:
            row |= on_epoch(epoch, _rescaled(averaged, scale, center).cpu())
        log.append(row)
        state = {
            "run": run_key,
            "model": model.state_dict(),
            "averaged": averaged.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "log": log,
        }
        write_atomically(checkpoint, lambda path, state=state: torch.save(state, path))
        text = pd.DataFrame(log).to_csv(index=False)
        write_atomically(checkpoint.with_name("log.csv"), lambda p, t=text: p.write_text(t))
        if watch is not None:
            watch(log)
    return _rescaled(averaged, scale, center).cpu(), log


@torch.inference_mode()
def predict(model: Baseline, images: np.ndarray, batch_size: int = 16) -> np.ndarray:
    """Score NxHxWx3 uint8 images in single precision; returns (N,) float64."""
    device = best_device()
    model = deepcopy(model).to(device).eval()
    starts = tqdm(range(0, len(images), batch_size), desc="scoring", unit="batch", leave=False)
    scores = [model(model.normalize(np.array(images[i : i + batch_size]))).cpu() for i in starts]
    return torch.cat(scores).double().numpy()


def _check(
    images: np.ndarray, targets: np.ndarray, maps: np.ndarray | None, recipe: Recipe
) -> None:
    """Refuse what can't be trained on; see `train`."""
    if len(images) != len(targets):
        raise ValueError(f"{len(images)} images need as many finite targets, got {len(targets)}")
    if maps is None:
        if not np.isfinite(targets).all():
            raise ValueError("targets hold NaN or infinite values; leave those images out")
        if recipe.saliency_weight:
            raise ValueError("saliency_weight is not 0, and there are no maps to learn from")
        return
    if recipe.image_size % MAP_STRIDE or recipe.crop_size % (2 * MAP_STRIDE):
        raise ValueError(
            f"with maps, image_size must be a multiple of {MAP_STRIDE} and crop_size of "
            f"{2 * MAP_STRIDE}, not {recipe.image_size} and {recipe.crop_size}"
        )
    side = recipe.image_size // MAP_STRIDE
    if maps.shape != (len(images), side, side):
        raise ValueError(f"maps must be {(len(images), side, side)}, not {maps.shape}")
    mapped = np.isfinite(maps).all(axis=(1, 2))
    if not np.isnan(maps[~mapped]).all() or (maps[mapped] < 0).any():
        raise ValueError("a map must be non-negative throughout, or NaN throughout: no map")
    if np.isinf(targets).any() or np.isfinite(targets).sum() < 2:
        raise ValueError("targets must be finite or, where there is no score, NaN")


def batch_losses(
    model: Baseline,
    pixels: torch.Tensor,
    target: torch.Tensor,
    target_map: torch.Tensor | None,
    recipe: Recipe,
) -> dict[str, torch.Tensor]:
    """Return the losses of one batch, over the images that have a score and a map.

    Parameters
    ----------
    pixels : torch.Tensor
        BxHxWx3 uint8.
    target : torch.Tensor
        (B,) standardised scores; NaN where there is none.
    target_map : torch.Tensor or None
        Bx(H/16)x(W/16) saliency; NaN throughout where there is none.
    """
    device = pixels.device
    # Half precision with float32's range where the hardware has it: same steps, half the time.
    with torch.autocast(device.type, torch.bfloat16):
        feature_map = model.features(model.normalize(pixels))
        prediction = model.score(feature_map)
    scored = torch.isfinite(target).nonzero().squeeze(1).to(device)
    found = {"iqa_loss": prediction.float().sum() * 0.0}  # of a batch without scores
    if len(scored) > 1:
        wanted = target.to(device)[scored]
        found["iqa_loss"] = iqa_loss(prediction.float()[scored], wanted, recipe.correlation_weight)
    if recipe.saliency_weight:
        predicted = model.saliency(feature_map.float())
        mapped = torch.isfinite(target_map).all(dim=(1, 2)).nonzero().squeeze(1).to(device)
        if len(mapped):
            # A mean over 2x2 cells: the target at the network's own resolution.
            wanted = nn.functional.avg_pool2d(target_map.to(device)[mapped], 2)
            found["saliency_loss"] = saliency_loss(predicted[mapped], wanted, recipe.saliency_loss)
    return found


def freeze_stages(model: Baseline, stages: int) -> None:
    """Keep the stem and the first stages of the backbone, and all batch statistics, as they are."""
    # Batch normalisation stays at its ImageNet statistics throughout.
    model.requires_grad_(True).eval()
    if stages:
        trunk = model.backbone
        stem = [m for n, m in trunk.named_children() if n in ("conv_stem", "conv1", "bn1")]
        body = list(trunk.blocks) if hasattr(trunk, "blocks") else [trunk.layer1, trunk.layer2]
        for part in stem + body[:stages]:
            part.requires_grad_(False)


def make_optimizer(model: Baseline, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW with one learning rate for the backbone and one for all that is new."""
    trunk = [p for p in model.backbone.parameters() if p.requires_grad]
    others = [p for n, p in model.named_parameters() if not n.startswith("backbone.")]
    groups = [
        {"params": trunk, "lr": recipe.lr_backbone},
        {"params": others, "lr": recipe.lr_head},
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def _schedule(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _batches(
    images: np.ndarray,
    targets: torch.Tensor,
    maps: np.ndarray | None,
    recipe: Recipe,
    epoch: int,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """Yield shuffled, cropped and mirrored batches (pixels uint8, targets, maps); drop the rest."""
    rng = np.random.default_rng([recipe.seed, epoch])
    order = rng.permutation(len(images))
    step = 1 if maps is None else MAP_STRIDE
    crop, room = recipe.crop_size, (images.shape[1] - recipe.crop_size) // step
    cells = crop // MAP_STRIDE
    size = min(recipe.batch_size, len(images))
    for start in range(0, len(order) - size + 1, size):
        chosen = order[start : start + size]
        parts, map_parts = [], []
        for i in chosen:
            top, left = rng.integers(0, room + 1, size=2) * step
            turn = -1 if rng.random() < 0.5 else 1
            parts.append(images[i, top : top + crop, left : left + crop][:, ::turn])
            if maps is not None:
                y, x = top // MAP_STRIDE, left // MAP_STRIDE
                map_parts.append(maps[i, y : y + cells, x : x + cells][:, ::turn])
        target_map = torch.from_numpy(np.stack(map_parts)).float() if map_parts else None
        yield torch.from_numpy(np.stack(parts)), targets[torch.from_numpy(chosen)], target_map


@torch.no_grad()
def _update_average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    pairs = zip(averaged.parameters(), model.parameters(), strict=True)
    for a, p in pairs:
        a.lerp_(p, 1 - decay)


def _rescaled(model: Baseline, scale: float, offset: float) -> Baseline:
    """Return a copy that predicts scale * y + offset where the model predicts y."""
    model = deepcopy(model)
    last = model.head[-1]
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.mul_(scale).add_(offset)
    return model.eval()
