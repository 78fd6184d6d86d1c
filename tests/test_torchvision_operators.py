"""The two operators that stand in for torchvision's, against their definitions pixel by pixel."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib._torchvision_operators import deform_conv2d, ensure_torchvision_operators, roi_pool

RANDOM = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=RANDOM)


def test_a_region_of_the_whole_frame_is_pooled_as_adaptive_max_pooling_does():
    features = normal(2, 3, 8, 6)
    frame = torch.tensor([[b, 0, 0, 5 / 0.5, 7 / 0.5] for b in range(2)])  # ends are included
    pooled, _ = roi_pool(features, frame, 0.5, 2, 2)
    torch.testing.assert_close(pooled, F.adaptive_max_pool2d(features, 2))


def test_a_region_is_cut_into_bins_that_cover_it_and_those_outside_are_zero():
    features = torch.arange(25.0).reshape(1, 1, 5, 5)
    # Rows 1..3 (three pixels in two bins: 1..2 and 2..3), columns 3..6 (3..4, and two outside).
    pooled, _ = roi_pool(features, torch.tensor([[0.0, 3, 1, 6, 3]]), 1.0, 2, 2)
    np.testing.assert_array_equal(pooled[0, 0], [[14, 0], [19, 0]])


GEOMETRIES = {"as AHIQ": (1, 1, 1, 1, 1, 1), "strided, dilated": (2, 1, 1, 2, 1, 2)}


@pytest.mark.parametrize("moves", GEOMETRIES.values(), ids=GEOMETRIES)
def test_deformable_convolution_is_the_sum_over_moved_taps(moves):
    sy, sx, py, px, dy, dx = moves
    features, weight, bias = normal(1, 2, 5, 6), normal(3, 2, 3, 3), normal(3)
    shape = F.conv2d(features, weight, bias, (sy, sx), (py, px), (dy, dx)).shape
    offset = 1.5 * normal(1, 18, *shape[2:])  # far enough to leave the frame here and there

    def value(channel, y, x):  # bilinear, 0 outside
        top, left = math.floor(y), math.floor(x)
        return sum(
            (1 - abs(y - row)) * (1 - abs(x - column)) * features[0, channel, row, column].item()
            for row in (top, top + 1)
            for column in (left, left + 1)
            if 0 <= row < 5 and 0 <= column < 6
        )

    expected = np.empty(shape[1:])
    for d, r, c in np.ndindex(*expected.shape):
        expected[d, r, c] = bias[d] + sum(
            weight[d, channel, i, j].item()
            * value(
                channel,
                r * sy - py + i * dy + offset[0, 2 * (3 * i + j), r, c].item(),
                c * sx - px + j * dx + offset[0, 2 * (3 * i + j) + 1, r, c].item(),
            )
            for channel in range(2)
            for i in range(3)
            for j in range(3)
        )
    result = deform_conv2d(features, weight, offset, None, bias, *moves, 1, 1, False)
    np.testing.assert_allclose(result[0], expected, atol=1e-4)


def test_without_offsets_deformable_convolution_is_convolution():
    features, weight, bias = normal(2, 4, 7, 9), normal(5, 4, 3, 3), normal(5)
    result = deform_conv2d(
        features, weight, torch.zeros(2, 18, 7, 9), None, bias, 1, 1, 1, 1, 1, 1, 1, 1, False
    )
    torch.testing.assert_close(result, F.conv2d(features, weight, bias, padding=1))


def test_groups_are_refused_rather_than_ignored():
    with pytest.raises(NotImplementedError, match="no groups"):
        deform_conv2d(None, None, None, None, None, 1, 1, 1, 1, 1, 1, 2, 1, False)


def test_torchvisions_layers_work_with_or_without_its_binary():
    from torchvision.ops import DeformConv2d, RoIPool

    ensure_torchvision_operators()
    features = normal(1, 2, 8, 8)
    pooled = RoIPool((2, 2), 1.0)(features, [torch.tensor([[0.0, 0, 7, 7]])])
    torch.testing.assert_close(pooled, F.adaptive_max_pool2d(features, 2))
    layer = DeformConv2d(2, 3, 3, padding=1)
    with torch.no_grad():
        plain = F.conv2d(features, layer.weight, layer.bias, padding=1)
        torch.testing.assert_close(layer(features, torch.zeros(1, 18, 8, 8)), plain)
