"""How time and memory grow with the number of records: ``python -m benchmarks.growth``.

Extraction, metrics, masking and the benchmark of metrics, each on 100, 1,000 and 10,000 synthetic
records, each in a process of its own with an empty cache; drawn as figures/bench/growth.png. Time
should be in proportion, and memory flat: nothing may hold all pictures, or all maps.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm.auto import tqdm

from benchmarks import masking_cost
from benchmarks.masking_cost import peak_mib
from lib import evaluation, iqa, plots
from lib.codec import TEST_CASES
from lib.data.sacid import SACID
from lib.maps import fixation_density
from lib.masking import masked_scores
from lib.paths import ROOT, figures_dir
from lib.records import Record
from lib.report import save_rows
from lib.sources import Source, extract
from lib.store import write_atomically

RECORDS = (100, 1_000, 10_000)
HEIGHT, WIDTH = 96, 128
SOURCE = Source("Dummy", "red", lambda rs: np.stack([r.image[..., 0] for r in rs]), "red")


class Noise(masking_cost.Noise):
    """Small pictures of noise, with fixations at random."""

    shape = (HEIGHT, WIDTH)

    def __getitem__(self, index: int) -> Record:
        xy = np.random.default_rng(index).uniform(0, (WIDTH, HEIGHT), (20, 2))
        density = fixation_density(xy, self.shape, 5)
        return replace(super().__getitem__(index), fixations=xy, density=density)


def _masking(count: int, _: Path) -> Callable[[], object]:
    def score(pictures: np.ndarray, *_: object) -> torch.Tensor:
        return torch.from_numpy(pictures.mean(axis=(1, 2, 3)))

    mean = iqa.Metric("bench", None, name="mean", score=score, sign=1, key="mean")
    return lambda: masked_scores(mean, Noise(count), [SOURCE], ["black"], [0.5], WIDTH)


def _benchmark(count: int, root: Path) -> Callable[[], object]:
    """Write a small SACID with so many pictures; to be scored by PSNR and GMSD."""
    for folder in ("reference", "saliency", "compressed"):
        (root / folder).mkdir()
    rows, rng = [], np.random.default_rng(0)
    picture = Image.fromarray(Noise(1)[0].image)
    for number in range(-(-count // len(TEST_CASES))):
        picture.save(root / "reference" / f"{(name := f'{number:05}')}.png")
        picture.convert("L").save(root / "saliency" / f"{name}.png")
        (root / "compressed" / name).mkdir()
        for case in TEST_CASES:
            picture.save(root / "compressed" / name / f"{case}.jpg", quality=30)
            rows.append((name, case, rng.random()))
    columns = ["sequence", "test_case", "subjective_score"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "moses.csv", index=False)
    return lambda: iqa.score_pictures(SACID(root), ["PSNR", "GMSD"])


WORK: dict[str, Callable[[int, Path], Callable[[], object]]] = {
    "extraction": lambda count, _: lambda: extract(SOURCE, Noise(count)),
    "metrics": lambda count, _: lambda: evaluation.evaluate([SOURCE], Noise(count), 2, 0, 50),
    "masking": _masking,
    "benchmark": _benchmark,
}


def measure(kind: str, count: int) -> dict[str, object]:
    """Do the work of one kind here, with an empty cache: seconds and peak MiB."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CACHE_DIR"] = str(Path(folder) / "cache")
        work = WORK[kind](count, Path(folder))
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
    return {"kind": kind, "records": count, "seconds": seconds, "peak_mib": peak_mib()}


def plot(table: pd.DataFrame) -> Path:
    """Draw time and memory against the number of records, as figures/bench/growth.png."""
    plots.set_style()
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
    for kind, part in table.groupby("kind", sort=False):
        axes[0].loglog(part.records, part.seconds, "o-", label=kind)
        axes[1].semilogx(part.records, part.peak_mib, "o-", label=kind)
    ends = np.array(sorted(table.records.unique()))[[0, -1]]
    axes[0].loglog(ends, table.seconds.min() * ends / ends[0], "k:", label="in proportion")
    axes[0].set(xlabel="records", ylabel="seconds")
    axes[1].set(xlabel="records", ylabel="peak memory, MiB", ylim=(0, 1.1 * table.peak_mib.max()))
    axes[0].legend(fontsize=7)
    path = figures_dir("bench") / "growth.png"
    write_atomically(path, lambda p: figure.savefig(p, metadata={"Software": None}))
    return path


def main(argv: list[str] | None = None) -> int:
    """Command line: measure one size here, or all of them in fresh processes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=WORK)
    parser.add_argument("records", nargs="?", type=int)
    chosen = parser.parse_args(argv)
    if chosen.kind:
        print(json.dumps(measure(chosen.kind, chosen.records or RECORDS[0])))
        return 0
    rows = []
    for kind, count in tqdm([(k, n) for k in WORK for n in RECORDS], unit="size"):
        command = [sys.executable, "-m", "benchmarks.growth", kind, str(count)]
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        rows.append(json.loads(subprocess.run(command, cwd=ROOT, check=True, **quiet).stdout))
    table = pd.DataFrame(rows)
    save_rows(table, "growth", "bench")
    print(table.to_markdown(index=False, floatfmt=".1f"), f"drawn in {plot(table)}", sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
