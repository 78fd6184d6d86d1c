"""What a network learns by (Section III-C): the recipe, and its two losses in one place."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.models.baseline import Baseline

FLOOR = 0.05  # laid under both maps, as a sum over the cells: no zeros, and no steep gradients


@dataclass(frozen=True)
class Recipe:
    """Every number that decides a training run."""

    epochs: int = 5
    batch_size: int = 16
    image_size: int = 384  # pictures are resized to this square once
    crop_size: int = 288  # an epoch sees a random part of each, mirrored half of the time
    lr_backbone: float = 3e-4  # AdamW; warm-up over a tenth of the steps, then a cosine to zero
    lr_head: float = 1e-3
    weight_decay: float = 0.05
    # So many stages, and the stem, stay ImageNet's: few weights, half of the backward pass.
    frozen_stages: int = 2
    correlation_weight: float = 0.5  # of 1 - PLCC beside the squared error
    average: float = 0.995  # decay of the exponential average of the weights, per step
    seed: int = 0
    saliency_weight: float = 0.0  # of the saliency loss; the paper gives none; 0: plain Baseline
    saliency_loss: str = "kld"  # see `saliency_loss`; the paper names none
    centred: bool = False  # scores, where maps are learned too; see notebook 03, trap 2


def iqa_loss(prediction: Tensor, target: Tensor, weight: float) -> Tensor:
    """Squared error plus `weight` times one minus Pearson's correlation; both (B,)."""
    p, t = prediction - prediction.mean(), target - target.mean()
    # A batch of equal scores has no correlation: the small constant makes it zero, not NaN.
    correlation = (p * t).mean() / (p.pow(2).mean() * t.pow(2).mean() + 1e-8).sqrt()
    return nn.functional.mse_loss(prediction, target) + weight * (1 - correlation)


def saliency_loss(predicted: Tensor, target: Tensor, kind: str) -> Tensor:
    """Hold predicted maps against target maps, Bxhxw, non-negative, whatever scale either has.

    "kld": Kullback-Leibler divergence of the prediction from the target, both summing to 1; "bce":
    binary cross-entropy a cell, both with a peak of 1; "cc": one minus Pearson's correlation over
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


def losses(
    model: Baseline, seen: Tensor, target: Tensor, target_map: Tensor | None, recipe: Recipe
) -> dict[str, Tensor]:
    """Return the losses of one batch and, as `loss`, their weighted sum.

    `seen` is BxHxWx3 uint8, or what the frozen stages made of it (`lib.inputs`), `target`
    the scaled scores (B,), `target_map` Bx(H/16)x(W/16) saliency, which may be None where its loss
    weighs nothing.
    """
    device = seen.device
    # Half precision, with float32's range: processors without it would take ten times as long.
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        feature_map = model.read(seen, recipe.frozen_stages)
        prediction = model.score(feature_map)
    found = {"iqa_loss": iqa_loss(prediction.float(), target.to(device), recipe.correlation_weight)}
    loss = found["iqa_loss"]
    if recipe.saliency_weight:
        # A mean over 2x2 cells: the target at the network's own resolution.
        wanted = nn.functional.avg_pool2d(target_map.to(device), 2)
        predicted = model.saliency(feature_map.float())
        found["saliency_loss"] = saliency_loss(predicted, wanted, recipe.saliency_loss)
        loss = loss + recipe.saliency_weight * found["saliency_loss"]
    return {"loss": loss} | found
