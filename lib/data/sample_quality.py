"""The sample photographs under graded distortions, with a pseudo-MOS that metrics give them.

A pseudo-MOS is a stand-in: it says what metrics think, not people. It serves to show training and
masking on something small, and to train the control of notebook 01 that never saw a human score.
"""

import io
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from lib.data.sample_saliency import PHOTOGRAPHS, photograph, shrink
from lib.images import resize_image
from lib.records import Dataset, Record
from lib.store import fingerprint

PSEUDO_MOS = Path(__file__).with_name("sample_pseudo_mos.csv")
QUALITY_SIDE = 384  # long side, pixels
# From hardly visible to bad; each list has one entry a level.
STRENGTHS = {
    "jpeg": (60, 30, 15, 7),  # quality
    "webp": (50, 25, 10, 2),  # quality
    "h264": (30, 35, 40, 46),  # constant quantiser of libx264
    "blur": (0.8, 1.6, 3.2, 6.0),  # sigma, pixels
    "noise": (6, 14, 28, 50),  # standard deviation, gray levels
    "rescale": (1.5, 2.2, 3.5, 6.0),  # down by this factor, and up again
}
KINDS = tuple(STRENGTHS)
LEVELS = 4
METRICS = ("FSIM", "VIF", "GMSD")  # of those that need no weights
# Name of each picture -> its photograph, distortion (None: pristine) and level.
MADE = {f"pristine {name}": (name, None, 0) for name in PHOTOGRAPHS}
MADE |= {f"{k} {v} {n}": (n, k, v) for n, k, v in product(PHOTOGRAPHS, KINDS, range(LEVELS))}


def distort(image: np.ndarray, kind: str, level: int, seed: int = 0) -> np.ndarray:
    """Distort HxWx3 uint8; `level`: 0 (hardly visible) to 3 (bad); `seed` is the noise's."""
    strength = STRENGTHS[kind][level]
    height, width = image.shape[:2]
    if kind in ("jpeg", "webp"):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, kind, quality=strength)
        return np.array(Image.open(buffer).convert("RGB"))
    if kind == "h264":
        return _through_h264(image, strength)
    if kind == "blur":
        return gaussian_filter(image, (strength, strength, 0), mode="reflect")
    if kind == "noise":
        noise = np.random.default_rng(seed).normal(0, strength, image.shape)
        return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    small = resize_image(image, max(1, round(height / strength)), max(1, round(width / strength)))
    return resize_image(small, height, width)


def _through_h264(image: np.ndarray, qp: int) -> np.ndarray:
    """Code and decode one intra picture; odd sides are padded, as 4:2:0 halves the chroma."""
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width, encoder.pix_fmt = *even.shape[:2], "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1  # the same bytes on any machine
    encoder.options = {"qp": str(qp), "preset": "medium"}
    frame = av.VideoFrame.from_ndarray(even, format="rgb24")
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    decoder = av.CodecContext.create("h264", "r")
    decoded = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return decoded[0].to_ndarray(format="rgb24")[:height, :width]


def full_reference_scores(reference: np.ndarray, distorted: np.ndarray) -> np.ndarray:
    """Judge versions NxHxWx3 of one picture by `METRICS`: NxM float64, higher is better."""
    from lib import iqa  # takes seconds to import, and only this function needs it

    return np.stack([m.sign * m(distorted, reference) for m in map(iqa.metric, METRICS)], axis=1)


def mean_rank(scores: np.ndarray) -> np.ndarray:
    """Average the ranks that several metrics give: NxM, higher is better, to (N,) from 0 to 1."""
    return ((rankdata(scores, axis=0) - 1) / (len(scores) - 1)).mean(axis=1)


class SampleQuality(Dataset):
    """The photographs, pristine and under every distortion and level, with their pseudo-MOS."""

    name = "sample"
    kind = f"pseudo-MOS: mean rank of {', '.join(METRICS)}"

    def __init__(self, _: Path | None = None):  # nothing is read from the data folder
        self.names, self.contents = list(MADE), [name for name, _, _ in MADE.values()]
        self.scores = pd.read_csv(PSEUDO_MOS, index_col="name").pseudo_mos
        if list(self.scores.index) != self.names:
            raise ValueError(f"{PSEUDO_MOS} is out of date; remake it: python -m tests.pseudo_mos")
        self.fingerprint = fingerprint(["sample-quality", STRENGTHS, PSEUDO_MOS.read_bytes()])

    def __getitem__(self, index: int) -> Record:
        name = self.names[index]
        image, mos = distorted(*MADE[name]), float(self.scores[name])
        return Record(name, image, mos=mos, mos_range=(0.0, 1.0))


def distorted(name: str, kind: str | None, level: int) -> np.ndarray:
    """Return a photograph of the quality half, distorted (or pristine: `kind` None)."""
    image = shrink(photograph(name), QUALITY_SIDE)
    seed = list(PHOTOGRAPHS).index(name)
    return image if kind is None else distort(image, kind, level, seed)


open = SampleQuality  # what `data.load` calls
