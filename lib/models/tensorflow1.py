"""TensorFlow 1 as far as MSI-Net needs it: its ways to pool and to resize, and its frozen graphs.

Graphs are read without TensorFlow, and nothing in them is executed: a `.pb` file is Protocol
Buffers' wire format, numbered fields one after another. The numbers are those of its .proto files.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

FLOAT = 1  # DT_FLOAT


def pool_in_place(x: torch.Tensor) -> torch.Tensor:
    """Largest of 2x2 at every place: TensorFlow pads below and to the right, with -infinity."""
    return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 2, stride=1)


def upsample(x: torch.Tensor) -> torch.Tensor:
    """Double the sides, bilinear, as TensorFlow 1 does: new pixel i lies at i/2 of the old ones.

    `interpolate` has no such mode, but n + 1 pixels to 2n + 1 with aligned corners is the same.
    """
    height, width = x.shape[-2:]
    x, size = F.pad(x, (0, 1, 0, 1), mode="replicate"), (2 * height + 1, 2 * width + 1)
    return F.interpolate(x, size, mode="bilinear", align_corners=True)[..., :-1, :-1]


def resize_corners(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize HxWxC, float32, corners aligned: bicubic where it grows, else by area.

    New pixel i takes what lies from i * scale to (i + 1) * scale of the old ones.
    """
    old, image = image.shape[:2], image.astype(np.float32)
    if size[0] >= old[0] and size[1] >= old[1]:
        x = torch.from_numpy(image).permute(2, 0, 1)[None]
        x = F.interpolate(x, tuple(size), mode="bicubic", align_corners=True)
        return x[0].permute(1, 2, 0).numpy()
    rows, columns = map(_shares, old, size)
    return np.einsum("Hh,hwc,Ww->HWc", rows, image, columns, optimize=True)


def _shares(old: int, new: int) -> np.ndarray:
    """Share of each old pixel in each new one (new x old); the last old one has no end."""
    scale = (old - 1) / (new - 1) if new > 1 else old
    start, left = np.arange(new)[:, None] * scale, np.arange(old)
    overlap = np.minimum(np.append(left[1:], np.inf), start + scale) - np.maximum(left, start)
    return (overlap.clip(0) / scale).astype(np.float32)


def read_constants(path: Path) -> dict[str, np.ndarray]:
    """Read the float32 constants by name: of a GraphDef, or of every function of a SavedModel."""
    file, found = memoryview(path.read_bytes()), {}
    _, first = next(_fields(file), (0, 0))  # of a SavedModel its version, of a GraphDef a node
    for graph in _find(file, 2, 2) if isinstance(first, int) else [file]:
        for node in chain(_find(graph, 1), _find(graph, 2, 1, 3)):
            about = dict(_fields(node))  # 1: name, 2: operation
            if bytes(about[2]) == b"Const":
                attributes = map(dict, map(_fields, _find(node, 5)))  # 1: name, 2: value
                value = next(a[2] for a in attributes if a[1] == b"value")
                (tensor,) = _find(value, 8)
                if dict(_fields(tensor))[1] == FLOAT:
                    found[str(about[1], "utf-8")] = _array(tensor)
    return found


def _array(tensor: memoryview) -> np.ndarray:
    parts = dict(_fields(tensor))  # 4: bytes, or 5: floats; the last may stand for the rest
    shape = [dict(_fields(side)).get(1, 0) for side in _find(tensor, 2, 2)]
    flat = np.frombuffer(parts.get(4) or parts.get(5) or bytes(4), "<f4")
    return np.pad(flat, (0, math.prod(shape) - flat.size), mode="edge").reshape(shape)


def _find(message: memoryview, number: int, *inner: int) -> Iterator[memoryview]:
    """Go down a path of field numbers; each may stand there many times."""
    for found, value in _fields(message):
        if found == number:
            yield from _find(value, *inner) if inner else (value,)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position = 0

    def varint() -> int:
        """Read seven bits a byte, the lowest first, while the eighth is set."""
        nonlocal position
        value, start = 0, position
        while message[position] & 0x80:
            value |= (message[position] & 0x7F) << 7 * (position - start)
            position += 1
        position += 1
        return value | message[position - 1] << 7 * (position - 1 - start)

    while position < len(message):
        number, kind = divmod(varint(), 8)
        value = varint() if kind in (0, 2) else {1: 8, 5: 4}.get(kind, math.inf)
        if kind:  # then that many bytes
            if position + value > len(message):
                raise ValueError("no TensorFlow graph, or cut short")
            value, position = message[position : position + value], position + value
        yield number, value
