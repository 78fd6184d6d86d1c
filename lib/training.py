"""Train the paper's networks on mean opinion scores and, in Section III-C, on saliency as well.

Batch normalisation keeps its ImageNet statistics (batches are small), and an exponential average of
the weights is what is kept. Epoch `e` draws from a generator seeded by (seed, e), and a checkpoint
is kept an epoch, so a run that was killed resumes to the very same weights.
"""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm

from lib.images import check_batch
from lib.inputs import plain
from lib.losses import Recipe, losses
from lib.models.backbones import best_device
from lib.models.baseline import Baseline
from lib.report import require
from lib.store import fingerprint, read_sealed, write_atomically, write_sealed

VERSION = 3  # of the numbers in the cache
MAP_STRIDE = 16  # pixels a cell of the target maps; two cells make one of the network's
Log = list[dict[str, float]]  # one row an epoch
Maps = np.ndarray | None  # Nx(S/16)x(S/16)


def train(
    model: Baseline,
    images: np.ndarray,
    targets: Sequence[float],
    recipe: Recipe,
    folder: Path,
    on_epoch: Callable[[Baseline], dict[str, float]] | None = None,
    maps: Maps = None,
    watch: Callable[[Log], object] | None = None,
) -> tuple[Baseline, Log]:
    """Train a copy of `model` and return the averaged one, on the CPU, with its log.

    It sees `images`, as `lib.inputs` gives them, and learns their scores, `targets`, on whose scale
    it then predicts, and `maps` of saliency, Nx(S/16)x(S/16) of any scale, if any. `folder` holds
    ``last.pt`` and ``log.csv`` after each epoch, from which an interrupted run goes on. What
    `on_epoch` returns for the averaged model is logged; `watch` is called with the log so far.
    """
    targets = np.asarray(targets, dtype=np.float64)
    _check(images, targets, maps, recipe)
    # A GradCAM explains how far the score lies above zero. Where it is learned, zero stays what it
    # is on the scale of the scores (the worst quality): centred, half of all maps would be empty.
    centred = maps is None or recipe.centred
    center, scale = float(targets.mean()) if centred else 0.0, float(targets.std())
    standard = torch.tensor((targets - center) / scale, dtype=torch.float32)
    seen = [images.shape, b"" if maps is None else maps.tobytes()]
    key = fingerprint([asdict(recipe), model.config, targets.tobytes(), *seen])
    per_epoch = max(1, len(images) // recipe.batch_size)
    run = Run(model, recipe, recipe.epochs * per_epoch, folder / "last.pt", key)
    if watch is not None and run.log:
        watch(run.log)
    for epoch in range(len(run.log), recipe.epochs):
        bar = tqdm(_batches(images, standard, maps, recipe, epoch), total=per_epoch, unit="batch")
        parts = []
        for batch in bar:
            parts.append(run.step(batch, epoch * per_epoch + len(parts)))
            mean = pd.DataFrame(parts).mean()
            bar.set_description(f"epoch {epoch + 1}/{recipe.epochs}, loss {mean.loss:.3f}")
        row = {"epoch": epoch + 1, **mean.to_dict()}
        if on_epoch is not None:
            row |= on_epoch(_rescaled(run.averaged, scale, center).cpu())
        run.save(row)
        if watch is not None:
            watch(run.log)
    return _rescaled(run.averaged, scale, center).cpu(), run.log


class Run:
    """A training under way: networks, optimiser, schedule and log; resumed from its checkpoint."""

    PARTS = ("model", "averaged", "optimizer", "scheduler")

    def __init__(self, model: Baseline, recipe: Recipe, steps: int, checkpoint: Path, key: str):
        self.recipe, self.checkpoint, self.key, self.log = recipe, checkpoint, key, []
        self.device = best_device()
        # `normalize` hands over channels-last pixels; weights in the same order are faster.
        self.model = deepcopy(model).to(self.device, memory_format=torch.channels_last)
        self.averaged = deepcopy(self.model).requires_grad_(False)
        freeze_stages(self.model, recipe.frozen_stages)
        self.optimizer = make_optimizer(self.model, recipe)
        self.scheduler = LambdaLR(self.optimizer, lambda step: schedule(step, steps))
        try:
            state = io.BytesIO(read_sealed(checkpoint))
        except OSError:
            if checkpoint.exists():
                print(f"{checkpoint} is not as we wrote it: trained from the start", flush=True)
            return
        state = torch.load(state, map_location=self.device, weights_only=True)
        if state["run"] == key:
            for part in self.PARTS:
                getattr(self, part).load_state_dict(state[part])
            self.log = state["log"]

    def step(self, batch: tuple, done: int) -> dict[str, float]:
        """Learn from one batch, after `done` others; return its losses."""
        pixels, target, target_map = batch
        parts = losses(self.model, pixels.to(self.device), target, target_map, self.recipe)
        if not torch.isfinite(parts["loss"]):
            rates = f"lr_backbone ({self.recipe.lr_backbone}) or lr_head ({self.recipe.lr_head})"
            raise FloatingPointError(f"the loss became {parts['loss'].item()}; lower {rates}")
        self.optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        self.optimizer.step()
        self.scheduler.step()
        # The average forgets its start faster in the first steps, as is usual.
        decay = min(self.recipe.average, (1 + done) / (10 + done))
        with torch.no_grad():
            for a, p in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                a.lerp_(p, 1 - decay)
        return {name: value.item() for name, value in parts.items()}

    def save(self, row: dict[str, float]) -> None:
        """End an epoch: add its row to the log, and keep all that the next one needs."""
        self.log.append(row)
        state = {part: getattr(self, part).state_dict() for part in self.PARTS}
        state |= {"run": self.key, "log": self.log}
        content, text = io.BytesIO(), pd.DataFrame(self.log).to_csv(index=False)
        torch.save(state, content)
        # The checkpoint comes last: a run that is killed between the two writes the log again.
        write_atomically(self.checkpoint.with_name("log.csv"), lambda path: path.write_text(text))
        write_sealed(self.checkpoint, [content.getvalue()])


def _check(images: np.ndarray, targets: np.ndarray, maps: Maps, recipe: Recipe) -> None:
    cell, crop = _cell(images, recipe), recipe.crop_size
    height, width = (cell * n for n in images.shape[-3:-1])
    good = 0 < crop <= height == width and crop % cell == 0
    require(good, f"images must be squares that hold a crop of {crop}, not {height}x{width}")
    least = 2 if recipe.correlation_weight else 1  # one score has no correlation
    good = min(recipe.batch_size, len(images)) >= least
    require(good, f"a batch needs {least} images or more; see batch_size and correlation_weight")
    good = len(images) == len(targets) and np.isfinite(targets).all() and targets.std() > 0
    require(good, f"{len(images)} images need as many finite targets, not all equal")
    if maps is None:
        require(not recipe.saliency_weight, "saliency_weight needs maps: no maps to learn from")
        return
    good = recipe.image_size % MAP_STRIDE == 0 and recipe.crop_size % (2 * MAP_STRIDE) == 0
    require(good, "with maps, image_size must be a multiple of 16 and crop_size of 32")
    side = recipe.image_size // MAP_STRIDE
    good = maps.shape == (len(images), side, side)
    require(good, f"maps must be {(len(images), side, side)}, not {maps.shape}")
    require(np.isfinite(maps).all() and maps.min() >= 0, "maps must be finite and non-negative")


def _cell(images: np.ndarray, recipe: Recipe) -> int:
    """Pixels to a side of one place of `images`: 1, or the stride of the frozen stages."""
    if images.dtype == np.float16:
        return recipe.image_size // images.shape[2]
    check_batch(images)
    return 1


@torch.inference_mode()
def predict(model: Baseline, images: np.ndarray, frozen: int = 0) -> np.ndarray:
    """Score images (`inputs`; behind `frozen` stages) in single precision; returns (N,) float64."""
    model = deepcopy(model).to(best_device()).eval()
    starts = tqdm(range(0, len(images), 16), desc="scoring", unit="batch", leave=False)
    parts = (torch.from_numpy(plain(images, slice(i, i + 16))) for i in starts)
    return torch.cat([model.score(model.read(p, frozen)).cpu() for p in parts]).double().numpy()


def freeze_stages(model: Baseline, stages: int) -> None:
    """Keep the stem and the first stages of the backbone, and all batch statistics, as they are."""
    model.requires_grad_(True).eval()
    for part in model.stages[: stages + 1] if stages else []:
        part.requires_grad_(False)


def make_optimizer(model: Baseline, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW with one learning rate for the backbone and one for all that is new."""
    trunk = [p for p in model.backbone.parameters() if p.requires_grad]
    others = [p for n, p in model.named_parameters() if not n.startswith("backbone.")]
    groups = [{"params": trunk, "lr": recipe.lr_backbone}, {"params": others, "lr": recipe.lr_head}]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def schedule(step: int, steps: int) -> float:
    """Share of the learning rate at a step: a linear warm-up, then a cosine to zero."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _batches(
    images: np.ndarray, targets: torch.Tensor, maps: Maps, recipe: Recipe, epoch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """Yield shuffled, cropped and mirrored batches (images, targets, maps); drop the rest."""
    rng = np.random.default_rng([recipe.seed, epoch])
    order = rng.permutation(len(images))
    cell, pixels, crop = _cell(images, recipe), images.dtype == np.uint8, recipe.crop_size
    # Image and map move together: with maps, crops start at whole cells of both.
    step = math.lcm(cell, 1 if maps is None else MAP_STRIDE)
    room = cell * images.shape[-2] - crop
    size = min(recipe.batch_size, len(images))
    for start in range(0, len(order) - size + 1, size):
        chosen, parts, map_parts = order[start : start + size], [], []
        for i in chosen:
            top, left = rng.integers(0, room // step + 1, size=2) * step
            mirrored = int(rng.random() < 0.5)
            whole = images[i][:, :: 1 - 2 * mirrored] if pixels else images[i, mirrored]
            parts.append(_part(whole, top, left, crop, cell))
            if maps is not None:
                whole = maps[i][:, :: 1 - 2 * mirrored]
                map_parts.append(_part(whole, top, left, crop, MAP_STRIDE))
        target_map = torch.from_numpy(np.stack(map_parts)).float() if map_parts else None
        yield torch.from_numpy(np.stack(parts)), targets[torch.from_numpy(chosen)], target_map


def _part(whole: np.ndarray, top: int, left: int, crop: int, cell: int) -> np.ndarray:
    """Cut a square out of an array whose places are `cell` pixels wide."""
    y, x, side = (n // cell for n in (top, left, crop))
    return whole[y : y + side, x : x + side]


def _rescaled(model: Baseline, scale: float, offset: float) -> Baseline:
    """Return a copy that predicts scale * y + offset where the model predicts y."""
    model = deepcopy(model)
    last = model.head[-1]
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.mul_(scale).add_(offset)
    return model.eval()
