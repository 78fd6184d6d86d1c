"""Saliency-aware H.264 on a stock libx264: offsets as regions, a bitrate met, pictures decoded.

Offsets reach libx264 as regions of interest, which a chain of FFmpeg's `addroi` filters attaches to
the frame (PyAV reads the side data of a frame but does not write it).

Conventions. RGB becomes Y'CbCr by BT.601, limited range, chroma 4:2:0, and back likewise. Odd sides
are padded by repeating the last row or column, which is cut off after decoding. **bpp** counts what
a decoder needs of the one coded picture: parameter sets (some 40 bytes) and slice, with their start
codes, over the pixels of the picture before padding. x264's SEI message (600 bytes of settings in
plain text) is left out, and so is any container.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import av
import numpy as np
from av.video.reformatter import Interpolation

from lib.codec import BASE, COARSEST, MACROBLOCK, aq_offsets

VERSION = 2  # of the coded pictures
FINEST = 1.0  # x264's rate factors go from here to 51; below 1 it codes without loss
# Only the offsets differ between presets. One intra picture; qcomp and ipratio make the QP of the
# frame equal the rate factor (crf), fractions included; qpmax because x264 would go on beyond
# H.264's 51 by blurring. AQ, which regions need, is on by default (mode 1, strength 1).
OPTIONS = {
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
START, SLOPE = 38.0, np.log(BASE)  # a usual QP at these rates; fall of ln(bpp) a step, at first


@dataclass(frozen=True)
class Encode:
    """One coded picture."""

    image: np.ndarray  # decoded, HxWx3 uint8
    data: bytes  # Annex B byte stream: what bpp counts, and all that `decode` needs
    bpp: float  # bits per pixel, reached
    qp: float  # of the frame, before AQ and offsets; above 51 to bring more macroblocks to 51
    encodes: int  # times that x264 ran to find it
    reason: str = ""  # why the target was missed by more than the tolerance; empty: it was met


def encode(
    image: np.ndarray, bpp: float, grid: np.ndarray | None = None, tolerance: float = TOLERANCE
) -> Encode:
    """Code a picture so that it takes `bpp` bits per pixel, give or take `tolerance` (a share).

    Parameters
    ----------
    image : numpy.ndarray
        HxWx3 uint8 RGB, of any size.
    grid : numpy.ndarray, optional
        QP offsets, rows x columns of macroblocks (`lib.codec.solve_offsets`).

    Returns
    -------
    Encode
        Where no QP does it, the nearest, with the reason.
    """
    if not (bpp > 0 and tolerance > 0):
        raise ValueError(f"bpp and tolerance must be positive, not {bpp} and {tolerance}")
    frame, pixels = to_frame(image), image.shape[0] * image.shape[1]
    aq = aq_offsets(planes(frame))
    grid = np.zeros(aq.shape) if grid is None else grid
    if grid.shape != aq.shape:
        raise ValueError(f"the picture has {aq.shape} macroblocks, the offsets {grid.shape}")
    limit = COARSEST + max(0.0, float(np.ceil(-(aq + grid).min())))  # every macroblock is at 51

    def code(qp: float) -> tuple[bytes, float]:
        # x264 takes no rate factor above 51; what is asked beyond goes to every macroblock.
        marked = _with_regions(frame, grid + max(0.0, qp - COARSEST))
        data = _run_x264(marked, min(qp, COARSEST))
        return data, float(np.log(8 * len(data) / pixels / bpp))

    data, qp, encodes, reason = _search(code, limit, np.log1p(tolerance), np.log1p(-tolerance))
    reached = 8 * len(data) / pixels
    reason = f"{reason}: {reached:.4f} bpp" if reason else ""
    return Encode(decode(data, image.shape[:2]), data, reached, qp, encodes, reason)


def _search(
    code: Callable[[float], tuple[bytes, float]], limit: float, most: float, least: float
) -> tuple[bytes, float, int, str]:
    """Find the QP, from `FINEST` to `limit`, at which ln(bpp / target) lies in [least, most].

    Secants of ln(bpp) over QP. Returns the nearest coded picture, its QP, the number of encodes,
    and why it is not near enough.
    """
    tried: list[tuple[float, float, bytes]] = []  # QP, ln(bpp / target), picture
    qp, reason = START, ""
    while len(tried) < MOST_ENCODES:
        data, error = code(qp)
        tried.append((qp, error, data))
        if least <= error <= most:
            return data, qp, len(tried), ""
        above, below = ([t for t in tried if (t[1] > 0) == sign] for sign in (True, False))
        if above and below:  # the curve is not quite monotone: the two nearest in QP
            pairs = product(above, below)
            (left, high, _), (right, low, _) = min(pairs, key=lambda p: abs(p[0][0] - p[1][0]))
            if abs(right - left) < CLOSEST:
                reason = "its size jumps over the target"
                break
            share = np.clip(high / (high - low), 0.1, 0.9)  # the last step may be steep
            qp = float(left + share * (right - left))
        elif qp in (FINEST, limit) and (qp == limit) == (error > 0):
            ends = (f"too little even at QP {FINEST:g}", "too much even with every block at QP 51")
            reason = ends[error > 0]
            break
        else:
            slope = SLOPE
            if len(tried) > 1:
                slope = np.clip((tried[-2][1] - error) / (qp - tried[-2][0]), SLOPE / 3, 3 * SLOPE)
            qp = float(np.clip(qp + error / slope, FINEST, limit))
    qp, _, data = min(tried, key=lambda t: abs(t[1]))
    return data, qp, len(tried), reason or f"not found in {MOST_ENCODES} encodes"


def regions(grid: np.ndarray) -> list[tuple[int, int, int, int, float]]:
    """Cover a grid of offsets with rectangles: x, y, width, height in macroblocks, and the offset.

    Runs of equal offsets in a row, merged with equal runs below them; nothing where it is zero.
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
    if not (rectangles := regions(grid)):
        return frame
    graph, base = av.filter.Graph(), Fraction(1, 25)
    size = {"width": frame.width, "height": frame.height}
    source = last = graph.add_buffer(**size, format=frame.format, time_base=base)
    for *place, offset in rectangles:
        x, y, width, height = (MACROBLOCK * n for n in place)
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
    encoder.options = {**OPTIONS, "crf": f"{qp:.4f}"}
    stream = b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])
    units = re.split(b"(?=\0\0\0\1|(?<!\0)\0\0\1)", stream)
    # The five bits after the start code tell the kind of unit: 6 is an SEI message.
    return b"".join(unit for unit in units if unit and unit[unit.index(1) + 1] & 31 != 6)


def decode(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Decode a picture of `Encode.data`: HxWx3 uint8, cropped to `shape` (height, width)."""
    frame, (height, width) = _decoded(data), shape
    if (frame.height, frame.width) != (height + height % 2, width + width % 2):
        raise ValueError(f"the coded picture is {frame.width}x{frame.height}, not {width}x{height}")
    colors = {"src_colorspace": "ITU601", "src_color_range": "MPEG", "interpolation": SCALING}
    rgb = frame.reformat(format="rgb24", **colors).to_ndarray()
    return np.ascontiguousarray(rgb[:height, :width])


def coded_qp(data: bytes) -> np.ndarray:
    """Read the QP of each macroblock from a coded picture: rows x columns, int.

    Where nothing but a prediction is coded, H.264 writes no QP and the last one stands.
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


def to_frame(image: np.ndarray) -> av.VideoFrame:
    """Turn HxWx3 uint8 RGB into the padded yuv420p frame that x264 is given."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"image must be HxWx3 uint8, not {image.shape} {image.dtype}")
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
    colors = {"dst_colorspace": "ITU601", "dst_color_range": "MPEG", "interpolation": SCALING}
    return rgb.reformat(format="yuv420p", **colors)


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Return luma and the two chroma planes of a frame, uint8."""
    found = [np.frombuffer(p, np.uint8).reshape(p.height, p.line_size) for p in frame.planes]
    return [rows[:, : p.width] for rows, p in zip(found, frame.planes, strict=True)]
