"""Speed as ratios: ours and a peer's, alternating in one run on one machine; and how cost grows.

``python -m benchmarks.bench`` prints tables. A ratio above 1 says that ours is faster. Seconds
depend on the machine and are printed for orientation only. Where ours does more than the peer, what
it `costs` and its peak `memory` are given as ratios too.
"""

import argparse
import contextlib
import io
import platform
import statistics
import sys
import time
from collections.abc import Callable

import choix
import numpy as np
import pandas as pd
import torch
from scipy.special import expit

from benchmarks import masking_cost, training_cost
from lib.cam import extract_cam
from lib.models.baseline import Baseline
from lib.subjective import fit_scores


def alternate(ours: Callable[[], object], peer: Callable[[], object], repeats: int) -> dict:
    """Time both in turn, so that whatever else the machine does hits both; medians and ratio."""
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    ours(), peer()  # warm up
    for _ in range(repeats):
        for name, run in (("ours", ours), ("peer", peer)):
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    ours_s, peer_s = (statistics.median(times[name]) for name in ("ours", "peer"))
    return {"ours_s": ours_s, "peer_s": peer_s, "ratio": peer_s / ours_s}


def bench_cam(repeats: int) -> list[dict]:
    """Smoothed HiResCAM of EfficientNet-Lite0, batch of 8 at 384x288, against pytorch-grad-cam."""
    from pytorch_grad_cam import HiResCAM  # after lib, whose guard lets torchvision import

    model = Baseline("efficientnet_lite0", "random")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 288, 384, 3), np.uint8)
    images = model.normalize(pixels)
    layer = model.backbone.bn2

    def peer() -> None:
        with contextlib.redirect_stdout(io.StringIO()), HiResCAM(model, [layer]) as cam:
            cam(images, [lambda y: y.sum()] * 8, aug_smooth=True, eigen_smooth=True)

    timed = alternate(lambda: extract_cam(model, images, layer), peer, repeats)
    return [{"what": "HiResCAM, both smoothings", "peer": "pytorch-grad-cam", **timed}]


def bench_training(repeats: int) -> list[dict]:
    """One step of each dual-task network against the plain Baseline's: time, and peak memory."""
    rows = []
    baseline = training_cost.peak_of("Baseline")
    for variant in ("Baseline-Sal-Loss", "Baseline-GradCAM-Loss"):
        steps = training_cost.step_of(variant), training_cost.step_of("Baseline")
        timed = alternate(*steps, repeats)
        memory = training_cost.peak_of(variant)
        cost = {"costs": 1 / timed["ratio"], "memory": memory / baseline}
        rows.append({"what": f"{variant}, step", "peer": "Baseline, step", **timed, **cost})
    return rows


def bench_scores(repeats: int) -> list[dict]:
    """Bradley-Terry scores of 12 items from 100,000 votes, against choix, from the votes on."""
    rng = np.random.default_rng(0)
    utilities = rng.normal(size=12)
    a = rng.integers(12, size=100_000)
    b = (a + rng.integers(1, 12, size=len(a))) % 12
    first = rng.random(len(a)) < expit(utilities[a] - utilities[b])
    winners, losers = np.where(first, a, b), np.where(first, b, a)
    votes = list(zip(winners.tolist(), losers.tolist(), strict=True))  # choix takes pairs

    def ours() -> pd.DataFrame:
        counts = np.bincount(12 * winners + losers, minlength=144).reshape(12, 12)
        return fit_scores(pd.DataFrame(counts))

    timed = alternate(ours, lambda: choix.ilsr_pairwise(12, votes), repeats)
    return [{"what": "Bradley-Terry, 100,000 votes", "peer": "choix.ilsr_pairwise", **timed}]


BENCHMARKS = {"cam": bench_cam, "training": bench_training, "scores": bench_scores}
GROWTH = [(8, 3), (16, 3), (32, 3), (64, 3), (8, 12), (16, 12), (32, 12)]  # images, shares


def show_masking_cost() -> None:
    """Print and draw how the time and the memory of masking grow with images and shares."""
    table = masking_cost.in_fresh_processes(GROWTH)
    table["ms_a_picture"] = 1000 * table.seconds / (table.images * table.shares * 2)
    print("\nMasking (lib.masking), each row in a fresh process:")
    print(table.to_markdown(index=False, floatfmt=".1f"))
    print(f"drawn in {masking_cost.plot(table)}")


def main(argv: list[str] | None = None) -> int:
    """Command line: run the benchmarks and print, or write, their table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    choices = [*BENCHMARKS, "masking"]
    parser.add_argument("--only", choices=choices, help="one benchmark")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each (%(default)s)")
    parser.add_argument("--json", metavar="PATH", help="also write the rows there")
    args = parser.parse_args(argv)
    names = [name for name in BENCHMARKS if args.only in (None, name)]
    table = pd.DataFrame([row for name in names for row in BENCHMARKS[name](args.repeats)])
    threads = torch.get_num_threads()
    print(f"{platform.machine()}, {threads} threads, torch {torch.__version__}")
    if names:
        print(table.to_markdown(index=False, floatfmt=".3f"))
    if args.only in (None, "masking"):
        show_masking_cost()
    if args.json:
        table.to_json(args.json, orient="records", indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
