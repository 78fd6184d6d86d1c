"""Memory of a training step, in a fresh process: ``python -m benchmarks.training_cost NAME``."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.masking_cost import peak_mib
from lib.dual_task import VARIANTS
from lib.losses import Recipe, losses
from lib.models.baseline import KINDS
from lib.paths import ROOT
from lib.training import MAP_STRIDE, freeze_stages, make_optimizer

SIDE, BATCH = 192, 16  # what the `open` profile of notebook 03 trains on


def step_of(variant: str) -> Callable[[], None]:
    """Return a function that makes one whole training step of a variant, on noise."""
    kind, share = VARIANTS[variant]
    recipe = Recipe(frozen_stages=3, saliency_weight=share)
    network = KINDS[kind]("efficientnet_lite0", "imagenet", seed=0)
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8))
    cells = SIDE // MAP_STRIDE
    target_map = torch.from_numpy(rng.uniform(size=(BATCH, cells, cells)).astype(np.float32))
    target = torch.from_numpy(rng.normal(size=BATCH).astype(np.float32))
    freeze_stages(network, recipe.frozen_stages)
    optimizer = make_optimizer(network, recipe)

    def step() -> None:
        parts = losses(network, pixels, target, target_map, recipe)
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
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
