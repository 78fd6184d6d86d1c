"""Stock libx264 as a codec that follows QP offsets and meets a bitrate (Section III-D).

RGB becomes Y'CbCr by BT.601, limited range, 4:2:0, and back likewise; odd sides are padded by
repeating the last row or column, which is cut off again. **bpp** counts what a decoder needs of the
one picture: parameter sets (some 40 bytes) and slice, with their start codes, over the pixels
before padding; not x264's SEI message (600 bytes of settings in plain text), nor any container.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
from av.video.reformatter import Interpolation

from lib.codec import BASE, COARSEST, MACROBLOCK, aq_offsets, qp_map
from lib.images import as_rgb

VERSION = 2  # of the search: part of the key of coded pictures
FINEST = 1.0  # below, x264 codes without loss
# One intra picture; qcomp and ipratio make the QP of the frame equal the rate factor (crf), with
# fractions; qpmax because x264 would go on beyond H.264's 51 by blurring. AQ is on by default.
OPTIONS = {"preset": "medium", "x264-params": "keyint=1:scenecut=0:qcomp=1:ipratio=1:qpmax=51"}
# swscale's defaults lose 2.7 dB on the way to 4:2:0 and back, and darken the picture by one level.
EXACT = ("BICUBIC", "ACCURATE_RND", "BITEXACT", "FULL_CHR_H_INP", "FULL_CHR_H_INT")
SCALING = sum(Interpolation[name].value for name in EXACT)
TOLERANCE = 0.02  # how far from the target, relative, is near enough
LONGEST, LARGEST = 16384, 2**28  # sides of libx264; and FFmpeg's pixels, with 128 more a side
MOST_ENCODES, CLOSEST = 12, 1 / 64  # encodes nearer in QP than this are not told apart


@dataclass(frozen=True)
class Encode:
    """One coded picture."""

    image: np.ndarray  # decoded, HxWx3 uint8
    data: bytes  # Annex B byte stream: what bpp counts, and all that `decode` needs
    bpp: float  # bits per pixel
    qp: float  # of the frame; above 51 where it takes that to bring enough macroblocks to 51
    encodes: int  # times that x264 ran to find it
    qp_map: np.ndarray  # asked of each macroblock
    reason: str  # why the target was missed; empty where it was met


def encode(image: np.ndarray, bpp: float, grid: np.ndarray | float = 0.0) -> Encode:
    """Code a picture (HxWx3 uint8, or what `lib.images.as_rgb` takes) in `bpp` bits per pixel.

    `grid` holds a QP offset for each macroblock (`lib.codec.Offsets`). Where no QP meets the target
    to within `TOLERANCE`, the nearest picture comes back, with the reason.
    """
    if not 0 < bpp < np.inf:
        raise ValueError(f"bpp must be positive and finite, not {bpp}")
    image = as_rgb(image)
    frame, rate, tried = to_frame(image), 8 / (image.shape[0] * image.shape[1]), {}
    aq = aq_offsets(planes(frame))

    def error(qp: float) -> float:
        tried[qp] = code(frame, qp, grid)
        return float(np.log(rate * len(tried[qp]) / bpp))

    limit = COARSEST + max(0.0, float(np.ceil(-(aq + grid).min())))  # every macroblock at 51
    qp, reason = _search(error, limit)
    reached, decoded = rate * len(tried[qp]), decode(tried[qp], image.shape[:2])
    reason = f"{reason}: {reached:.4f} bpp" if reason else ""
    return Encode(decoded, tried[qp], reached, qp, len(tried), qp_map(qp, aq, grid), reason)


def _search(error: Callable[[float], float], limit: float) -> tuple[float, str]:
    """Find the QP where error(QP) = ln(bpp / target) is near 0: a secant, kept in a bracket.

    ln(bpp) falls over QP, by some ln(b). Returns the nearest QP tried, and why it is not near.
    """
    tried: dict[float, float] = {}
    finer, coarser, qp, slope, reason = FINEST, limit, 44.0, -np.log(BASE), ""
    while not reason:
        tried[qp] = error(qp)
        if abs(np.expm1(tried[qp])) <= TOLERANCE:
            break
        finer, coarser = (qp, coarser) if tried[qp] > 0 else (finer, qp)
        bracketed = finer in tried and coarser in tried
        if finer == limit:
            reason = "too much even with every macroblock at QP 51"
        elif coarser == FINEST:
            reason = f"too little even at QP {FINEST:g}"
        elif len(tried) == MOST_ENCODES or (bracketed and coarser - finer < CLOSEST):
            reason = "its size jumps over the target"
        elif bracketed:
            part = tried[finer] / (tried[finer] - tried[coarser])
            qp = float(finer + np.clip(part, 0.1, 0.9) * (coarser - finer))
        else:
            if len(tried) > 1:
                a, b = list(tried)[-2:]
                slope = np.clip((tried[b] - tried[a]) / (b - a), -0.4, -0.04)
            qp = float(np.clip(qp - tried[qp] / slope, FINEST, limit))
    return min(tried, key=lambda q: abs(tried[q])), reason


def code(frame: av.VideoFrame, qp: float, grid: np.ndarray | float = 0.0) -> bytes:
    """Code a frame (`to_frame`) once, at a QP of the frame and offsets for its macroblocks."""
    # x264 takes no rate factor above 51; what is asked beyond goes to every macroblock.
    shifted = np.clip(grid + max(0.0, qp - COARSEST), -COARSEST, COARSEST)
    frame = _with_offsets(frame, shifted)
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1  # same bytes on any machine
    encoder.options = {**OPTIONS, "crf": f"{min(qp, COARSEST):.4f}"}
    without_sei = av.BitStreamFilterContext("filter_units=remove_types=6", "h264")
    packets = [*encoder.encode(frame), *encoder.encode(None), None]
    return b"".join(bytes(kept) for packet in packets for kept in without_sei.filter(packet))


def _with_offsets(frame: av.VideoFrame, grid: np.ndarray) -> av.VideoFrame:
    """Attach offsets to a frame as regions of interest, by a chain of FFmpeg's `addroi` filters."""
    graph, tick, side = av.filter.Graph(), Fraction(1, 25), MACROBLOCK
    size = {"width": frame.width, "height": frame.height}
    chain = [graph.add_buffer(**size, format=frame.format, time_base=tick)]
    shape = -(-frame.height // side), -(-frame.width // side)
    for y, row in enumerate(np.broadcast_to(grid, shape)):
        for x, end in pairwise([0, *np.flatnonzero(np.diff(row)) + 1, len(row)]):
            if row[x]:  # libx264 multiplies the offset by the range of QP, 51
                box = f"{side * x}:{side * y}:{side * (end - x)}:{side}"  # cut at the frame
                chain.append(graph.add("addroi", f"{box}:{round(1000 * row[x])}/51000"))
    graph.link_nodes(*chain, graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()


def decode(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Decode a picture of `Encode.data`: HxWx3 uint8, cropped to `shape` (height, width)."""
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count, decoder.options = 1, {"err_detect": "explode"}
    (frame,) = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    space = {"src_colorspace": "ITU601", "src_color_range": "MPEG"}
    rgb = frame.reformat(format="rgb24", interpolation=SCALING, **space).to_ndarray()
    return np.ascontiguousarray(rgb[: shape[0], : shape[1]])


def to_frame(image: np.ndarray) -> av.VideoFrame:
    """Turn HxWx3 uint8 RGB into a yuv420p frame, odd sides padded."""
    height, width = image.shape[:2]
    if max(height, width) > LONGEST or (height + 128) * (width + 128) >= LARGEST:
        size = f"{LONGEST} pixels a side and {LARGEST / 1e6:.0f} megapixels"
        raise ValueError(f"libx264 takes up to {size}, not {width}x{height}; reduce the picture")
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
    space = {"dst_colorspace": "ITU601", "dst_color_range": "MPEG"}
    return frame.reformat(format="yuv420p", interpolation=SCALING, **space)


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Return Y', Cb and Cr of a frame: uint8, the last two at half its size."""
    buffers = [(np.frombuffer(p, np.uint8), p) for p in frame.planes]
    return [b.reshape(p.height, p.line_size)[:, : p.width] for b, p in buffers]
