"""Speed as ratios: ours and a peer's, alternating in one run on one machine.

``python -m benchmarks.bench`` prints a table. A ratio above 1 says that ours is faster. Seconds
depend on the machine and are printed for orientation only.
"""

import argparse
import contextlib
import io
import platform
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from lib.cam import extract_cam
from lib.models.baseline import Baseline


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


BENCHMARKS = {"cam": bench_cam}


def main(argv: list[str] | None = None) -> int:
    """Command line: run the benchmarks and print, or write, their table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(BENCHMARKS), help="one benchmark")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each (%(default)s)")
    parser.add_argument("--json", metavar="PATH", help="also write the rows there")
    args = parser.parse_args(argv)
    names = [args.only] if args.only else list(BENCHMARKS)
    table = pd.DataFrame([row for name in names for row in BENCHMARKS[name](args.repeats)])
    threads = torch.get_num_threads()
    print(f"{platform.machine()}, {threads} threads, torch {torch.__version__}")
    print(table.to_markdown(index=False, floatfmt=".3f"))
    if args.json:
        table.to_json(args.json, orient="records", indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
