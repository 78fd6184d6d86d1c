"""The saliency-aware H.264 of [49], on a stock libx264: bits go where people look (Section III-D).

A picture is coded as one intra picture. Each macroblock (16x16 pixels) has a quantiser QP, and its
bits are modelled as b^(-QP) with b = 2.24^(1/6): six steps of QP cost a factor of 2.24. With the
saliency s of a macroblock and s0, a quantile of it over the picture,

    QP' = clip(round(QP - k (s - s0))),    k = k_up where s >= s0, k_down below.

k_up is such that the macroblocks from s0 up get the share `bitrate` of all modelled bits, k_down
such that those below get the rest: the modelled total stays as it was. QP holds x264's adaptive
quantisation (AQ), as in the code of [49] (github.com/msu-video-group/x264_saliency_mod): busy
blocks get a higher QP and count as cheaper, so the 40 % most salient macroblocks have mostly less
than 40 % of the modelled bits to begin with, and preset p132 (40 % of the bits for 40 % of the
picture) is a mild one, not none at all.

The offsets -k (s - s0) reach libx264 as regions of interest, which a chain of FFmpeg's `addroi`
filters attaches to the frame (PyAV reads the side data of a frame but does not write it).

Conventions. RGB becomes Y'CbCr by BT.601, limited range, chroma 4:2:0, and back likewise. Odd sides
are padded by repeating the last row or column, which is cut off after decoding. **bpp** counts
what a decoder needs of the one coded picture: parameter sets (some 40 bytes) and slice, with their
start codes, over the pixels of the picture before padding. x264's SEI message (600 bytes of
settings in plain text) is left out, and so is any container.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import product

import av
import numpy as np
from av.video.reformatter import Interpolation
from scipy.fft import dctn
from scipy.optimize import brentq
from scipy.stats import rankdata
from skimage.metrics import peak_signal_noise_ratio

from lib.maps import check_maps

VERSION = 1  # of the numbers in the cache
MACROBLOCK = 16  # pixels
BASE = 2.24 ** (1 / 6)  # bits of a macroblock fall by this factor with each step of QP [49]
FINEST, COARSEST = 1.0, 51.0  # x264's rate factors; below 1 it codes without loss
STEP = 0.5  # offsets are rounded to this; finer ones need more regions (see `regions`)
# Only the offsets differ between presets. One intra picture; qcomp and ipratio make the QP of the
# frame equal the rate factor (crf), fractions included; qpmax because x264 would go on beyond
# H.264's 51 by blurring. AQ, which regions need, is on by default (mode 1, strength 1).
X264_OPTIONS = {
    "preset": "medium",
    "x264-params": "keyint=1:scenecut=0:qcomp=1:ipratio=1:qpmax=51",
}
# swscale's defaults lose 2.7 dB on the way to 4:2:0 and back, and darken the picture by one level.
SCALING = int(
    Interpolation.BICUBIC.value
    | Interpolation.ACCURATE_RND.value
    | Interpolation.BITEXACT.value
    | Interpolation.FULL_CHR_H_INP.value
    | Interpolation.FULL_CHR_H_INT.value
)
TOLERANCE, MOST_ENCODES = 0.02, 12
CLOSEST = 1 / 64  # QP: encodes nearer to each other than this are not told apart
NODES = np.arange(3.0, 52.0, 6.0)  # QPs at which the rate model is tabulated
# ln(bpp) = intercept + slope ln(model), fitted to 8 sample photographs and 20 of OSIE from 0.05 to
# 0.3 bpp, every preset: the standard deviation of what is left is 12 %, 7 % within a picture.
INTERCEPT, SLOPE = 0.072, 0.786


@dataclass(frozen=True)
class Preset:
    """How much of the bits the most salient macroblocks get.

    Attributes
    ----------
    s0 : float
        Percentile of saliency from which on a macroblock counts as salient, 0 to 100.
    bitrate : float
        Percentage of the modelled bits that these get, 0 to 100.
    """

    s0: float
    bitrate: float

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


@dataclass(frozen=True)
class Offsets:
    """What a preset does to the QP of each macroblock.

    Attributes
    ----------
    grid : numpy.ndarray
        Offsets, rows x columns of macroblocks, multiples of `STEP`; negative is better quality.
    salient : numpy.ndarray
        bool, likewise: where saliency is s0 or more.
    k_up, k_down : float
        QP steps a unit of saliency, above and below s0.
    share, share_before : float
        Modelled share of the bits in salient macroblocks, with and without the offsets, before
        QPs are clipped; NaN where no macroblock is told from another.
    total : float
        Modelled bits over those without offsets, likewise: 1 but for rounding.
    """

    grid: np.ndarray
    salient: np.ndarray
    k_up: float = 0.0
    k_down: float = 0.0
    share: float = float("nan")
    share_before: float = float("nan")
    total: float = 1.0


@dataclass(frozen=True)
class Encode:
    """One coded picture.

    Attributes
    ----------
    image : numpy.ndarray
        Decoded, HxWx3 uint8.
    data : bytes
        Annex B byte stream: what bpp counts, and all that `decode` needs.
    bpp, target : float
        Bits per pixel, reached and asked for (NaN where a QP was asked for).
    qp : float
        QP of the frame, before AQ and offsets. Above 51 where it takes that to bring enough
        macroblocks to 51.
    encodes : int
        Times that x264 ran to find it.
    offsets : Offsets
        The preset's.
    qp_map : numpy.ndarray
        QP of each macroblock: frame, AQ and offset, rounded and clipped to 0 ... 51. x264 moves
        some by one to equal their left neighbour, and writes none where nothing is coded;
        `coded_qp` reads what is in the stream.
    share : float
        Modelled share of the bits in salient macroblocks by `qp_map`: less than `offsets.share`
        where QPs are clipped at 51.
    reason : str
        Why the target was missed by more than the tolerance; empty where it was met.
    """

    image: np.ndarray
    data: bytes
    bpp: float
    target: float
    qp: float
    encodes: int
    offsets: Offsets
    qp_map: np.ndarray
    share: float
    reason: str = ""

    @property
    def reachable(self) -> bool:
        """Whether the target was met."""
        return not self.reason


class Codec:
    """A picture and its saliency, ready to be coded at any preset and rate.

    Parameters
    ----------
    image : numpy.ndarray
        HxWx3 uint8 RGB, of any size.
    saliency_map : numpy.ndarray, optional
        HxW, non-negative, of the picture's size. Needed by every preset but "none".
    equalize : bool
        Replace the saliency of a macroblock by its rank in the picture (0 to 1), so that only the
        order counts and not the scale of a map. The formula is linear in saliency: a map with
        peaks, such as a predicted density, spends the bits on a few macroblocks at QP 10, and the
        rest of the salient quarter is worse off than without saliency. False takes the map as it
        is, scaled to a peak of 1.

    Raises
    ------
    ValueError
        If the image is not HxWx3 uint8, or the map not finite, non-negative and of its size.
    """

    def __init__(
        self,
        image: np.ndarray,
        saliency_map: np.ndarray | None = None,
        equalize: bool = True,
    ):
        self.shape, self.frame = image.shape[:2], _to_frame(image)
        self.aq = aq_offsets(self.frame)
        self._solved: dict[Preset | None, Offsets] = {}
        self.saliency: np.ndarray | None = None
        if saliency_map is not None:
            saliency_map = check_maps(saliency_map, "saliency_map")
            if saliency_map.shape != self.shape:
                raise ValueError(
                    f"saliency_map is {saliency_map.shape} and the image {self.shape}; "
                    "resize it first (lib.maps.resize_map)"
                )
            self.saliency = macroblock_map(saliency_map, equalize)
        self._rates: np.ndarray | None = None

    def offsets(self, preset: str | Preset | None) -> Offsets:
        """Return the QP offsets of a preset: a name of `PRESETS`, one of your own, or None."""
        if isinstance(preset, str):
            if preset not in PRESETS:
                raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}")
            preset = PRESETS[preset]
        if preset not in self._solved:
            if preset is None:
                solved = Offsets(np.zeros(self.aq.shape), np.zeros(self.aq.shape, bool))
            elif self.saliency is None:
                raise ValueError(f"{preset} needs a saliency_map")
            else:
                solved = solve_offsets(self.saliency, self.aq, preset)
            self._solved[preset] = solved
        return self._solved[preset]

    def encode_at(self, preset: str | Preset | None, qp: float) -> Encode:
        """Code the picture once, at a QP of the frame.

        Raises
        ------
        ValueError
            For an unknown preset, or a QP below 1.
        """
        if not qp >= FINEST:
            raise ValueError(f"qp must be {FINEST:g} or more, not {qp}")
        offsets = self.offsets(preset)
        return self._finished(offsets, qp, self._coder(offsets)(qp), float("nan"), 1)

    def encode(
        self, preset: str | Preset | None, bpp: float, tolerance: float = TOLERANCE
    ) -> Encode:
        """Code the picture so that it takes `bpp` bits per pixel, give or take `tolerance`.

        A rate model (`rate_table`) predicts the QP. Each encode then corrects it: the first shifts
        the model, two or more also set its slope. Where no QP does it, the nearest encode comes
        back with the reason.

        Raises
        ------
        ValueError
            For an unknown preset, or a rate or tolerance that is not positive.
        """
        if not (bpp > 0 and tolerance > 0):
            raise ValueError(f"bpp and tolerance must be positive, not {bpp} and {tolerance}")
        offsets = self.offsets(preset)
        if self._rates is None:
            self._rates = rate_table(self.frame)
        shift = self.aq + offsets.grid
        # From here on every macroblock is at 51.
        limit = COARSEST + max(0.0, float(np.ceil(-shift.min())))
        pixels, run = self.shape[0] * self.shape[1], self._coder(offsets)

        def code(qp: float) -> tuple[bytes, float]:
            return (data := run(qp)), 8 * len(data) / pixels

        def model(qp: float) -> float:
            return float(np.log(_modelled(self._rates, qp + shift) / pixels + 1e-9))

        data, qp, encodes, reason = _search(code, model, bpp, limit, tolerance)
        if reason:
            reason = f"{reason}: {8 * len(data) / pixels:.4f} bpp"
        return self._finished(offsets, qp, data, bpp, encodes, reason)

    def _coder(self, offsets: Offsets) -> Callable[[float], bytes]:
        """Return the function from a QP of the frame to the coded picture."""

        @lru_cache(maxsize=1)
        def marked(beyond: float) -> av.VideoFrame:
            return _with_regions(self.frame, offsets.grid + beyond)

        # x264 takes no rate factor above 51; what is asked beyond goes to every macroblock.
        return lambda qp: _run_x264(marked(max(0.0, qp - COARSEST)), min(qp, COARSEST))

    def _finished(
        self,
        offsets: Offsets,
        qp: float,
        data: bytes,
        target: float,
        encodes: int,
        reason: str = "",
    ) -> Encode:
        qp_map = np.clip(np.floor(qp + self.aq + offsets.grid + 0.5), 0, COARSEST).astype(int)
        return Encode(
            image=decode(data, self.shape),
            data=data,
            bpp=8 * len(data) / (self.shape[0] * self.shape[1]),
            target=target,
            qp=qp,
            encodes=encodes,
            offsets=offsets,
            qp_map=qp_map,
            share=modelled_share(qp_map, offsets.salient),
            reason=reason,
        )


# --- from saliency to offsets -----------------------------------------------------------------


def macroblock_map(saliency_map: np.ndarray, equalize: bool = True) -> np.ndarray:
    """Average a map over macroblocks.

    Parameters
    ----------
    saliency_map : numpy.ndarray
        HxW, finite and non-negative. Where a side is no multiple of 16, the last row or column is
        repeated, as x264 does with the picture.
    equalize : bool
        Return ranks, from 0 to 1; equal macroblocks share the mean of theirs.

    Returns
    -------
    numpy.ndarray
        Rows x columns of macroblocks, float64, with a peak of 1 (an all-zero map stays zero).
    """
    saliency = _blocks(np.asarray(saliency_map, np.float64), MACROBLOCK).mean(axis=(2, 3))
    saliency = saliency / (saliency.max() or 1.0)
    if not equalize:
        return saliency
    # 4096 levels: a map of 8 bits, averaged, has no finer ones that mean anything, and rounding
    # errors must not make ranks.
    levels = np.rint(saliency * 4095)
    return rankdata(levels).reshape(saliency.shape) / saliency.size


def aq_offsets(frame: av.VideoFrame) -> np.ndarray:
    """Return what x264's adaptive quantisation (mode 1, strength 1) adds to each QP.

    The AC energy of a macroblock, luma and both chroma, sets it: flat blocks get a lower QP.

    Parameters
    ----------
    frame : av.VideoFrame
        yuv420p.

    Returns
    -------
    numpy.ndarray
        Rows x columns of macroblocks, float64.
    """
    energy = 0.0
    for plane, side in zip(_planes(frame), (16, 8, 8), strict=True):
        blocks = _blocks(plane.astype(np.float64), side)
        energy += (blocks**2).sum(axis=(2, 3)) - np.floor(blocks.sum(axis=(2, 3)) ** 2 / side**2)
    # Both constants are x264's (encoder/ratecontrol.c).
    return 1.0397 * (np.log2(np.maximum(energy, 1)) - 14.427)


def solve_offsets(saliency: np.ndarray, aq: np.ndarray, preset: Preset) -> Offsets:
    """Find k_up and k_down of [49], and the offsets that they give.

    Parameters
    ----------
    saliency : numpy.ndarray
        Of each macroblock (`macroblock_map`).
    aq : numpy.ndarray
        What AQ adds to the QP of each (`aq_offsets`).
    preset : Preset
        What is wanted.

    Returns
    -------
    Offsets
        All zero for a constant map, which tells no macroblock from another. Where s0 falls on the
        map's lowest or highest value, so that one side would be empty, it moves halfway to the
        next one. No offset exceeds 51: where that is not enough (a handful of macroblocks), the
        share is not the preset's.
    """
    levels = np.unique(saliency)
    if levels[-1] - levels[0] <= 1e-6 * levels[-1]:
        return Offsets(np.zeros(saliency.shape), np.zeros(saliency.shape, bool))
    s0 = np.quantile(saliency, preset.s0 / 100)
    s0 = max(s0, levels[:2].mean()) if s0 == levels[0] else s0
    s0 = min(s0, levels[-2:].mean()) if s0 == levels[-1] else s0
    distance = saliency - s0
    salient = distance >= 0
    bits = BASE**-aq
    k_up = _solve_k(bits[salient], distance[salient], preset.bitrate / 100 * bits.sum())
    k_down = _solve_k(bits[~salient], distance[~salient], (1 - preset.bitrate / 100) * bits.sum())
    exact = -np.where(salient, k_up, k_down) * distance
    grid = np.rint(exact / STEP) * STEP + 0.0  # no negative zeros
    return Offsets(
        grid,
        salient,
        k_up,
        k_down,
        modelled_share(aq + grid, salient),
        modelled_share(aq, salient),
        float((BASE ** -(aq + grid)).sum() / bits.sum()),
    )


def _solve_k(bits: np.ndarray, distance: np.ndarray, wanted: float) -> float:
    """Solve sum(bits b^(k distance)) = wanted for k; distances are all of one sign."""
    bound = COARSEST / np.abs(distance).max()

    def excess(k: float) -> float:
        return float(np.log((bits * BASE ** (k * distance)).sum() / wanted))

    low, high = excess(-bound), excess(bound)
    if low * high >= 0:
        return float(-bound if abs(low) < abs(high) else bound)
    return float(brentq(excess, -bound, bound))


def modelled_share(qp_map: np.ndarray, salient: np.ndarray) -> float:
    """Return the share of bits, modelled as b^(-QP), in the salient macroblocks.

    Parameters
    ----------
    qp_map, salient : numpy.ndarray
        QP (or QP less any constant) and bool, rows x columns of macroblocks.

    Returns
    -------
    float
        From 0 to 1; NaN if no macroblock is salient.
    """
    bits = BASE ** -np.asarray(qp_map, np.float64)
    return float(bits[salient].sum() / bits.sum()) if salient.any() else float("nan")


# --- x264 -------------------------------------------------------------------------------------


def regions(grid: np.ndarray) -> list[tuple[int, int, int, int, float]]:
    """Cover a grid of offsets with rectangles that don't overlap.

    Runs of equal offsets in a row, merged with equal runs below them; nothing where it is zero.

    Returns
    -------
    list of (int, int, int, int, float)
        x, y, width and height in macroblocks, and the offset.
    """
    found: list[tuple[int, int, int, int, float]] = []
    growing: dict[tuple[int, int, float], int] = {}  # (start, end, offset) -> first row
    for y, row in enumerate([*grid, None]):
        runs: dict[tuple[int, int, float], int] = {}
        if row is not None:
            edges = np.flatnonzero(np.diff(row)) + 1
            for start, end in zip([0, *edges], [*edges, len(row)], strict=True):
                if row[start]:
                    run = (int(start), int(end), float(row[start]))
                    runs[run] = growing.pop(run, y)
        found += [(a, top, b - a, y - top, offset) for (a, b, offset), top in growing.items()]
        growing = runs
    return found


def _with_regions(frame: av.VideoFrame, grid: np.ndarray) -> av.VideoFrame:
    """Attach offsets to a frame as regions of interest."""
    rectangles = regions(grid)
    if not rectangles:
        return frame
    graph = av.filter.Graph()
    source = last = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    for x, y, width, height, offset in rectangles:
        x, y, width, height = (MACROBLOCK * n for n in (x, y, width, height))
        width, height = min(width, frame.width - x), min(height, frame.height - y)
        # libx264 multiplies the offset by the range of QP, 51.
        node = graph.add("addroi", f"{x}:{y}:{width}:{height}:{round(1000 * offset)}/51000")
        last.link_to(node)
        last = node
    sink = graph.add("buffersink")
    last.link_to(sink)
    graph.configure()
    source.push(frame)
    return sink.pull()


def _run_x264(frame: av.VideoFrame, qp: float) -> bytes:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = frame.width, frame.height
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.thread_count = 1  # the same bytes on any number of cores
    encoder.options = {**X264_OPTIONS, "crf": f"{qp:.4f}"}
    stream = b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])
    units = re.split(b"(?=\0\0\0\1|(?<!\0)\0\0\1)", stream)
    # The five bits after the start code tell the kind of unit: 6 is an SEI message.
    return b"".join(unit for unit in units if unit and unit[unit.index(1) + 1] & 31 != 6)


def decode(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Decode a picture of `Encode.data`: HxWx3 uint8, cropped to `shape` (height, width).

    Raises
    ------
    ValueError
        If `data` is not a whole H.264 picture of that size.
    """
    frame = _decoded(data)
    height, width = shape
    if (frame.height, frame.width) != (height + height % 2, width + width % 2):
        raise ValueError(f"the coded picture is {frame.width}x{frame.height}, not {width}x{height}")
    rgb = frame.reformat(
        format="rgb24", src_colorspace="ITU601", src_color_range="MPEG", interpolation=SCALING
    )
    return np.ascontiguousarray(rgb.to_ndarray()[:height, :width])


def coded_qp(data: bytes) -> np.ndarray:
    """Read the QP of each macroblock from a coded picture: rows x columns, int.

    Where nothing but a prediction is coded, H.264 writes no QP and the last one stands.

    Raises
    ------
    ValueError
        If `data` is not a whole H.264 picture.
    """
    return _decoded(data).side_data["VIDEO_ENC_PARAMS"].qp_map().astype(int)


def _decoded(data: bytes) -> av.VideoFrame:
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoder.options = {"export_side_data": "venc_params", "err_detect": "explode"}
    try:
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    except av.FFmpegError as error:
        raise ValueError(f"not a coded picture ({error})") from error
    if len(frames) != 1:
        raise ValueError(f"not one coded picture but {len(frames)}")
    return frames[0]


def _to_frame(image: np.ndarray) -> av.VideoFrame:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"image must be HxWx3 uint8, not {image.shape} {image.dtype}")
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24").reformat(
        format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG", interpolation=SCALING
    )


def _planes(frame: av.VideoFrame) -> list[np.ndarray]:
    return [
        np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width]
        for p in frame.planes
    ]


def _blocks(plane: np.ndarray, side: int) -> np.ndarray:
    """Cut HxW into squares: rows x columns x side x side, the last row and column repeated."""
    plane = np.pad(plane, [(0, -length % side) for length in plane.shape], mode="edge")
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    return plane.reshape(rows, side, columns, side).swapaxes(1, 2)


# --- rate -------------------------------------------------------------------------------------


def rate_table(frame: av.VideoFrame) -> np.ndarray:
    """Model the bits of each macroblock at each QP of `NODES`, up to a factor and a power.

    A coefficient c of the 8x8 DCT of luma, quantised in steps of 2^((QP - 4) / 6), takes about
    log2(1 + 2 c^2 / step^2) bits; of the first coefficients, the difference from the left
    neighbour counts, for want of x264's intra prediction.

    Returns
    -------
    numpy.ndarray
        len(NODES) x rows x columns of macroblocks, float64.
    """
    luma = _blocks(_planes(frame)[0], MACROBLOCK)  # so that the sides are multiples of 16
    luma = luma.swapaxes(1, 2).reshape(luma.shape[0] * MACROBLOCK, -1)
    coefficients = dctn(_blocks(luma.astype(np.float32), 8), axes=(2, 3), norm="ortho")
    first = coefficients[..., 0, 0]
    coefficients[..., 0, 0] = np.diff(first, axis=1, prepend=first[:, :1])
    power = 2 * coefficients**2
    rows, columns = power.shape[0] // 2, power.shape[1] // 2
    return np.stack(
        [
            np.log2(1 + power / np.float32(2 ** ((qp - 4) / 3)))
            .sum(axis=(2, 3), dtype=np.float64)
            .reshape(rows, 2, columns, 2)
            .sum(axis=(1, 3))
            for qp in NODES
        ]
    )


def _modelled(table: np.ndarray, qp_map: np.ndarray) -> float:
    """Add up a rate table over the macroblocks at their QPs, linear between the nodes."""
    place = (np.clip(qp_map, NODES[0], NODES[-1]) - NODES[0]) / (NODES[1] - NODES[0])
    below = np.minimum(place.astype(int), len(NODES) - 2)
    low, high = (np.take_along_axis(table, n[None], axis=0)[0] for n in (below, below + 1))
    return float((low + (place - below) * (high - low)).sum())


def _search(
    code: Callable[[float], tuple[bytes, float]],
    model: Callable[[float], float],
    target: float,
    limit: float,
    tolerance: float,
) -> tuple[bytes, float, int, str]:
    """Find the QP, from `FINEST` to `limit`, at which the picture takes `target` bits per pixel.

    Parameters
    ----------
    code : callable
        From a QP to the coded picture and its bits per pixel.
    model : callable
        From a QP to ln(model), which falls. ln(bpp) is taken as linear in it, and the line is
        drawn through an encode above the target and one below it, or the two nearest on one side,
        or the first alone with the slope `SLOPE`.

    Returns
    -------
    (bytes, float, int, str)
        The nearest coded picture, its QP, the number of encodes, and why it is not near enough.
    """

    def qp_at(level: float) -> float:
        if model(FINEST) <= level:
            return FINEST
        if model(limit) >= level:
            return limit
        return float(brentq(lambda qp: model(qp) - level, FINEST, limit, xtol=1e-3))

    tried: list[tuple[float, float, float, bytes]] = []  # |error|, error = ln(bpp / target), QP
    qp, reason = qp_at((np.log(target) - INTERCEPT) / SLOPE), ""
    while True:
        data, bpp = code(qp)
        error = float(np.log(bpp / target))
        tried.append((abs(error), error, qp, data))
        tried.sort(key=lambda t: t[0])
        if abs(bpp / target - 1) <= tolerance:
            break
        above = [t for t in tried if t[1] > 0]
        below = [t for t in tried if t[1] < 0]
        if above and below:
            # The curve is not quite monotone, so the two nearest in QP, wherever they lie.
            (_, high, left, _), (_, low, right, _) = min(
                product(above, below), key=lambda pair: abs(pair[0][2] - pair[1][2])
            )
            if abs(right - left) < CLOSEST:
                reason = "its size jumps over the target"
                break
            rise = model(left) - model(right)
            slope = (high - low) / rise if rise * (right - left) > 1e-9 else SLOPE
            inner = np.sort([0.9 * left + 0.1 * right, 0.1 * left + 0.9 * right])
            qp = float(np.clip(qp_at(model(left) - high / slope), *inner))
        else:
            _, error, nearest, _ = tried[0]
            if nearest in (FINEST, limit) and (nearest == limit) == (error > 0):
                reason = (
                    "too much even with every macroblock at QP 51"
                    if error > 0
                    else f"too little even at QP {FINEST:g}"
                )
                break
            slope = SLOPE
            if len(tried) > 1 and abs(rise := model(nearest) - model(tried[1][2])) > 0.02:
                slope = np.clip((error - tried[1][1]) / rise, SLOPE / 3, 3 * SLOPE)
            qp = qp_at(model(nearest) - error / slope)
            step = qp - nearest
            if step * error < CLOSEST * abs(error):  # no headway: the model is flat here
                qp = float(np.clip(nearest + np.sign(error), FINEST, limit))
        if len(tried) == MOST_ENCODES:
            reason = f"not found in {MOST_ENCODES} encodes"
            break
    _, _, qp, data = tried[0]
    return data, qp, len(tried), reason


# --- what it did to the picture ---------------------------------------------------------------


def psnr(reference: np.ndarray, image: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the PSNR over all three channels (RGB), inside a mask if there is one.

    Parameters
    ----------
    reference, image : numpy.ndarray
        HxWx3 uint8.
    mask : numpy.ndarray, optional
        HxW bool.

    Returns
    -------
    float
        dB; infinite where nothing differs.

    Raises
    ------
    ValueError
        If shapes differ, or the mask is empty.
    """
    if reference.shape != image.shape or (mask is not None and mask.shape != image.shape[:2]):
        raise ValueError("reference, image and mask must be of one size")
    if mask is not None:
        if not mask.any():
            raise ValueError("the mask is empty")
        reference, image = reference[mask], image[mask]
    if np.array_equal(reference, image):
        return float("inf")
    return float(peak_signal_noise_ratio(reference, image, data_range=255))


def most_salient(saliency_map: np.ndarray, share: float = 0.25) -> np.ndarray:
    """Choose the `share` most salient pixels of a map: HxW bool (more where values tie)."""
    return saliency_map >= np.quantile(check_maps(saliency_map, "saliency_map"), 1 - share)
