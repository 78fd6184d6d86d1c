"""Two of torchvision's operators in plain torch, for machines where its binary does not load.

AHIQ [51] calls `deform_conv2d` and PaQ-2-PiQ [56] `roi_pool`; everything else in this project does
without torchvision's binary (see `lib._torchvision`). Both are slower than torchvision's own and
have no gradient of their own; they are used only where there is nothing else.
"""

import math

import torch
import torch.nn.functional as F

from lib._torchvision import ensure_torchvision_imports

_SCHEMAS = (
    "roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width) -> (Tensor, Tensor)",
    "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, "
    "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, "
    "SymInt dilation_w, SymInt groups, SymInt offset_groups, bool use_mask) -> Tensor",
)
_written: list[torch.library.Library] = []  # a Library takes its operators along when collected


def ensure_torchvision_operators() -> None:
    """Stand in for `roi_pool` and `deform_conv2d` if, and only if, torchvision has none."""
    if not ensure_torchvision_imports() or _written:
        return
    import torchvision

    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    library.impl("roi_pool", roi_pool, "CompositeExplicitAutograd")
    library.impl("deform_conv2d", deform_conv2d, "CompositeExplicitAutograd")
    torchvision.extension._has_ops = lambda: True  # torchvision asks this before it calls them
    _written.append(library)


def roi_pool(
    features: torch.Tensor, rois: torch.Tensor, scale: float, rows: int, columns: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take the largest value in each bin of each region (Fast R-CNN, Girshick 2015).

    Parameters
    ----------
    features : Tensor
        BxCxHxW.
    rois : Tensor
        Kx5: number of the image, then x1, y1, x2, y2, both ends included; `scale` times that is
        in pixels of `features`.
    scale : float
    rows, columns : int
        The bins of a region.

    Returns
    -------
    (Tensor, Tensor)
        KxCx`rows`x`columns`, 0 for a bin outside the features; and, empty, where torchvision
        has the places of the largest values, which only a gradient needs.
    """
    pooled = features.new_zeros(len(rois), features.shape[1], rows, columns)
    for number, (image, *box) in enumerate(rois.tolist()):
        left, top, right, bottom = (math.floor(side * scale + 0.5) for side in box)
        for i, (y1, y2) in enumerate(_bins(top, bottom, rows, features.shape[2])):
            for j, (x1, x2) in enumerate(_bins(left, right, columns, features.shape[3])):
                if y1 < y2 and x1 < x2:
                    region = features[int(image), :, y1:y2, x1:x2]
                    pooled[number, :, i, j] = region.amax(dim=(1, 2))
    return pooled, torch.empty(0, dtype=torch.int32)


def _bins(first: int, last: int, count: int, limit: int) -> list[tuple[int, int]]:
    """Cut first..last into `count` ranges that overlap by a pixel where they do not divide."""
    length = max(last - first + 1, 1)
    edges = [
        (first + i * length // count, first - (-(i + 1) * length // count)) for i in range(count)
    ]
    return [(min(max(a, 0), limit), min(max(b, 0), limit)) for a, b in edges]


def deform_conv2d(
    features: torch.Tensor,
    weight: torch.Tensor,
    offset: torch.Tensor,
    mask: torch.Tensor,
    bias: torch.Tensor,
    *geometry: int | bool,
) -> torch.Tensor:
    """Convolve with each tap of the kernel moved by an offset of its own (Dai et al., ICCV 2017).

    Parameters
    ----------
    features : Tensor
        BxCxHxW; 0 outside, bilinear between pixels.
    weight : Tensor
        DxCxhxw.
    offset : Tensor
        Bx(2 h w)xH'xW': y and x of each tap in turn, pixels.
    mask : Tensor
        Not used here.
    bias : Tensor
        (D,).
    *geometry
        Stride, padding and dilation, each y then x; groups; offset groups; whether to use `mask`.

    Returns
    -------
    Tensor
        BxDxH'xW'.

    Raises
    ------
    NotImplementedError
        For groups, offset groups or a mask, of which AHIQ has none.
    """
    *moves, groups, offset_groups, use_mask = geometry
    if groups != 1 or offset_groups != 1 or use_mask:
        raise NotImplementedError("this stand-in for torchvision's binary has no groups, no mask")
    stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x = moves
    height, width = features.shape[2:]
    rows = torch.arange(offset.shape[2]).to(offset)[:, None] * stride_y - pad_y
    columns = torch.arange(offset.shape[3]).to(offset) * stride_x - pad_x
    result = bias[:, None, None]
    for tap in range(weight[0, 0].numel()):
        i, j = divmod(tap, weight.shape[3])
        y = rows + i * dilation_y + offset[:, 2 * tap]
        x = columns + j * dilation_x + offset[:, 2 * tap + 1]
        # From pixels to -1..1 between the outer edges of the frame, as grid_sample counts.
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
        moved = F.grid_sample(features, grid, padding_mode="zeros", align_corners=False)
        result = result + torch.einsum("dc,bchw->bdhw", weight[:, :, i, j], moved)
    return result
