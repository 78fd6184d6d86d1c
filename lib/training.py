"""Train the project's IQA models on mean opinion scores, with a checkpoint per epoch.

The loop is short because everything that needs thought is decided in the `Recipe`: pictures are
resized once and cached, batch normalisation keeps its ImageNet statistics (batches are small),
the loss is squared error plus one minus Pearson's correlation in the batch, and an exponential
average of the weights is what is kept. Epoch `e` draws from a generator seeded by (seed, e), so
a run that was killed resumes to the very same weights.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from lib.cache import write_atomically
from lib.data.images import resize_image
from lib.data.records import Dataset, fingerprint
from lib.models.baseline import Baseline
from lib.paths import cache_dir


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


def best_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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


def train(
    model: Baseline,
    images: np.ndarray,
    targets: Sequence[float],
    recipe: Recipe,
    folder: Path,
    on_epoch: Callable[[int, Baseline], dict[str, float]] | None = None,
) -> tuple[Baseline, list[dict[str, float]]]:
    """Train `model` in place of a fresh copy and return the averaged one.

    Parameters
    ----------
    model : Baseline
        The starting point; it is not changed.
    images : numpy.ndarray
        NxSxSx3 uint8.
    targets : sequence of float
        (N,) scores, higher is better. They are standardised for the loss, and the head's last
        layer is rescaled at the end, so that the model predicts on the scale of `targets`.
    recipe : Recipe
        What to do.
    folder : Path
        Where `last.pt` is kept after each epoch; an interrupted run goes on from it.
    on_epoch : callable, optional
        Called with (epoch, averaged model on the targets' scale); what it returns is logged.

    Returns
    -------
    (Baseline, list of dict)
        The trained model on the CPU, and one row of the log an epoch.

    Raises
    ------
    ValueError
        If images and targets differ in number, or a target is not finite.
    FloatingPointError
        As soon as the loss is not finite.
    """
    targets = np.asarray(targets, dtype=np.float64)
    if len(images) != len(targets) or not np.isfinite(targets).all():
        raise ValueError(f"{len(images)} images need as many finite targets, got {len(targets)}")
    device = best_device()
    center, scale = float(targets.mean()), float(targets.std())
    if scale == 0:
        raise ValueError("all targets are equal: there is nothing to learn")
    standard = torch.tensor((targets - center) / scale, dtype=torch.float32)

    run_key = fingerprint([asdict(recipe), model.config, targets.tobytes(), images.shape])
    # `normalize` hands over channels-last pixels; weights in the same order are faster.
    model = deepcopy(model).to(device, memory_format=torch.channels_last)
    averaged = deepcopy(model).requires_grad_(False)
    _freeze(model, recipe.frozen_stages)
    optimizer = _optimizer(model, recipe)
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
        batches = _batches(images, standard, recipe, epoch)
        losses = []
        bar = tqdm(batches, total=steps // recipe.epochs, unit="batch")
        for pixels, target in bar:
            # Half precision with float32's range where the hardware has it: same steps, half time.
            with torch.autocast(device.type, torch.bfloat16):
                prediction = model(model.normalize(pixels.to(device)))
            loss = iqa_loss(prediction.float(), target.to(device), recipe.correlation_weight)
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
            losses.append(loss.item())
            bar.set_description(f"epoch {epoch + 1}/{recipe.epochs}, loss {np.mean(losses):.3f}")
        row = {"epoch": epoch + 1, "loss": float(np.mean(losses))}
        if on_epoch is not None:
            row |= on_epoch(epoch, _on_scale(averaged, center, scale))
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
    return _on_scale(averaged, center, scale), log


@torch.inference_mode()
def predict(model: Baseline, images: np.ndarray, batch_size: int = 16) -> np.ndarray:
    """Score NxHxWx3 uint8 images in single precision; returns (N,) float64."""
    device = best_device()
    model = deepcopy(model).to(device).eval()
    starts = tqdm(range(0, len(images), batch_size), desc="scoring", unit="batch", leave=False)
    scores = [model(model.normalize(np.array(images[i : i + batch_size]))).cpu() for i in starts]
    return torch.cat(scores).double().numpy()


def _freeze(model: Baseline, stages: int) -> None:
    model.eval()  # batch normalisation stays at its ImageNet statistics throughout
    if stages:
        trunk = model.backbone
        stem = [m for n, m in trunk.named_children() if n in ("conv_stem", "conv1", "bn1")]
        body = list(trunk.blocks) if hasattr(trunk, "blocks") else [trunk.layer1, trunk.layer2]
        for part in stem + body[:stages]:
            part.requires_grad_(False)


def _optimizer(model: Baseline, recipe: Recipe) -> torch.optim.Optimizer:
    trunk = [p for p in model.backbone.parameters() if p.requires_grad]
    groups = [
        {"params": trunk, "lr": recipe.lr_backbone},
        {"params": list(model.head.parameters()), "lr": recipe.lr_head},
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def _schedule(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _batches(
    images: np.ndarray, targets: torch.Tensor, recipe: Recipe, epoch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield shuffled, cropped and mirrored batches (pixels uint8, targets); drop the rest."""
    rng = np.random.default_rng([recipe.seed, epoch])
    order = rng.permutation(len(images))
    crop, room = recipe.crop_size, images.shape[1] - recipe.crop_size
    size = min(recipe.batch_size, len(images))
    for start in range(0, len(order) - size + 1, size):
        chosen = order[start : start + size]
        parts = []
        for i in chosen:
            top, left = rng.integers(0, room + 1, size=2)
            part = images[i, top : top + crop, left : left + crop]
            parts.append(part[:, ::-1] if rng.random() < 0.5 else part)
        yield torch.from_numpy(np.stack(parts)), targets[torch.from_numpy(chosen)]


@torch.no_grad()
def _update_average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    pairs = zip(averaged.parameters(), model.parameters(), strict=True)
    for a, p in pairs:
        a.lerp_(p, 1 - decay)


def _on_scale(averaged: Baseline, center: float, scale: float) -> Baseline:
    """Return a CPU copy whose last layer predicts on the targets' own scale."""
    model = deepcopy(averaged).cpu()
    last = model.head[-1]
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.mul_(scale).add_(center)
    return model.eval()
