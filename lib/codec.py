"""The saliency-aware codec of [49]: which macroblock gets which quantiser (Section III-D).

Each macroblock (16x16 pixels) has a quantiser QP, and its bits are modelled as b^(-QP) with
b = 2.24^(1/6). With the saliency s of a macroblock and s0, a quantile of it over the picture,

    QP' = clip(round(QP - k (s - s0))),    k = k_up where s >= s0, k_down below.

k_up is such that the macroblocks from s0 up get the share `bitrate` of all modelled bits, k_down
such that those below get the rest: the modelled total stays as it was. QP holds x264's adaptive
quantisation (AQ), as in the code of [49] (github.com/msu-video-group/x264_saliency_mod): busy
blocks count as cheaper, so p132 (40 % of the bits for 40 % of the picture) does change something.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import rankdata

from lib.maps import check_map

VERSION = 1  # of k and the grids: part of the key of everything that is made from them
MACROBLOCK = 16  # pixels
BASE = 2.24 ** (1 / 6)  # bits of a macroblock fall by this factor with each step of QP [49]
COARSEST = 51  # H.264's largest QP
STEP = 0.5  # offsets are rounded to this; finer ones need more regions of interest


class Preset(NamedTuple):
    """How much of the bits the most salient macroblocks get; both between 0 and 100."""

    s0: float  # percentile of saliency from which on a macroblock counts as salient
    bitrate: float  # percentage of the modelled bits that these get


# The plain codec and the paper's three, under the names of SACID's files.
PRESETS = {"none": None, "p132": Preset(60, 40), "p220": Preset(60, 80), "p310": Preset(75, 80)}
BITRATES = (0.08, 0.12, 0.16)  # bits per pixel
# SACID's twelve, the plain codec first at each bitrate.
TEST_CASES = [f"h264v@targetbbp100={100 * b:.0f}_preset={p}" for b in BITRATES for p in PRESETS]


class Offsets(NamedTuple):
    """What a preset does to the QP of each macroblock."""

    grid: np.ndarray  # rows x columns of offsets, multiples of `STEP`; negative is better quality
    salient: np.ndarray  # likewise, bool: where saliency is s0 or more
    k_up: float = 0.0  # QP steps a unit of saliency from s0 up ...
    k_down: float = 0.0  # ... and below


def blocks(plane: np.ndarray, side: int = MACROBLOCK) -> np.ndarray:
    """Cut HxW into squares: rows x columns x side x side, the last row and column repeated."""
    plane = np.pad(plane, [(0, -length % side) for length in plane.shape], mode="edge")
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    return plane.reshape(rows, side, columns, side).swapaxes(1, 2)


def macroblock_map(saliency_map: np.ndarray) -> np.ndarray:
    """Rank macroblocks by their mean of a map: rows x columns, 1/n to 1, equal ones share a rank.

    The formula is linear in saliency: with the means, peaks would get all the bits, at QP 10.
    """
    saliency_map = check_map(saliency_map, "saliency_map").astype(np.float64)
    saliency = blocks(saliency_map).mean(axis=(2, 3))
    # 4096 levels: finer ones of an averaged 8-bit map are rounding errors, and must not make ranks.
    levels = np.rint(saliency / (saliency.max() or 1.0) * 4095)
    return rankdata(levels).reshape(saliency.shape) / saliency.size


def aq_offsets(planes: Sequence[np.ndarray]) -> np.ndarray:
    """Return what x264's AQ (mode 1) adds to the QP of each macroblock of `lib.x264.planes`."""
    energy = 0.0
    for plane, side in zip(planes, (16, 8, 8), strict=True):
        cut = blocks(plane.astype(np.float64), side)
        energy += (cut**2).sum(axis=(2, 3)) - np.floor(cut.sum(axis=(2, 3)) ** 2 / side**2)
    # Both constants are x264's (encoder/ratecontrol.c).
    return 1.0397 * (np.log2(np.maximum(energy, 1)) - 14.427)


def solve_offsets(saliency: np.ndarray, aq: np.ndarray, preset: Preset | None) -> Offsets:
    """Find k_up and k_down of [49], and the offsets that they give; None is the plain codec.

    `saliency` and `aq` are of each macroblock (`macroblock_map`, `aq_offsets`). A constant map
    gives no offsets. Where s0 falls on the map's lowest or highest value, it moves halfway to the
    next one, so that no side is empty. No offset exceeds 51, even if the share is not reached.
    """
    levels = np.unique(saliency)
    if preset is None or levels[-1] - levels[0] <= 1e-6 * levels[-1]:
        return Offsets(np.zeros(aq.shape), np.zeros(aq.shape, bool))
    if not (0 < preset.s0 < 100 and 0 < preset.bitrate < 100):
        raise ValueError(f"s0 and bitrate must be between 0 and 100, not {preset}")
    s0 = np.quantile(saliency, preset.s0 / 100)
    s0 = levels[:2].mean() if s0 == levels[0] else s0
    s0 = levels[-2:].mean() if s0 == levels[-1] else s0
    distance, bits, wanted = saliency - s0, BASE**-aq, preset.bitrate / 100
    salient = distance >= 0
    k_up = _solve_k(bits[salient], distance[salient], wanted * bits.sum())
    k_down = _solve_k(bits[~salient], distance[~salient], (1 - wanted) * bits.sum())
    exact = -np.where(salient, k_up, k_down) * distance
    return Offsets(np.rint(exact / STEP) * STEP + 0.0, salient, k_up, k_down)  # no negative zeros


def _solve_k(bits: np.ndarray, distance: np.ndarray, wanted: float) -> float:
    """Solve sum(bits b^(k distance)) = wanted for k; distances are all of one sign."""
    bound = COARSEST / np.abs(distance).max()

    def excess(k: float) -> float:
        return float(np.log((bits * BASE ** (k * distance)).sum() / wanted))

    if excess(-bound) * excess(bound) >= 0:
        return float(min((-bound, bound), key=lambda k: abs(excess(k))))
    return brentq(excess, -bound, bound)


def qp_map(qp: float, aq: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Add up the QP of the frame, AQ and offsets: rounded, clipped to 0 ... 51, int."""
    return np.clip(np.floor(qp + aq + grid + 0.5), 0, COARSEST).astype(int)


def share(qp: np.ndarray, salient: np.ndarray) -> float:
    """Return the share of bits, modelled as b^(-QP), in salient macroblocks; NaN without any."""
    bits = BASE ** -np.asarray(qp, np.float64)
    return float(bits[salient].sum() / bits.sum()) if salient.any() else float("nan")
