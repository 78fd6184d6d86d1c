"""What one of a thing costs on this machine: seconds and GPU memory, for `benchmarks.plan`.

A *unit* is a kind, a key of `MEASURES`, and what decides its cost. Networks start at random, so
that nothing is downloaded; pictures are one photograph, resized.
"""

import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.stats import rankdata
from skimage.data import coffee
from tqdm.auto import tqdm

from benchmarks.training_cost import frozen_features
from lib import codec, iqa, masking, plots, subjective, x264
from lib.cam import extract_cam
from lib.images import as_rgb, resize_image
from lib.losses import Recipe
from lib.maps import fixation_density
from lib.metrics import score_map
from lib.models.backbones import best_device
from lib.models.baseline import Baseline
from lib.models.msinet import MSINet
from lib.models.saliency import ReadOut, SaliencyPredictor
from lib.models.transalnet import TranSalNet
from lib.paths import ROOT
from lib.records import Record
from lib.training import MAP_STRIDE, Run
from lib.transforms import MapTransform

Unit = tuple  # a kind and its arguments: ("pass", "resnet50", height, width)
OFFLINE = [name for name, entry in iqa.REGISTRY.items() if "download" not in entry.weights]
ENOUGH, ONCE = 0.5, 5.0  # seconds of repeats; what takes longer than this is called once
FIXATIONS = 150  # of an image, as of OSIE's 15 viewers


class Cost(NamedTuple):
    """What one unit costs."""

    seconds: float
    gpu_mib: float | None = None  # peak; None without a GPU


def measure(units: list[Unit]) -> dict[Unit, Cost]:
    """Measure each unit: the fastest of some calls after one that warms up."""
    return {unit: _cost(*unit) for unit in tqdm(units, "measuring", unit="unit", leave=False)}


def _cost(kind: str, *arguments: object) -> Cost:
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    call, units = MEASURES[kind](*arguments)
    times = [_seconds(call)]
    if times[0] < ONCE:
        times = [_seconds(call)]
        while sum(times) < ENOUGH:
            times.append(_seconds(call))
    peak = torch.cuda.max_memory_allocated() / 2**20 if gpu else None
    return Cost(min(times) / units, peak)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


# -- each returns a call, and how many units it makes ---------------------------------------------

Measured = tuple[Callable[[], object], int]
# Pictures at once: as many as the notebooks take; on a CPU the time a picture is the same.
BATCH = 8 if torch.cuda.is_available() else 2


def photograph(height: int, width: int) -> np.ndarray:
    """Return a photograph, HxWx3 uint8."""
    return resize_image(coffee(), height, width)


def _network(backbone: str, height: int, width: int) -> tuple[Baseline, np.ndarray]:
    model = Baseline(backbone, "random").to(best_device())
    return model, np.stack([photograph(height, width)] * BATCH)


def _cam(backbone: str, height: int, width: int, sign: str = "cam") -> Measured:
    """Six views, smoothed, as Section III-A has it."""
    model, pixels = _network(backbone, height, width)
    how = {"layer": model.last_layer, "eigen_sign": sign}
    return lambda: extract_cam(model, model.normalize(pixels), **how), BATCH


def _pass(backbone: str, height: int, width: int) -> Measured:
    model, pixels = _network(backbone, height, width)
    call = torch.inference_mode()(lambda: model(model.normalize(pixels)).cpu())
    return call, BATCH


def _masked(scorer: str, height: int, width: int) -> Measured:
    """Mask and score sixteen pictures, by a trunk or by a metric that needs no weights."""
    image = photograph(height, width)
    ranks = np.random.default_rng(0).permutation(image[..., 0].size).reshape(image.shape[:2])
    shares, black = np.linspace(0.1, 0.9, masking.AT_ONCE), masking.background(image, "black")
    if scorer.lower() in {name.lower() for name in OFFLINE}:
        score = iqa.metric(scorer)
    else:
        model = _network(scorer, height, width)[0]
        score = torch.inference_mode()(lambda pictures: model(model.normalize(pictures)).cpu())

    def call() -> None:
        masks = (masking.mask(ranks, share, "MoRF") for share in shares)
        score(np.stack([np.where(m[..., None], black, image) for m in masks]))

    return call, masking.AT_ONCE


def _order(height: int, width: int) -> Measured:
    seen = _record(height, width).density
    return lambda: masking.relevance_ranks(seen), 1


def _resample(lines: int, images: int) -> Measured:
    """Rank the scores of every curve on a resample, and correlate them."""
    scores = np.random.default_rng(0).random((lines, images))
    return lambda: rankdata(scores, axis=1) @ scores[0], 1


def _step(backbone: str, crop: int, batch: int, frozen: int) -> Measured:
    """One step of Baseline-GradCAM-Loss; the other two cost about as much (`make bench`)."""
    recipe = Recipe(batch_size=batch, crop_size=crop, frozen_stages=frozen, saliency_weight=0.3)
    network, cells = Baseline(backbone, "random"), crop // MAP_STRIDE
    run = Run(network, recipe, 100, Path("no checkpoint"), "")
    pixels = photograph(crop, crop)[None]
    seen = frozen_features(network, pixels, frozen) if frozen else torch.from_numpy(pixels)
    lesson = torch.cat([seen] * batch), torch.rand(batch), torch.rand(batch, cells, cells)
    return lambda: run.step(lesson, 0), 1


def _resized(height: int, width: int, side: int) -> Measured:
    file = io.BytesIO()
    Image.fromarray(photograph(height, width)).save(file, "jpeg", quality=95)
    return lambda: resize_image(as_rgb(Image.open(file)), side, side), 1


def _record(height: int, width: int) -> Record:
    fixations = np.random.default_rng(0).uniform(0, (width, height), (FIXATIONS, 2))
    density = fixation_density(fixations, (height, width), width / 33)  # a degree, about
    return Record("", photograph(height, width), fixations, density)


def _gaze(height: int, width: int) -> Measured:
    read, _ = _resized(height, width, 64)
    return lambda: (read(), _record(height, width)), 1


def _scored(height: int, width: int) -> Measured:
    """All metrics of one map, as extracted and transformed."""
    record = _record(height, width)
    found = np.ascontiguousarray(record.density[::-1])
    fitted = MapTransform.fit([found], [record.density], [record.density])

    def call() -> None:
        score_map(found, record)
        score_map(fitted.apply(found, record.density), record)

    return call, 1


def _fitted(height: int, width: int) -> Measured:
    density = _record(height, width).density
    return lambda: MapTransform.fit([density[::-1]], [density], [density]), 1


def _predictor(build: Callable[[], torch.nn.Module]) -> Measured:
    """Predict by a published network, which sees pictures of any size in its one frame."""
    network, picture = build().to(best_device()), photograph(480, 640)
    return lambda: network.predict(picture), 1


def _readout(height: int, width: int) -> Measured:
    predict, picture = SaliencyPredictor(ReadOut()), photograph(height, width)
    return lambda: predict(picture), 1


def _coded(height: int, width: int) -> Measured:
    """Search the QP of 0.12 bits per pixel: some three runs of x264, with offsets."""
    record = _record(height, width)
    aq = codec.aq_offsets(x264.planes(x264.to_frame(record.image)))
    salient = codec.macroblock_map(np.rint(255 * record.density / record.density.max()))
    grid = codec.solve_offsets(salient, aq, codec.PRESETS["p220"]).grid
    return lambda: x264.encode(record.image, 0.12, grid), 1


def _judged(names: list[str], height: int, width: int) -> Measured:
    """Score a picture with metrics that need no download, one after the other."""
    picture, metrics = photograph(height, width), [iqa.metric(name) for name in names]
    saliency = _record(height, width).density
    return lambda: [metric(picture[None], picture[::-1], saliency) for metric in metrics], 1


def _study(votes: int) -> Measured:
    """Simulate and score the votes on a few photographs."""
    names, cases = list("abcd"), codec.TEST_CASES
    level = np.random.default_rng(0).normal(0, 1, (len(names), len(cases)))
    truth = pd.DataFrame(level, names, cases).assign(**{subjective.REFERENCE: 8.0})

    def call() -> None:
        asked = subjective.design_study(names, votes_per_pair=votes, assessors=100)
        cast = subjective.keep_attentive(subjective.simulate_votes(asked, truth))
        subjective.score_study(cast, alpha=0.1)

    return call, len(names)


def _panel() -> Measured:
    """Draw and save one panel of a figure of eight, as PNG and PDF."""
    picture = photograph(240, 320)

    def call() -> None:
        figure, axes = plt.subplots(2, 4, figsize=(5, 2.4))
        for row in axes:
            plots.show_row(row, [picture] * 4, ["a title"] * 4)
        for kind in ("png", "pdf"):
            figure.savefig(io.BytesIO(), format=kind, dpi=200, bbox_inches="tight")
        plt.close(figure)

    return call, 8


def _kernel() -> Measured:
    """Start Python and import what the notebooks import."""
    code = "import seaborn, ipykernel, papermill; from lib import data, evaluation, iqa, masking"
    command = [sys.executable, "-c", code]
    return lambda: subprocess.run(command, cwd=ROOT, check=True), 1


MEASURES: dict[str, Callable[..., Measured]] = {
    "kernel": _kernel,
    "HiResCAM": _cam,
    "HiResCAM, LAPACK's sign": lambda *how: _cam(*how, sign="lapack"),
    "pass": _pass,
    "masked picture": _masked,
    "order of pixels": _order,
    "resample": _resample,
    "training step": _step,
    "photograph resized": _resized,
    "image with fixations": _gaze,
    "map scored": _scored,
    "map fitted": _fitted,
    "read-out": _readout,
    "msi-net": lambda: _predictor(MSINet),
    "transalnet-res": lambda: _predictor(lambda: TranSalNet("res")),
    "transalnet-dense": lambda: _predictor(lambda: TranSalNet("dense")),
    "picture coded": _coded,
    "picture scored": lambda *size: _judged(OFFLINE, *size),
    "EW-PSNR": lambda *size: _judged(["EW-PSNR"], *size),
    "study": _study,
    "panel": _panel,
}
