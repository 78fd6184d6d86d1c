"""Memory of a training step, in a fresh process: ``python -m benchmarks.training_cost NAME``."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from benchmarks.masking_cost import peak_mib
from lib.dual_task import VARIANTS
from lib.losses import Recipe, losses
from lib.models.baseline import KINDS, Baseline
from lib.paths import ROOT
from lib.training import MAP_STRIDE, freeze_stages, make_optimizer

SIDE, BATCH, FROZEN = 192, 16, 4  # what the `open` profile of notebook 03 trains on


def step_of(variant: str, kept: bool = False) -> Callable[[], None]:
    """Return a function that makes one whole training step of a variant, on noise.

    It starts from pixels or, where `kept`, from what the frozen stages made of them once.
    """
    kind, share = VARIANTS[variant]
    recipe = Recipe(frozen_stages=FROZEN, saliency_weight=share)
    network = KINDS[kind]("efficientnet_lite0", "imagenet", seed=0)
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8))
    cells = SIDE // MAP_STRIDE
    target_map = torch.from_numpy(rng.uniform(size=(BATCH, cells, cells)).astype(np.float32))
    target = torch.from_numpy(rng.normal(size=BATCH).astype(np.float32))
    network = network.to(memory_format=torch.channels_last)
    freeze_stages(network, recipe.frozen_stages)
    optimizer = make_optimizer(network, recipe)
    seen = frozen_features(network, pixels.numpy(), FROZEN) if kept else pixels

    def step() -> None:
        parts = losses(network, seen, target, target_map, recipe)
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        optimizer.step()

    return step


def frozen_features(network: Baseline, pixels: np.ndarray, stages: int) -> torch.Tensor:
    """Return what the stem and `stages` stages make of BxSxSx3 pixels: BxhxwxC float16."""
    with torch.no_grad():
        seen = nn.Sequential(*network.stages[: stages + 1])(network.normalize(pixels))
    return seen.permute(0, 2, 3, 1).half().contiguous()


def plain_step(frozen: int) -> Callable[[], None]:
    """Return a step of a timm network with one output, by the squared error alone."""
    import timm  # after lib, whose guard lets torchvision import

    network = timm.create_model("tf_efficientnet_lite0", num_classes=1)
    network = network.to(memory_format=torch.channels_last).eval()  # batch statistics are kept
    stem = (network.conv_stem, network.bn1, *network.blocks[:frozen])
    for part in stem if frozen else ():
        part.requires_grad_(False)
    learned = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, 3e-4)
    pixels = torch.rand(BATCH, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    target = torch.rand(BATCH)

    def step() -> None:
        loss = nn.functional.mse_loss(network(pixels).squeeze(1), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def peak_of(variant: str) -> float:
    """Return the most memory, MiB, of a fresh process that makes three steps."""
    command = [sys.executable, "-m", "benchmarks.training_cost", variant]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    step = step_of(parser.parse_args().variant)
    for _ in range(3):
        step()
    print(json.dumps(peak_mib()))
