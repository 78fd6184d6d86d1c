"""The saliency-aware codec of [49], its mathematics: from saliency to quantiser offsets (III-D).

A picture is coded as one intra picture. Each macroblock (16x16 pixels) has a quantiser QP, and its
bits are modelled as b^(-QP) with b = 2.24^(1/6): six steps of QP cost a factor of 2.24. With the
saliency s of a macroblock and s0, a quantile of it over the picture,

    QP' = clip(round(QP - k (s - s0))),    k = k_up where s >= s0, k_down below.

k_up is such that the macroblocks from s0 up get the share `bitrate` of all modelled bits, k_down
such that those below get the rest: the modelled total stays as it was. QP holds x264's adaptive
quantisation (AQ), as in the code of [49] (github.com/msu-video-group/x264_saliency_mod): busy
blocks get a higher QP and count as cheaper, so the 40 % most salient macroblocks have mostly less
than 40 % of the modelled bits to begin with, and preset p132 (40 % of the bits for 40 % of the
picture) is a mild one, not none at all. `lib/x264.py` carries the offsets to libx264.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import rankdata

from lib.maps import check_map

VERSION = 1  # of the offsets
MACROBLOCK = 16  # pixels
BASE = 2.24 ** (1 / 6)  # bits of a macroblock fall by this factor with each step of QP [49]
COARSEST = 51  # H.264's largest QP
STEP = 0.5  # offsets are rounded to this; finer ones need more regions (see `x264.regions`)
BITRATES = (0.08, 0.12, 0.16)  # bits per pixel


@dataclass(frozen=True)
class Preset:
    """How much of the bits the most salient macroblocks get."""

    s0: float  # percentile of saliency from which on a macroblock counts as salient, 0 to 100
    bitrate: float  # percentage of the modelled bits that these get, 0 to 100

    def __post_init__(self) -> None:
        if not (0 < self.s0 < 100 and 0 < self.bitrate < 100):
            raise ValueError(f"s0 and bitrate must be between 0 and 100, not {self}")


# The paper's three and the plain codec, under the names of SACID's files.
PRESETS: dict[str, Preset | None] = {
    "none": None,
    "p132": Preset(60, 40),
    "p220": Preset(60, 80),
    "p310": Preset(75, 80),
}
# The twelve of SACID, plain codec first at each bitrate.
TEST_CASES = tuple(
    f"h264v@targetbbp100={round(100 * b)}_preset={p}" for b in BITRATES for p in PRESETS
)


@dataclass(frozen=True)
class Offsets:
    """What a preset does to the QP of each macroblock."""

    grid: np.ndarray  # rows x columns, multiples of `STEP`; negative is better quality
    salient: np.ndarray  # bool, likewise: where saliency is s0 or more
    k_up: float = 0.0  # QP steps a unit of saliency, above s0
    k_down: float = 0.0  # and below


def blocks(plane: np.ndarray, side: int) -> np.ndarray:
    """Cut HxW into squares: rows x columns x side x side, the last row and column repeated."""
    plane = np.pad(plane, [(0, -length % side) for length in plane.shape], mode="edge")
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    return plane.reshape(rows, side, columns, side).swapaxes(1, 2)


def macroblock_map(saliency_map: np.ndarray, equalize: bool = True) -> np.ndarray:
    """Average a map HxW over macroblocks: rows x columns, float64, with a peak of 1.

    `equalize` replaces values by ranks, from 0 to 1 (equal macroblocks share the mean of theirs),
    so that only the order counts. The formula is linear in saliency: a map with peaks, such as a
    predicted density, spends the bits on a few macroblocks at QP 10, and the rest of the salient
    quarter is worse off than without saliency.
    """
    saliency_map = check_map(saliency_map, "saliency_map").astype(np.float64)
    saliency = blocks(saliency_map, MACROBLOCK).mean(axis=(2, 3))
    saliency = saliency / (saliency.max() or 1.0)
    if not equalize:
        return saliency
    # 4096 levels: a map of 8 bits, averaged, has no finer ones that mean anything, and rounding
    # errors must not make ranks.
    return rankdata(np.rint(saliency * 4095)).reshape(saliency.shape) / saliency.size


def aq_offsets(planes: Sequence[np.ndarray]) -> np.ndarray:
    """Return what x264's adaptive quantisation (mode 1, strength 1) adds to the QP of macroblocks.

    The AC energy of a macroblock, in the luma and both (half-sized) chroma planes, sets it: flat
    blocks get a lower QP.
    """
    energy = 0.0
    for plane, side in zip(planes, (16, 8, 8), strict=True):
        block = blocks(plane.astype(np.float64), side)
        energy += (block**2).sum(axis=(2, 3)) - np.floor(block.sum(axis=(2, 3)) ** 2 / side**2)
    # Both constants are x264's (encoder/ratecontrol.c).
    return 1.0397 * (np.log2(np.maximum(energy, 1)) - 14.427)


def solve_offsets(saliency: np.ndarray, aq: np.ndarray, preset: Preset | None) -> Offsets:
    """Find k_up and k_down of [49], and the offsets that they give.

    `saliency` is of each macroblock (`macroblock_map`), `aq` what AQ adds to the QP of each
    (`aq_offsets`). All zero for no preset, and for a constant map, which tells no macroblock from
    another. Where s0 falls on the map's lowest or highest value, so that one side would be empty,
    it moves halfway to the next one. No offset exceeds 51: where that is not enough (a handful of
    macroblocks), the share is not the preset's.
    """
    levels = np.unique(saliency)
    if preset is None or levels[-1] - levels[0] <= 1e-6 * levels[-1]:
        return Offsets(np.zeros(saliency.shape), np.zeros(saliency.shape, bool))
    s0 = np.quantile(saliency, preset.s0 / 100)
    s0 = max(s0, levels[:2].mean()) if s0 == levels[0] else s0
    s0 = min(s0, levels[-2:].mean()) if s0 == levels[-1] else s0
    distance = saliency - s0
    salient, bits, wanted = distance >= 0, BASE**-aq, preset.bitrate / 100
    k_up = _solve_k(bits[salient], distance[salient], wanted * bits.sum())
    k_down = _solve_k(bits[~salient], distance[~salient], (1 - wanted) * bits.sum())
    exact = -np.where(salient, k_up, k_down) * distance
    return Offsets(np.rint(exact / STEP) * STEP + 0.0, salient, k_up, k_down)  # no negative zeros


def _solve_k(bits: np.ndarray, distance: np.ndarray, wanted: float) -> float:
    """Solve sum(bits b^(k distance)) = wanted for k; distances are all of one sign."""
    bound = COARSEST / np.abs(distance).max()

    def excess(k: float) -> float:
        return float(np.log((bits * BASE ** (k * distance)).sum() / wanted))

    low, high = excess(-bound), excess(bound)
    if low * high >= 0:
        return float(-bound if abs(low) < abs(high) else bound)
    return float(brentq(excess, -bound, bound))


def quantise(qp: np.ndarray) -> np.ndarray:
    """Round QPs to what a macroblock can have: whole numbers, 0 to 51."""
    return np.clip(np.floor(qp + 0.5), 0, COARSEST).astype(int)


def bits_share(qp: np.ndarray, salient: np.ndarray) -> float:
    """Return the share of bits, modelled as b^(-QP), in the salient macroblocks (NaN without any).

    `qp` may lack any constant: it cancels.
    """
    bits = BASE ** -np.asarray(qp, np.float64)
    return float(bits[salient].sum() / bits.sum()) if salient.any() else float("nan")
