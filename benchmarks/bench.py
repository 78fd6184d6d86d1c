"""Speed as ratios: ours and a peer's, alternating in one run on one machine; and how cost grows.

``python -m benchmarks.bench`` writes figures/bench/bench.csv and .md. A ratio above 1 says that
ours is faster; `low` and `high` are the smallest and largest of the runs' own ratios. Seconds
depend on the machine and are there for orientation only. Where ours does more than the peer, what
it `costs` and its peak `memory` are given as ratios too; `apart` is the largest difference of the
two results, where they are the same thing. A peer that is not installed is left out, with a word.
What was `asked` for when the work began stands beside; `LIMITS` says what keeps it from more.
"""

import argparse
import contextlib
import io
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import choix
import numpy as np
import pandas as pd
import torch
from scipy.special import expit

from benchmarks import growth, masking_cost, training_cost
from lib import data, iqa, metrics
from lib.cam import extract_cam
from lib.maps import check_density, fixation_density
from lib.models.backbones import best_device
from lib.models.baseline import Baseline
from lib.paths import figures_dir
from lib.records import Record
from lib.report import save_rows
from lib.store import write_atomically
from lib.subjective import fit_scores

LIMITS = """**Where less was reached than asked for, and why**

- *HiResCAM*: both smoothings need six views of each picture, so their forward passes are a floor.
  The peer's seconds over those of the passes, in the rows above, are the most that any method
  could gain; what was asked for may lie beyond it. Over the passes we take
  the gradient of the head, the turning back of the views and the sign.
- *Behind kept frozen stages*, against a network that is trained as a whole: what is left to train
  is the last stages, and ours learns saliency there, too.
- *Bradley-Terry*: what is left is choix's own fit, of counts, and the standard errors, which the
  peer's side does without.
- *Table III's sweep*: pyiqa's SSIM and MS-SSIM convolve in double precision, by one thread; that is
  half of it. An SSIM of our own might be faster, and would be one more SSIM.

**Not measured**: a GPU, since none was lent for it. The device is chosen in one place,
`lib.models.backbones.best_device`; training runs in bfloat16 there (`lib/losses.py`), nothing else.
"""


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
    each = [theirs / own for own, theirs in zip(times["ours"], times["peer"], strict=True)]
    spread = {"low": min(each), "high": max(each)}
    return {"ours_s": ours_s, "peer_s": peer_s, "ratio": peer_s / ours_s, **spread}


def often(run: Callable[[], object]) -> Callable[[], object]:
    """Repeat what takes milliseconds, or the other's traces in the processor's caches decide."""
    return lambda: [run() for _ in range(10)]


def bench_cam(repeats: int) -> list[dict]:
    """Smoothed HiResCAM of EfficientNet-Lite0, 32 images at 384x288, against pytorch-grad-cam."""
    from pytorch_grad_cam import HiResCAM  # after lib, whose guard lets torchvision import

    model = Baseline("efficientnet_lite0", "random")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 288, 384, 3), np.uint8)
    images = model.normalize(pixels)
    layer = model.backbone.bn2

    def peer() -> np.ndarray:
        with contextlib.redirect_stdout(io.StringIO()), HiResCAM(model, [layer]) as cam:
            return cam(images, [lambda y: y.sum()] * 32, aug_smooth=True, eigen_smooth=True)

    @torch.inference_mode()
    def passes() -> None:
        for view in [images] * 6:
            for part in view.split(8):
                model(part)

    rows = []
    for sign, asked in (("cam", 11.9), ("lapack", 8.0)):
        ours = partial(extract_cam, model, images, layer, eigen_sign=sign)
        timed = alternate(ours, peer, repeats)
        what = {"what": f"HiResCAM, both smoothings, sign: {sign}", "peer": "pytorch-grad-cam"}
        same = {"apart": float(np.abs(ours() - peer()).max())} if sign == "lapack" else {}
        rows.append(what | timed | {"asked": asked} | same)
    timed = alternate(partial(extract_cam, model, images, layer), passes, repeats)
    what = {"what": "HiResCAM, both smoothings", "peer": "its six forward passes"}
    return [*rows, what | timed | {"asked": 1 / 1.15, "costs": 1 / timed["ratio"]}]


def bench_metrics(repeats: int) -> list[dict]:
    """NSS, SIM, CC and KLD of a map of 400x300 against pysaliency's functions of these names."""
    if (found := find_spec("pysaliency")) is None:
        print("pysaliency is not installed (pip install --no-deps pysaliency): left out")
        return []
    # Its metrics alone: the package as a whole asks for a dozen others.
    file = Path(found.submodule_search_locations[0]) / "metrics.py"
    spec = spec_from_file_location("pysaliency_metrics", file)
    spec.loader.exec_module(theirs := module_from_spec(spec))
    rng = np.random.default_rng(0)
    fixations = rng.uniform(0, (400, 300), (90, 2))
    record = Record("", None, fixations, fixation_density(fixations, (300, 400), 12))
    maps, (x, y) = rng.random((8, 300, 400)), fixations.astype(int).T
    density = np.float64(record.density)

    def ours() -> list[list[float]]:
        people = metrics.Checked(record.density, "density", check_density)
        found, by_density = [], (metrics.similarity, metrics.cc, metrics.kld)
        for each in maps:
            checked = metrics.Checked(each, "saliency_map")
            scores = [metrics.nss(checked, fixations), *(f(checked, people) for f in by_density)]
            found.append(scores)
        return found

    def peer() -> list[list[float]]:
        found = []
        for each in maps:
            of_density = [f(each, density) for f in (theirs.SIM, theirs.CC, theirs.MIT_KLDiv)]
            found.append([theirs.NSS(each, x, y).mean(), *of_density])
        return found

    timed = alternate(often(ours), often(peer), repeats)
    apart = float(np.abs(np.array(ours()) - np.array(peer())).max())
    what = {"what": "NSS, SIM, CC, KLD of 8 maps, 10 times", "peer": "pysaliency", "asked": 2.0}
    return [what | timed | {"apart": apart}]


def bench_training(repeats: int) -> list[dict]:
    """One step of each dual-task network against the plain Baseline's: time, and peak memory."""
    rows = []
    baseline = training_cost.peak_of("Baseline")
    for variant in ("Baseline-Sal-Loss", "Baseline-GradCAM-Loss"):
        steps = training_cost.step_of(variant), training_cost.step_of("Baseline")
        timed = alternate(*steps, repeats)
        memory = training_cost.peak_of(variant)
        asked = {"asked": 1 / 1.05} if variant == "Baseline-GradCAM-Loss" else {}
        cost = asked | {"costs": 1 / timed["ratio"], "memory": memory / baseline}
        rows.append({"what": f"{variant}, step", "peer": "Baseline, step", **timed, **cost})
    return rows


def bench_learning(repeats: int) -> list[dict]:
    """Time a step of GradCAM-Loss in `open` against a timm network's, on the scores alone."""
    ours = training_cost.step_of("Baseline-GradCAM-Loss", kept=True)
    rows = []
    peers = (("all trained", 0, 3.0), ("the same stages frozen", training_cost.FROZEN, 1.0))
    for name, frozen, asked in peers:
        timed = alternate(ours, training_cost.plain_step(frozen), repeats)
        what = {"what": "GradCAM-Loss behind kept frozen stages, step"}
        what |= {"peer": f"timm, same trunk, scores only, {name}", "asked": asked}
        rows.append(what | timed)
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

    timed = alternate(often(ours), often(lambda: choix.ilsr_pairwise(12, votes)), repeats)
    what = {"what": "Bradley-Terry, 100,000 votes, 10 times", "peer": "choix.ilsr_pairwise"}
    return [what | timed | {"asked": 100.0}]


def bench_sweep(repeats: int) -> list[dict]:
    """Judge the twelve pictures of a sequence by Table III's classics, against pyiqa's one by one.

    pyiqa has no weighted twins: on its side the plain metric runs again, as without a shared map.
    """
    import pyiqa  # after lib, whose guard lets torchvision import

    sacid = data.load("simulated-sacid", images=1)
    plain = ["MS-SSIM", "PSNR", "SSIM", "VIF"]
    twins = ["EW-PSNR", "EW-SSIM"]
    names = [n.removeprefix("EW-").lower().replace("-", "_") for n in plain + twins]
    theirs = {name: pyiqa.create_metric(name, device=best_device()) for name in names}
    (sequence,) = sacid.sequences
    reference = str(sacid.root / "reference" / f"{sequence}.png")
    pictures = [str(sacid.root / "compressed" / f"{name}.jpg") for name in sacid.names]

    def ours() -> np.ndarray:
        with TemporaryDirectory() as empty, patch.dict(os.environ, CACHE_DIR=empty):
            found = iqa.score_pictures(sacid, plain + twins)
        return np.stack([found[found.metric == name].value for name in plain])

    def peer() -> np.ndarray:
        found = [[theirs[n](path, reference).item() for path in pictures] for n in names]
        return np.array(found[: len(plain)])

    timed = alternate(ours, peer, repeats)
    what = {"what": f"Table III sweep, {len(pictures)} pictures: {', '.join(plain + twins)}"}
    what |= {"asked": 1.5}
    apart = float(np.abs(ours() - peer()).max())
    return [what | {"peer": "pyiqa, picture by picture", **timed, "apart": apart}]


BENCHMARKS = {"cam": bench_cam, "metrics": bench_metrics, "training": bench_training}
BENCHMARKS |= {"learning": bench_learning, "scores": bench_scores, "sweep": bench_sweep}
GROWTH = [(8, 3), (16, 3), (32, 3), (64, 3), (8, 12), (16, 12), (32, 12)]  # images, shares


def show_masking_cost() -> None:
    """Print and draw how the time and the memory of masking grow with images and shares."""
    table = masking_cost.in_fresh_processes(GROWTH)
    table["ms_a_picture"] = 1000 * table.seconds / (table.images * table.shares * 2)
    print("\nMasking (lib.masking), each row in a fresh process:")
    print(table.to_markdown(index=False, floatfmt=".1f"))
    print(f"drawn in {masking_cost.plot(table)}")


def write_page(table: pd.DataFrame, where: str) -> None:
    """Write bench.md: the table in the order of its columns, and what limits it."""
    first = ["what", "peer", "asked", "ratio", "low", "high"]
    order = [c for c in first if c in table] + [c for c in table if c not in first]
    rows = table[order].map(lambda v: f"{v:.3g}" if isinstance(v, float) else v).replace("nan", "")
    parts = ["# Speed, as ratios", " ".join(__doc__.split("\n\n")[1].split()), where]
    text = "\n\n".join([*parts, rows.to_markdown(index=False, disable_numparse=True), LIMITS])
    path = figures_dir("bench") / "bench.md"
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def main(argv: list[str] | None = None) -> int:
    """Command line: run the benchmarks and print, or write, their table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    choices = [*BENCHMARKS, "masking", "growth"]
    parser.add_argument("--only", choices=choices, help="one benchmark")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each (%(default)s)")
    args = parser.parse_args(argv)
    names = [name for name in BENCHMARKS if args.only in (None, name)]
    table = pd.DataFrame([row for name in names for row in BENCHMARKS[name](args.repeats)])
    versions = {p: version(p) for p in ("torch", "timm", "grad-cam", "choix", "numpy")}
    where = f"{platform.machine()}, {torch.get_num_threads()} threads, {versions}"
    if len(table):
        print(where, table.to_markdown(index=False, floatfmt=".3f"), sep="\n\n")
    if args.only is None:
        save_rows(table, "bench", "bench")
        write_page(table, where)
    if args.only in (None, "masking"):
        show_masking_cost()
    if args.only in (None, "growth"):
        growth.main([])
    return 0


if __name__ == "__main__":
    sys.exit(main())
