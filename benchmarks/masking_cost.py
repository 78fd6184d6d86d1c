"""Time and peak memory of masking, in a process of its own: ``python -m benchmarks.masking_cost``.

Peak memory is a property of a process, so each size is measured in a fresh one.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from lib import plots
from lib.iqa import Metric
from lib.masking import masked_scores
from lib.models.baseline import Baseline
from lib.paths import ROOT, figures_dir
from lib.records import Dataset, Record
from lib.sources import Source
from lib.store import write_atomically


class Noise(Dataset):
    """Pictures of noise."""

    name, kind, fingerprint = "noise", "noise", "noise"
    shape = (512, 512)

    def __init__(self, count: int):
        self.names = [f"noise {i}" for i in range(count)]

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        pixels = np.random.default_rng(index).integers(0, 256, (*self.shape, 3), np.uint8)
        return Record(self.names[index], pixels)


def measure(images: int, shares: int) -> dict[str, float]:
    """Mask so many images at so many shares (two strategies), here; seconds and peak MiB."""
    network = Baseline("efficientnet_lite0", "random")

    @torch.inference_mode()
    def score(pictures: np.ndarray, *_: object) -> torch.Tensor:
        return network(network.normalize(pictures))

    inside = list(np.linspace(0, 1, shares + 2)[1:-1])
    start = time.perf_counter()
    lite0 = Metric("bench", None, name="lite0", score=score, sign=1, key="bench")
    chance = Source("Dummy", "chance", lambda rs: np.stack([r.image[..., 0] for r in rs]), "chance")
    masked_scores(lite0, Noise(images), [chance], ["black"], inside, 256)
    seconds = time.perf_counter() - start
    return {"images": images, "shares": shares, "seconds": seconds, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """Return the most memory that this process has held so far, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux's getrusage would also count the process that started this one
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def in_fresh_processes(sizes: list[tuple[int, int]]) -> pd.DataFrame:
    """Measure each (images, shares) in a process of its own, with an empty cache."""
    rows = []
    for images, shares in sizes:
        command = [sys.executable, "-m", "benchmarks.masking_cost", str(images), str(shares)]
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=os.environ | {"CACHE_DIR": folder},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=True,
            )
        rows.append(json.loads(done.stdout))
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Path:
    """Draw time and memory against the number of masked pictures, as figures/bench/."""
    plots.set_style()
    table = table.assign(pictures=table.images * table.shares * 2)
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.6))
    for shares, part in table.groupby("shares"):
        axes[0].plot(part.pictures, part.seconds, "o-", label=f"{shares} shares")
        axes[1].plot(part.images, part.peak_mib, "o-", label=f"{shares} shares")
    axes[0].set(xlabel="images x shares x strategies", ylabel="seconds")
    axes[1].set(xlabel="images", ylabel="peak memory, MiB")
    for axis in axes:
        axis.set(xlim=(0, 1.08 * axis.get_xlim()[1]), ylim=(0, 1.08 * axis.get_ylim()[1]))
    axes[0].legend()
    figure.tight_layout()
    path = figures_dir("bench") / "masking_cost.png"
    write_atomically(path, lambda p: figure.savefig(p, metadata={"Software": None}))
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=int)
    parser.add_argument("shares", type=int)
    args = parser.parse_args()
    print(json.dumps(measure(args.images, args.shares)))
